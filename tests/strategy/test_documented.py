"""The strategies of docs/strategies.md run as they stand there."""

import re
from pathlib import Path

from bt_gym import JittedStrategy
from tests.runs import backtest

DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "strategies.md"


def examples() -> list[dict[str, object]]:
    """The names that each block of Python in the document leaves."""
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    spaces: list[dict[str, object]] = []
    for block in blocks:
        spaces.append({"__name__": "example"})
        exec(compile(block, "example", "exec"), spaces[-1])
    return spaces


def test_examples__of_the_document_run(session_file: Path):
    plain, compiled = examples()
    dips = plain["BuyDips"]()  # type: ignore[operator]
    follow = compiled["strategy"]
    assert isinstance(follow, JittedStrategy)
    follow.memory["wanted"] = 2  # the session is short
    run = backtest(session_file, {"dips": dips, "follow": follow})
    assert run.fills(1)["size"].sum() == 1  # it buys once, and then holds
    state = follow.memories["SYNH6"][0]
    assert (int(follow.memory["streak"][0]), int(state["wanted"])) == (0, 2)  # a run works on a copy
