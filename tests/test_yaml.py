"""The YAML reader against a table of traps, and against its own writer."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bt_gym import _yaml
from bt_gym.errors import ConfigError


def read(tmp_path: Path, text: str) -> _yaml.Document:
    file = tmp_path / "a.yaml"
    file.write_text(text, encoding="utf-8")
    return _yaml.read(file)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("none", "none"),
        ("12:30:00", "12:30:00"),
        ("2024-01-02", "2024-01-02"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        (".nan", ".nan"),
        (".inf", ".inf"),
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("1e5", Decimal(100_000)),
        ("1.0e5", Decimal(100_000)),
        ("2.5E-3", Decimal("0.0025")),
        ("0.1", Decimal("0.1")),
        (".5", Decimal("0.5")),
        ("5.", Decimal(5)),
        ("'5'", "5"),
        ('"a: b"', "a: b"),
        ("12345678901234567890123", 12345678901234567890123),
        ("[1, a]", [1, "a"]),
        ("{a: 1}", {"a": 1}),
        ("!!str 5", "5"),
    ],
)
def test_read__takes_a_scalar_for_what_it_says(tmp_path: Path, text: str, value: object) -> None:
    got = read(tmp_path, f"key: {text}\n").data["key"]
    assert got == value
    assert type(got) is type(value)


def test_read__keeps_every_digit_of_a_number(tmp_path: Path) -> None:
    text = "0.1234567890123456789012345678901234567890"
    assert str(read(tmp_path, f"tick: {text}").data["tick"]) == text


def test_read__takes_keys_as_text(tmp_path: Path) -> None:
    assert read(tmp_path, "700: 1\ntrue: 2\n0.25: 3").data == {"700": 1, "true": 2, "0.25": 3}


def test_read__knows_line_and_column_of_keys_and_items(tmp_path: Path) -> None:
    document = read(tmp_path, "a:\n  b: 1\n  c: [x,\n      y]\nd: {e: 2}\n")
    assert document.places == {
        ("a",): (1, 1),
        ("a", "b"): (2, 3),
        ("a", "c"): (3, 3),
        ("a", "c", 0): (3, 7),
        ("a", "c", 1): (4, 7),
        ("d",): (5, 1),
        ("d", "e"): (5, 5),
    }
    assert document.describe(("d", "e")) == f"{tmp_path}/a.yaml:5:5: d.e"
    assert document.place(("a", "b", "missing")) == (2, 3)


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\nb: 2\na: 3", ":3:1: a: ", "given twice, first at 1:1"),
        ("s: {x: 1, x: 1}", ":1:11: s.x: ", "given twice"),
        ("a: &n 1\nb: *n", ":2:4: ", "aliases"),
        ("a: [1, 2", ":1:9: ", "not valid YAML"),
        ("a:\n\tb: 1", ":2:1: ", "not valid YAML"),
        ("a: 1\n---\nb: 2", ":2:1: ", "another document"),
        ("? [a]\n: 1", ":1:3: ", "a key must be a name"),
        ("a: !!python/object/apply:os.system [echo]", ":1:4: a: ", "remove the tag"),
        ("a: !!int b", ":1:4: a: ", "can't be read as int"),
        ("a: !!binary aGk=", ":1:4: a: ", "can't be read as binary"),
        ("[" * 1200, ": ", "nested too deep"),
        ("a: \x07", ": ", "isn't text"),
        ("", ": ", "the file is empty"),
        ("# nothing", ": ", "the file is empty"),
        ("- a", ": ", "top level must be keys"),
        ("word", ": ", "top level must be keys"),
    ],
)
def test_read__refuses_in_one_line_with_place(tmp_path: Path, text: str, place: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, text)
    message = str(error.value)
    assert message.startswith(f"{tmp_path}/a.yaml{place}")
    assert words in message
    assert "\n" not in message


def test_read__names_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file or directory; name a YAML file"):
        _yaml.read(tmp_path / "none.yaml")
    (tmp_path / "data.dbn").write_bytes(b"DBN\x03\xff\xfe")
    with pytest.raises(ConfigError, match=r"data\.dbn: isn't UTF-8 text \(byte 4\)"):
        _yaml.read(tmp_path / "data.dbn")


def test_split_key__is_the_inverse_of_dotted() -> None:
    for path in [("a",), ("a", "b", "c"), ("instruments", "ES.c.0", "tick_size"), ("x", "ES??")]:
        assert _yaml.split_key(_yaml.dotted(path)) == path


@pytest.mark.parametrize("key", ["", ".", "a.", ".a", "a..b", 'a."b', 'a."b"c'])
def test_split_key__refuses_what_is_no_path(key: str) -> None:
    with pytest.raises(ConfigError, match="names joined by points"):
        _yaml.split_key(key)


def test_assignment__reads_the_value_as_yaml() -> None:
    assert _yaml.assignment("a.b={type: fifo, x: [1, yes]}") == ("a.b", {"type": "fifo", "x": [1, "yes"]})
    assert _yaml.assignment("a=b=c") == ("a", "b=c")
    assert _yaml.assignment("a=") == ("a", None)
    with pytest.raises(ConfigError, match="write it as key=value"):
        _yaml.assignment("a.b")
    with pytest.raises(ConfigError, match=r"--set a:1:\d+: not valid YAML"):
        _yaml.assignment("a={")


def test_override__makes_sections_on_the_way_and_forgets_old_places() -> None:
    document = _yaml.Document(
        "f", {"a": {"b": {"c": 1}}}, {("a",): (1, 1), ("a", "b"): (2, 1), ("a", "b", "c"): (3, 1)}
    )
    document.override("a.b", 5)
    document.override("x.y", [1])
    assert document.data == {"a": {"b": 5}, "x": {"y": [1]}}
    assert document.describe(("a",)) == "f:1:1: a"
    assert document.describe(("a", "b")) == "--set a.b"
    assert document.describe(("x", "y", 0)) == "--set x.y[0]"
    with pytest.raises(ConfigError, match=r"--set a\.b\.c: a\.b is 5, which has no keys"):
        document.override("a.b.c", 1)


def test_override__starts_a_section_afresh_when_its_type_changes() -> None:
    document = _yaml.Document("f", {"m": {"type": "old", "x": 1}})
    document.override("m.type", "old")
    assert document.data == {"m": {"type": "old", "x": 1}}
    document.override("m.type", "new")
    assert document.data == {"m": {"type": "new"}}


numbers = st.integers() | st.decimals(allow_nan=False, allow_infinity=False).filter(lambda x: abs(x.adjusted()) < 40)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=10)
keys = st.text(min_size=1, max_size=10)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=5
)
traps = st.sampled_from(
    ["yes", "010", "1e5", "12:30:00", "null", "~", "", "0x1F", "=", "<<", "- a", "#", "1_0", "true"]
)


@given(st.dictionaries(keys, values | traps, min_size=1, max_size=3))
def test_write__is_read_back_unchanged(tmp_path_factory: pytest.TempPathFactory, data: dict) -> None:
    assert read(tmp_path_factory.getbasetemp(), _yaml.write(data)).data == data
