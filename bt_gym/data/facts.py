"""Stylised facts of a file, as a table and as a page of plots that needs nothing but a browser."""

import html
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bt_gym.core.enums import PHASE_AUCTION, PHASE_CONTINUOUS, PHASE_MASK
from bt_gym.data import stylised
from bt_gym.data.compiler import Compiler, label_phases
from bt_gym.data.dbn import open_dbn
from bt_gym.data.files import replace_file
from bt_gym.data.sources import check_manifests
from bt_gym.data.validate import infer_grid, parse_tick
from bt_gym.errors import EmptyDataError

WIDTH, HEIGHT, MARGIN = 420, 260, 44
COLOURS = ("#1f5fa8", "#c2571a", "#3a7d44", "#7a3e9d")
LOGARITHMIC = {  # axes of the plots, by their titles
    "absolute 1 s return, ticks": "xy",
    "lag of trade signs, trades": "xy",
    "lag of absolute 1 s returns, s": "xy",
    "lots of a run of trades of one sign": "xy",
    "order lifetime, s": "xy",
}
HEADINGS = {
    "spread, ticks": "Spread: share of time",
    "absolute 1 s return, ticks": "Tails: share of returns at least so large",
    "lag of 1 s returns, s": "Autocorrelation of returns",
    "lag of absolute 1 s returns, s": "Clustering: autocorrelation of absolute returns",
    "lag of trade signs, trades": "Memory: autocorrelation of trade signs",
    "ticks behind the best price": "Depth: mean lots",
    "lots of a run of trades of one sign": "Impact: mean move of the mid, ticks",
    "order lifetime, s": "Lifetimes: share of orders that live longer",
}


@dataclass(frozen=True)
class Market:
    """What was measured of one file."""

    facts: dict[str, Any]  # see `stylised.measure`
    curves: dict[str, tuple[np.ndarray, np.ndarray]]  # see `stylised.curves`


def study(path: Path | str, *, symbol: str | None = None, tick_size: str | None = None) -> Market:
    """Measures the continuous trading of one instrument in a DBN file, from a second after it first begins.

    Args:
        path: `.dbn` or `.dbn.zst` file of MBO records; its records have to fit into memory.
        symbol: the instrument, when there are several.
        tick_size: price grid, in units of the price; None infers the largest grid that all orders lie on.

    Raises:
        DataError: the file can't be used.
        TickError: the tick size makes no sense, or no grid can be inferred.
        EmptyDataError: it has no ten minutes of continuous trading with 100 trades.
    """
    file = open_dbn(path)
    check_manifests([file.path])
    selection = file.select(symbol)
    records = np.concatenate(list(file.chunks(selection)))
    tick_nanos = infer_grid((file, selection)) if tick_size is None else parse_tick(tick_size)
    since = _opens(records, tick_nanos) + stylised.SECOND
    seen = stylised.observe(records, tick_nanos, since)
    if len(seen.quotes) < 2 or len(seen.trades) < 100 or seen.quotes["ts"][-1] - since < 600 * stylised.SECOND:
        raise EmptyDataError(f"{path}: fewer than ten minutes or 100 trades of continuous trading: give a longer file")
    return Market(stylised.measure(seen), stylised.curves(seen))


def _opens(records: np.ndarray, tick_nanos: int) -> int:
    """ts_event of the auction that opens continuous trading, or of its first event, ns."""
    compiler = Compiler(tick_nanos)
    parts = [piece.events.copy() for pieces in (compiler.feed(records), compiler.finish()) for piece in pieces]
    events = np.concatenate(parts)
    label_phases(events, compiler.stretches)
    trading = np.isin(events["flags"] & PHASE_MASK, (PHASE_AUCTION, PHASE_CONTINUOUS))
    return int(events["ts_event"][np.argmax(trading)])


