"""The report of stylised facts: a file measured, two beside each other, and a page that needs nothing else."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bt_gym.data import stylised
from bt_gym.data.facts import HEADINGS, Market, study, to_json, write_page
from bt_gym.data.synthetic import Session, generate
from bt_gym.errors import EmptyDataError


@pytest.fixture(scope="module")
def session() -> Session:
    return generate(27, 1200)


@pytest.fixture(scope="module")
def market(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Market:
    path = tmp_path_factory.mktemp("facts") / "es.mbo.dbn.zst"
    session.write(path)
    return study(path)


def test_study__measures_continuous_trading_and_infers_the_grid(session: Session, market: Market) -> None:
    seen = stylised.observe(session.records, session.profile.tick_nanos, session.opens + stylised.SECOND)
    expected = Market(stylised.measure(seen), {})
    assert to_json({"es": market}) == to_json({"es": expected})
    assert json.loads(to_json({"es": market}))["es"]["trades"] == len(seen.trades)


def test_study__needs_ten_minutes(tmp_path: Path) -> None:
    path = tmp_path / "short.dbn"
    generate(27, 60).write(path)
    with pytest.raises(EmptyDataError, match=r"short.dbn: fewer than ten minutes"):
        study(path)


class Page(HTMLParser):
    """Counts tags, and keeps what could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.links += [name for name, _ in attrs if name in ("src", "href")]


def test_page__has_a_plot_for_each_curve_and_a_line_for_each_market(market: Market, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_page(path, {"synthetic": market, "<again>": market})
    page = Page()
    page.feed(path.read_text())
    assert page.tags["svg"] == len(HEADINGS) == len(market.curves)
    assert page.tags["polyline"] == 2 * len(HEADINGS)
    assert page.tags["tr"] == 1 + len(stylised.ROWS)
    assert page.links == []
    assert "script" not in page.tags
    assert "&lt;again&gt;" in path.read_text()
    assert "nan" not in path.read_text().split("<table>")[0]


def test_rows__of_a_fact_that_could_not_be_measured_have_a_dash(market: Market) -> None:
    facts = market.facts | {"sign_memory": float("nan"), "absolute_acf": [0.25, float("nan")]}
    cells = {title: value for title, _, value in stylised.rows({"thin": facts})}
    assert cells["exponent of its decay"] == "-"
    assert cells["of their size, lags 1 2 3 4 10 20 s"] == "0.25, -"
    assert "nan" not in "".join(cells.values())


def test_page__of_a_market_without_some_curve(market: Market, tmp_path: Path) -> None:
    nothing = {name: (xs[:0], ys[:0]) for name, (xs, ys) in market.curves.items()}
    write_page(tmp_path / "report.html", {"empty": Market(market.facts, nothing)})
    page = Page()
    page.feed((tmp_path / "report.html").read_text())
    assert page.tags["svg"] == len(HEADINGS)
    assert "polyline" not in page.tags
