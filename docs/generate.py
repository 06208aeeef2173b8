"""Writes the tables of `outputs.md`, `configuration.md` and `environment.md` from the code that they describe.

`python docs/generate.py` brings them up to date; `tests/test_docs.py` fails while they are not.
"""

import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pyarrow as pa
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bt_gym.backtest.outputs import KEYS, SCHEMAS
from bt_gym.config import BacktestConfig
from bt_gym.config.env import EnvConfig

FOLDER = Path(__file__).parent
KINDS = {bool: "true or false", int: "whole number", float: "number", Decimal: "number", str: "text", Path: "file"}


def main() -> None:
    """Rewrites the files."""
    for name in TABLES:
        (FOLDER / name).write_text(rendered(name), encoding="utf-8")


def rendered(name: str) -> str:
    """A document with what stands between its two markers made anew."""
    lines = TABLES[name]()
    text = (FOLDER / name).read_text(encoding="utf-8")
    head, begin, rest = text.partition("<!-- generated: python docs/generate.py -->\n")
    _, end, tail = rest.partition("<!-- end -->")
    if not begin or not end:
        sys.exit(f"{name}: has lost its markers")
    return head + begin + "\n" + "\n".join(lines) + "\n" + end + tail


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


# --- outputs


def _outputs() -> Iterator[str]:
    for kind, schema in SCHEMAS.items():
        yield f"## {kind}"
        yield ""
        yield _row("column", "type", "unit", "meaning")
        yield "|---|---|---|---|"
        families = dict.fromkeys(_family(kind, column.name) for column in schema)
        for family in families:
            columns = [column for column in schema if _family(kind, column.name) == family]
            yield _column(family, columns)
        yield ""


def _family(kind: str, column: str) -> str:
    """`rejects_*` for all columns of the report's dict `rejects`; else the column's own name."""
    if kind == "metrics":
        for name in sorted(KEYS, key=len, reverse=True):
            if column.removeprefix(f"{name}_") in KEYS[name] and column.startswith(f"{name}_"):
                return f"{name}_*"
    return column


def _column(family: str, columns: list[pa.Field]) -> str:
    about = {key.decode(): value.decode() for key, value in columns[0].metadata.items()}
    meaning = about["meaning"]
    if family.endswith("*"):
        keys = [column.name.removeprefix(family[:-1]) for column in columns]
        meaning = f"{meaning.rpartition(': ')[0]}; one column each for {', '.join(keys)}"
    return _row(f"`{family}`", str(columns[0].type), about["unit"], meaning)


# --- configuration


def _environment() -> Iterator[str]:
    """The sections that environments alone have: one heading deeper, and in a backtest's words what both have."""
    for name, field in EnvConfig.model_fields.items():
        models = _models(field.annotation)
        if name in ("execution", "risk"):
            continue
        for section in models:
            for line in _sections(section, name, _label(section, field) if len(models) > 1 else ""):
                if line.startswith("## data.instruments"):
                    break  # as in a backtest
                yield f"#{line}" if line.startswith("#") else line


def _sections(model: type[BaseModel], path: str, chosen: str) -> Iterator[str]:
    """The table of a model's own keys, then its sections; `chosen` says which type when there are several."""
    own = {name: field for name, field in model.model_fields.items() if not _models(field.annotation)}
    if chosen:
        own.pop("type", None)  # the heading says it
    if path and (own or chosen):
        yield f"## {path}{chosen}"
        yield ""
        yield (model.__doc__ or "").strip()
        yield ""
    if own:
        yield _row("key", "value", "default", "meaning")
        yield "|---|---|---|---|"
        for name, field in own.items():
            meaning = " ".join((field.description or "").split())
            yield _row(f"`{name}`", _kind(field.annotation), _default(field), meaning)
        yield ""
    for name, field in model.model_fields.items():
        models = _models(field.annotation)
        key = f"{path}.{name}" if path else name
        if get_origin(field.annotation) is dict:
            key += '."SYMBOL"'
        for section in models:
            yield from _sections(section, key, _label(section, field) if len(models) > 1 else chosen)


def _label(section: type[BaseModel], field: FieldInfo) -> str:
    """Which of several types a section is."""
    kind = _kind(section.model_fields["type"].annotation)
    default = ", the default" if type(field.default) is section else ""
    return f", type {kind if kind.startswith('`') else '`module:Name`'}{default}"


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that a value may be, behind unions and annotations."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    inner = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
    return [model for part in inner for model in _models(part)]


def _kind(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin is Callable:
        return "class or function"
    if origin is tuple:
        return f"list: {_kind(inner[0])}"
    if inner and origin is not dict:
        return " or ".join(dict.fromkeys(_kind(part) for part in inner if part is not type(None)))
    return KINDS.get(annotation, "keys and values")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    if field.default_factory is not None and field.default_factory is not dict:
        return "see meaning"
    if field.default_factory is dict or field.default is None or field.default == ():
        return "none"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "outputs.md": _outputs,
    "configuration.md": lambda: _sections(BacktestConfig, "", ""),
    "environment.md": _environment,
}
"""What makes each document's tables."""


if __name__ == "__main__":
    main()
