"""YAML without its traps: exact numbers, no surprises, and the place of every key.

Differences from PyYAML's `safe_load`, each of which has turned somebody's setting into another one:

| text | `safe_load` | here |
|---|---|---|
| `yes`, `no`, `on`, `off` | a boolean | text; only `true` and `false` are booleans |
| `12:30:00` | 45000 | text |
| `1e5` | text | the number 100000 |
| `010`, `0x10`, `1_000`, `.nan`, `2024-01-02` | 8, 16, 1000, nan, a date | text |
| `0.1` | the nearest float | exactly 0.1, as `Decimal` |
| a key given twice | the last one wins | refused |
| anchors and aliases | expanded, however large | refused |
"""

import copy
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

from bt_gym.errors import ConfigError

KeyPath = tuple[str | int, ...]  # keys and list indices from the root: ("backtest", "data_source", "files", 0)

_TAG = "tag:yaml.org,2002:"
_DIGITS = r"(?:0|[1-9][0-9]*)"


class _Loader(yaml.SafeLoader):
    """Composes nodes only; `_value` turns them into Python values."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 - PyYAML's own declaration, filled below

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) aren't supported", problem_mark=self.peek_event().start_mark
            )
        return super().compose_node(parent, index)


_Loader.add_implicit_resolver(_TAG + "null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(_TAG + "bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"))
_Loader.add_implicit_resolver(_TAG + "int", re.compile(rf"[-+]?{_DIGITS}\Z"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _TAG + "float",
    re.compile(rf"[-+]?(?:{_DIGITS}(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z"),
    list("-+.0123456789"),
)


class _Dumper(yaml.SafeDumper):
    """Quotes exactly what `_Loader` would not read as text."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        return True


def digits(number: Decimal) -> str:
    """All digits of a number and no more: the same text for 10000, 1e4 and 10000.0."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _represent_decimal(dumper: yaml.SafeDumper, value: Decimal) -> yaml.ScalarNode:
    text = digits(value)
    return dumper.represent_scalar(_TAG + ("float" if "." in text else "int"), text)


_Dumper.add_representer(Decimal, _represent_decimal)


@dataclass
class Document:
    """A configuration as plain data, and where each key stands.

    Numbers with a point or exponent are `Decimal`, whole ones `int`; sections are dicts with text keys.
    """

    source: str
    """Name of the file; empty for data that came from Python."""
    data: dict[str, Any]
    places: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)
    """Line and column, from 1, of each key and list item; (0, 0) for one that was set on the command line."""

    def place(self, path: KeyPath) -> tuple[int, int]:
        """Line and column of the nearest key at or above `path`; (0, 0) when there is none."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return (0, 0)

    def describe(self, path: KeyPath) -> str:
        """`file:line:column: dotted.key`, as errors begin; `--set dotted.key` for an override."""
        key = dotted(path) or "(top level)"
        line, column = self.place(path)
        if line:
            return f"{self.source}:{line}:{column}: {key}"
        if any(path[:length] in self.places for length in range(1, len(path) + 1)):
            return f"--set {key}"
        return f"{self.source}: {key}" if self.source else key

    def override(self, key: str, value: Any) -> None:
        """Sets one dotted key. A new `type` starts its section afresh, since the other keys belong to the old one."""
        path = split_key(key)
        section = self.data
        for depth, part in enumerate(path[:-1], 1):
            child = section.get(part)
            if child is None:
                child = section[part] = {}
                self.places[path[:depth]] = (0, 0)
            elif not isinstance(child, dict):
                raise ConfigError(f"--set {key}: {dotted(path[:depth])} is {child!r}, which has no keys of its own")
            section = child
        dropped = path
        if path[-1] == "type" and section.get("type") != value:
            section.clear()
            dropped = path[:-1]
        section[path[-1]] = copy.deepcopy(value)
        self.places = {at: place for at, place in self.places.items() if at[: len(dropped)] != dropped}
        self.places[dropped] = self.places[path] = (0, 0)


