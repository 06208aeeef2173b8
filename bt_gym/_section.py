"""The base of all configuration models: exact numbers, and every problem named with its place.

`Section` is a frozen pydantic model, `validate` makes one from plain data and words what is wrong. The types keep the
digits that a number was written with, and never take text or a boolean for a number.
"""

import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from bt_gym import _yaml
from bt_gym.errors import ConfigError

# --- types. Each prepares the value only; pydantic's strict check behind it refuses what doesn't fit.


def _whole(value: Any) -> Any:
    """1e5 and 5.0 are whole numbers."""
    if isinstance(value, Decimal) and value.is_finite() and value.adjusted() < 19 and value % 1 == 0:
        return int(value)
    return value


def _exact(value: Any) -> Any:
    """A float from Python means the digits that it prints."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(str(value))
    return value


def _approximate(value: Any) -> Any:
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return float(Decimal(value))
    return value


def _file(value: Any) -> Any:
    return Path(value) if isinstance(value, str) and value else value


def _parquet(value: Path) -> Path:
    if value.suffix != ".parquet":
        raise ValueError(f"must end in .parquet, got '{value}'")
    return value


def _day(value: str) -> str:
    try:
        return dt.date.fromisoformat(value).isoformat()
    except ValueError:
        raise ValueError(f"must be a day such as 2026-01-05, got '{value}'") from None


def _unique(values: tuple) -> tuple:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"'{value}' is given twice; keep one")
    return values


def _free(value: Any) -> Any:
    """Numbers as a user's own strategy expects them: int or float."""
    if isinstance(value, dict):
        return {key: _free(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_free(item) for item in value]
    return float(value) if isinstance(value, Decimal) else value


T = TypeVar("T")
Whole = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[Whole, Field(ge=1, le=2**31 - 1)]
Exact = Annotated[Decimal, BeforeValidator(_exact)]
Number = Annotated[float, BeforeValidator(_approximate), Field(allow_inf_nan=False)]
Microseconds = Annotated[Exact, Field(ge=0, le=3_600_000_000, decimal_places=3)]  # whole nanoseconds, at most an hour
Money = Annotated[Exact, Field(ge=-(10**12), le=10**12, decimal_places=6)]
Fact = Annotated[Exact, Field(gt=0, le=10**9, decimal_places=9)]
File = Annotated[Path, BeforeValidator(_file)]
ParquetFile = Annotated[File, AfterValidator(_parquet)]
Word = Annotated[str, StringConstraints(min_length=1)]
Day = Annotated[Word, AfterValidator(_day)]
Several = Annotated[tuple[T, ...], Field(strict=False), AfterValidator(_unique)]  # a list without repetition
Free = Annotated[dict[str, Any], AfterValidator(_free)]


def to_micros(amount: Decimal) -> int:
    """An amount of money in 1e-6 of the currency.

    >>> to_micros(Decimal("2.05"))
    2050000
    """
    return int(amount.scaleb(6))


def to_nanoseconds(microseconds: Decimal) -> int:
    """Microseconds in ns.

    >>> to_nanoseconds(Decimal("0.5"))
    500
    """
    return int(microseconds.scaleb(3))


# --- models


class Section(BaseModel):
    """A frozen group of keys; unknown ones are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_default=True, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _note_keys(cls, value: Any, info: ValidationInfo) -> Any:
        """Notes which keys belong here, for error messages; takes `risk_limits:` with nothing behind it for empty."""
        if info.context is not None:
            info.context[id(value)] = list(cls.model_fields)
        return {} if value is None else value

    def model_post_init(self, _context: Any) -> None:
        """Counts `type` as given, so that a copy without defaults still tells which model it is."""
        if "type" in type(self).model_fields:
            self.model_fields_set.add("type")

    def to_dict(self) -> dict[str, Any]:
        """All settings, defaults included, as dicts, lists, text and numbers (exact ones as `Decimal`)."""
        return _simple(self.model_dump())

    def to_yaml(self) -> str:
        """All settings, defaults included, as YAML that loads to an equal configuration."""
        return _yaml.write(self.to_dict())

    def config_hash(self) -> str:
        """sha256 of all settings, defaults included, as canonical JSON: equal settings, equal hash."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), default=_canonical)
        return hashlib.sha256(text.encode()).hexdigest()


Overrides = Iterable[str] | Mapping[str, Any]
"""`["backtest.risk_limits.max_position=5"]` as typed after `--set`, or `{"backtest.risk_limits.max_position": 5}`."""

S = TypeVar("S", bound=Section)


def validate(model: type[S], data: Mapping[str, Any] | _yaml.Document, overrides: Overrides = ()) -> S:
    """Makes a model from plain data or a file, after applying the overrides.

    Raises:
        ConfigError: something is wrong: every problem, one per line, in the order of the file.
    """
    document = data if isinstance(data, _yaml.Document) else _yaml.Document("", cast(dict, _simple(data)))
    for key, value in overrides.items() if isinstance(overrides, Mapping) else map(_yaml.assignment, overrides):
        document.override(key, _simple(value))
    keys: dict[int, list[str]] = {}  # id of a section's data -> its valid keys, from Section._note_keys
    try:
        return model.model_validate(document.data, context=keys)
    except ValidationError as error:
        problems = [
            _problem(dict(found), document, keys)
            for found in error.errors(include_url=False)
            if found["type"] != "default_factory_not_called"  # follows from another problem
        ]
    raise ConfigError("\n".join(text for _, text in sorted(problems)))


def _simple(value: Any) -> Any:
    """Dicts, lists, text and numbers, all new."""
    if isinstance(value, Mapping):
        return {key: _simple(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_simple(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _canonical(value: Any) -> str:
    """Text of what JSON has no type for."""
    if isinstance(value, Decimal):
        return _yaml.digits(value)
    raise TypeError(f"{value!r} can't be part of a configuration")


# --- errors

_WORDING = {  # of pydantic's error types; others keep pydantic's own words
    "bool_type": "must be true or false",
    "dict_type": "must be a section with keys",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "is_instance_of Decimal": "must be a number",
    "is_instance_of Path": "must be the name of a file",
    "model_attributes_type": "must be a section with keys",
    "model_type": "must be a section with keys",
    "string_type": "must be text (put it in quotes)",
    "tuple_type": "must be a list",
}


def _problem(found: dict[str, Any], document: _yaml.Document, keys: dict[int, list[str]]) -> tuple[tuple, str]:
    """Place, to sort by, and text of one of pydantic's errors."""
    kind, value, context = found["type"], found["input"], found.get("ctx", {})
    path, parent = _locate(found["loc"], document.data, keys)
    if kind == "extra_forbidden":
        text = "unknown key" + _yaml.suggestion(str(path[-1]), keys[id(parent)])
    elif kind == "missing":
        text = "must be given"
    elif kind == "value_error":
        text = str(context["error"])
    elif kind in ("literal_error", "union_tag_invalid", "union_tag_not_found"):
        if kind != "literal_error":
            path = (*path, "type")
            value = value.get("type") if isinstance(value, dict) else value
        known = re.findall(r"'([^']+)'", context.get("expected") or context.get("expected_tags") or "")
        text = "must be given" if value is None else f"unknown value {_yaml.shown(value)}"
        text += _yaml.suggestion(str(value), known) if known else ""
    else:
        message = _WORDING.get(f"{kind} {context.get('class', '')}".rstrip()) or re.sub(
            r"^.*? should", "must", found["msg"]
        )
        text = f"{message[0].lower()}{message[1:]}, got {_yaml.shown(value)}"
    return document.place(path), f"{document.describe(path)}: {text}"


def _locate(location: tuple, data: Any, keys: dict[int, list[str]]) -> tuple[_yaml.KeyPath, Any]:
    """Path of the key that pydantic means, and the data it stands in.

    pydantic's location holds tags of unions as well, which are no keys of the file: they are left out.
    """
    path: _yaml.KeyPath = ()
    parent: Any = None
    node = data
    for part in location:
        valid = keys.get(id(node), ())
        if isinstance(node, dict) and (part in node or part in valid):
            parent, node, path = node, node.get(part), (*path, part)
        elif isinstance(node, list) and isinstance(part, int):
            parent, node, path = node, node[part], (*path, part)
    return path, parent
