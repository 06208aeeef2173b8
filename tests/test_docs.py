"""The documents agree with the code: generated tables, names of files, settings that can't run yet."""

import re
from pathlib import Path

import pytest

from bt_gym.backtest.outputs import SCHEMAS
from bt_gym.config import BacktestConfig, StrategyConfig, unbuilt
from bt_gym.core import enums
from docs import generate

ROOT = Path(__file__).parent.parent
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", *(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(generate.TABLES))
def test_generated__tables_are_up_to_date(name: str) -> None:
    assert read(f"docs/{name}") == generate.rendered(name), "run: python docs/generate.py"


def test_outputs__every_column_is_documented() -> None:
    tables = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |<!-- end)", read("docs/outputs.md"), re.DOTALL | re.MULTILINE))
    assert list(tables) == list(SCHEMAS)
    for kind, schema in SCHEMAS.items():
        documented = re.findall(r"^\| `(\w+)(\*?)` ", tables[kind], re.MULTILINE)
        plain = {name for name, star in documented if not star}
        families = tuple(name for name, star in documented if star)
        left = [name for name in schema.names if name not in plain]
        assert all(name.startswith(families) for name in left if families)
        assert families or not left
        assert plain <= set(schema.names)


def test_configuration__every_key_of_a_whole_file_is_documented() -> None:
    text = read("docs/configuration.md")
    tables = re.findall(r"^## ([\w.]+)[^\n]*\n(.*?)(?=^## |<!-- end)", text, re.DOTALL | re.MULTILINE)

    def check(section: dict, path: str) -> None:
        documented = "".join(table for heading, table in tables if heading == path)
        for key, value in section.items():
            if isinstance(value, dict):
                check(value, f"{path}.{key}")
            else:
                headings = [heading for heading, _ in tables]  # of a list of sections
                is_documented = f"| `{key}` |" in documented or f"{path}.{key}" in headings
                assert key == "type" or is_documented, f"{path}.{key}"

    loaded = BacktestConfig.from_file(ROOT / "configs" / "sma_crossover.yaml").to_dict()
    check(loaded["backtest"], "backtest")
    check(loaded["strategy"], "strategy")


def test_configuration__names_what_can_not_run_yet() -> None:
    text = read("docs/configuration.md").partition("<!-- generated")[0]
    config = BacktestConfig.from_file(
        ROOT / "configs" / "original_backtest.yaml", {"backtest.output.detailed_log": True}
    )
    strategy = StrategyConfig.from_file(ROOT / "configs" / "original_strategy.yaml")
    messages = [*unbuilt(config), *unbuilt(strategy)]
    assert len(messages) == 2
    for message in messages:
        key = message.split(":")[0].split(".")
        assert key[-1] in text
        assert key[-2] in text or "parameters" in key


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents__name_files_that_exist(name: str) -> None:
    text = read(name)
    for link in re.findall(r"\]\(([\w./]+)\)", text):
        assert ((ROOT / name).parent / link).exists(), link
    for file in re.findall(r"(?<![\w./:])[\w/]+\.(?:py|md|yaml)\b", text):
        places = [ROOT / file, ROOT / "bt_gym" / file, *ROOT.glob(f"bt_gym/*/{file}"), *ROOT.glob(f"docs/{file}")]
        assert any(place.exists() for place in places), file


def test_simulation__reasons_are_those_of_execution_reports() -> None:
    text = read("docs/simulation.md")
    reasons = set(enums.names("REASON_").values()) - {"none", "user", "max_loss", "max_position", "max_order_size"}
    told_elsewhere = {"unknown_order", "invalid", "end_of_data"}
    assert {reason for reason in reasons if f"`{reason}`" not in text} <= told_elsewhere