def read(path: str | Path) -> Document:
    """Reads a YAML file whose root is a mapping.

    Raises:
        ConfigError: the file can't be read, isn't YAML, is empty, or has a key twice.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: isn't UTF-8 text (byte {error.start}); is it a YAML file?") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}; name a YAML file") from None
    document = Document(str(path), {})
    data = _parse(text, str(path), document.places)
    if data is None:
        raise ConfigError(f"{path}: the file is empty; it needs a section such as 'backtest:'")
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: the top level must be keys with values, got {shown(data)}")
    document.data = data
    return document


def assignment(text: str) -> tuple[str, Any]:
    """Splits the `a.b=value` of a `--set` option; the value is read as YAML.

    >>> assignment("backtest.risk_limits.max_position=5")
    ('backtest.risk_limits.max_position', 5)
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: write it as key=value, for example backtest.risk_limits.max_position=5")
    return key.strip(), _parse(value, f"--set {key.strip()}", {})


def write(data: Mapping[str, Any]) -> str:
    """YAML text that `read` gives back unchanged."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=120)


def dotted(path: KeyPath) -> str:
    """One name for a path: `backtest.data_source.files[0]`. Keys with a point are quoted, as `split_key` reads them."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (f'"{part}"' if "." in part else part)
    return text


def split_key(key: str) -> tuple[str, ...]:
    """Parts of a dotted key; a part with a point in it stands in double quotes.

    >>> split_key('instruments."ES.c.0".tick_size')
    ('instruments', 'ES.c.0', 'tick_size')
    """
    parts = re.findall(r'"[^"]+"|[^."]+', key)
    if not parts or ".".join(parts) != key:
        raise ConfigError(f"--set {key}: the key must be names joined by points, such as backtest.risk_limits.max_loss")
    return tuple(part.strip('"') for part in parts)


def shown(value: Any) -> str:
    """A value as an error message quotes it."""
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "no value"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value) if isinstance(value, int | Decimal) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def suggestion(word: str, known: list[str]) -> str:
    """`; did you mean X?` for the nearest known word, else the list of them."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}"


def _parse(text: str, source: str, places: dict[KeyPath, tuple[int, int]]) -> Any:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _value(node, (), source, places)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ConfigError(f"{source}{place}: not valid YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{source}: not valid YAML: character {error.position + 1} isn't text") from None
    except RecursionError:
        raise ConfigError(f"{source}: not valid YAML: nested too deep") from None


def _value(node: yaml.Node, path: KeyPath, source: str, places: dict[KeyPath, tuple[int, int]]) -> Any:
    if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
        section: dict[str, Any] = {}
        for key, child in node.value:
            line, column = key.start_mark.line + 1, key.start_mark.column + 1
            if not isinstance(key, yaml.ScalarNode) or not key.value:
                raise ConfigError(f"{source}:{line}:{column}: {dotted(path) or 'top level'}: a key must be a name")
            at = (*path, key.value)
            if key.value in section:
                first = ":".join(map(str, places[at]))
                raise ConfigError(f"{source}:{line}:{column}: {dotted(at)}: given twice, first at {first}; keep one")
            places[at] = (line, column)
            section[key.value] = _value(child, at, source, places)
        return section
    if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
        items = []
        for index, child in enumerate(node.value):
            places[*path, index] = (child.start_mark.line + 1, child.start_mark.column + 1)
            items.append(_value(child, (*path, index), source, places))
        return items
    try:
        match node.tag.removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return {"true": True, "false": False}[node.value.lower()]
            case "int":
                return int(node.value)
            case "float":
                return Decimal(node.value)
            case "str":
                return node.value
    except (ValueError, KeyError, InvalidOperation):
        pass
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    where = f"{source}:{line}:{column}: {dotted(path) or 'top level'}"
    raise ConfigError(f"{where}: {shown(node.value)} can't be read as {node.tag.removeprefix(_TAG)}; remove the tag")
