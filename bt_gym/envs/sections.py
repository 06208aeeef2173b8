"""What an environment is made of: from keywords to a configuration, and tapes that were given as they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from bt_gym.config.env import EnvConfig, ExecutionTaskConfig, MarketMakingConfig, TradingConfig
from bt_gym.data.tape import SUFFIX, Tape
from bt_gym.errors import ConfigError

TASKS: dict[str, type[EnvConfig]] = {
    "market_making": MarketMakingConfig,
    "execution": ExecutionTaskConfig,
    "trading": TradingConfig,
}

_EMPTY = "data is empty: give tapes or files, or leave it out for the synthetic data set"


class Sections(TypedDict, total=False):
    """Keywords of an environment: each a dict, a model of `bt_gym.config.env`, the path of a YAML file, or None."""

    data: Any  # or tapes, or files
    split: Any  # short for `data={"split": ...}`
    execution: Any
    risk: Any
    decision: Any
    action: Any
    observation: Any
    reward: Any
    order: Any


def read_sections(task: str, sections: Mapping[str, Any]) -> tuple[EnvConfig, list[Tape] | None]:
    """The configuration of a task, defaults included, and the tapes among its keywords.

    Raises:
        ConfigError: there is no such task, or something is wrong in its sections.
    """
    if task not in TASKS:
        raise ConfigError(f"task is {task!r}, but must be one of {', '.join(TASKS)}")
    sections, tapes = _data_of(sections)
    return TASKS[task].from_sections(**sections), tapes


def _data_of(sections: Mapping[str, Any]) -> tuple[dict[str, Any], list[Tape] | None]:
    """Sections with tapes and file names taken out of what `data` may be beside a section."""
    sections = dict(sections)
    data = sections.get("data")
    tapes = None
    if isinstance(data, Mapping) and "tapes" in data:
        tapes = data["tapes"]
        if not isinstance(tapes, Tape) and not tapes:
            raise ConfigError(_EMPTY)
        sections["data"] = {key: value for key, value in data.items() if key != "tapes"}
    elif isinstance(data, Tape):
        tapes = [data]
    elif isinstance(data, list | tuple):
        if not data:
            raise ConfigError(_EMPTY)
        tapes = [one for one in data if isinstance(one, Tape)] or None
        if tapes is None or len(tapes) < len(data):
            sections["data"] = {"files": [str(one) for one in data if not isinstance(one, Tape)]}
    elif isinstance(data, str | Path):
        if str(data).endswith((SUFFIX, ".dbn", ".dbn.zst")):
            sections["data"] = {"files": [str(data)]}
        elif not Path(data).is_file():
            raise ConfigError(f"data is '{data}': name a tape ({SUFFIX}), a .dbn or .dbn.zst file, or a YAML file")
    if tapes is not None and not isinstance(sections.get("data"), Mapping):
        sections["data"] = None
    return sections, tapes