def to_json(markets: Mapping[str, Market]) -> str:
    """The facts by market as one JSON object; what couldn't be measured is null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps({name: plain(market.facts) for name, market in markets.items()}, allow_nan=False)


# --- the page


def write_page(path: Path | str, markets: Mapping[str, Market]) -> None:
    """Writes one HTML file with a table of the facts and a plot of each curve, all markets in each."""
    names = list(markets)
    legend = " ".join(
        f'<span style="color:{colour}">&#9632; {html.escape(name)}</span>'
        for name, colour in zip(names, COLOURS, strict=False)
    )
    rows = [f"<tr><th>{'</th><th>'.join(map(html.escape, ('fact', 'expected', *names)))}</th></tr>"]
    for cells in stylised.rows({name: market.facts for name, market in markets.items()}):
        rows.append(f"<tr><td>{'</td><td>'.join(map(html.escape, cells))}</td></tr>")
    plots = [
        _plot(title, [market.curves[title] for market in markets.values()], LOGARITHMIC.get(title, ""))
        for title in HEADINGS
    ]
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Stylised facts</title><style>'
        "body{font:14px sans-serif;margin:2em;max-width:1340px}table{border-collapse:collapse}"
        "td,th{border-bottom:1px solid #ccc;padding:3px 10px;text-align:left}svg{margin:8px}</style>"
        f"<h1>Stylised facts</h1><p>{legend}</p>{''.join(plots)}<table>{''.join(rows)}</table></html>\n"
    )
    with replace_file(path) as file:
        file.write(page.encode())


def _plot(title: str, lines: list[tuple[np.ndarray, np.ndarray]], logarithmic: str) -> str:
    """One plot as SVG: `logarithmic` names the axes that are."""
    scales = {axis: math.log10 if axis in logarithmic else float for axis in "xy"}
    points = []
    for xs, ys in lines:
        shown = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True) if np.isfinite(x) and np.isfinite(y)]
        if "x" in logarithmic:
            shown = [point for point in shown if point[0] > 0]
        if "y" in logarithmic:
            shown = [point for point in shown if point[1] > 0]
        points.append([(scales["x"](x), scales["y"](y)) for x, y in shown])
    drawn = [point for line in points for point in line]
    parts = [
        f'<svg width="{WIDTH}" height="{HEIGHT}" font-size="11">'
        f'<text x="{MARGIN}" y="14" font-size="13" font-weight="bold">{html.escape(HEADINGS[title])}</text>'
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 6}" text-anchor="end">{html.escape(title)}</text>'
        f'<path d="M{MARGIN},24V{HEIGHT - MARGIN}H{WIDTH - 10}" fill="none" stroke="#888"/>'
    ]
    if drawn:
        low = [min(point[axis] for point in drawn) for axis in (0, 1)]
        high = [max(point[axis] for point in drawn) for axis in (0, 1)]
        if not logarithmic:
            low[1] = min(low[1], 0.0)
        spans = [(high[axis] - low[axis]) or 1.0 for axis in (0, 1)]

        def place(point: tuple[float, float]) -> tuple[float, float]:
            x = MARGIN + (point[0] - low[0]) / spans[0] * (WIDTH - MARGIN - 14)
            return x, HEIGHT - MARGIN - (point[1] - low[1]) / spans[1] * (HEIGHT - MARGIN - 30)

        for line, colour in zip(points, COLOURS, strict=False):
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, line))
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}"/>' for x, y in map(place, line)]
        for axis, name in enumerate("xy"):
            for end in (low, high):
                value = 10 ** end[axis] if name in logarithmic else end[axis]
                corner = [low[0], low[1]]
                corner[axis] = end[axis]
                x, y = place((corner[0], corner[1]))
                shift = (0, 15) if axis == 0 else (-4, 4)
                anchor = "middle" if axis == 0 else "end"
                parts.append(
                    f'<text x="{x + shift[0]:.1f}" y="{y + shift[1]:.1f}" text-anchor="{anchor}">{value:.3g}</text>'
                )
    return "".join(parts) + "</svg>"
