"""Figures of bars: hot rows per table, what is out of vocabulary, sizes of splits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from fae.format.manifest import SPLITS, Table
from fae.reporting.canvas import LIGHT, MARKERS, Drawing, axes, drawing, legend
from fae.reporting.facts import Facts
from fae.reporting.figures import name
from fae.reporting.formats import count, ratio, share, tick

#: More bars than these make a figure longer than a screen or two; the page's tables have all.
MOST_BARS = 40
_BAR = 16
_AROUND = 120


def hot_rows(facts: Facts) -> Drawing:
    """The share of each table's rows that is hot, the largest tables where there are many."""
    tables = facts.manifest.tables
    shown = _largest(tables)
    figure, pair = _bars("Hot share of each table’s rows", len(shown))
    shares = [table.hot_rows / table.rows for table in shown]
    pair.barh(range(len(shown)), [1.0] * len(shown), color=LIGHT["grid"], label="all rows")
    pair.barh(range(len(shown)), shares, color=LIGHT["hot"], label="hot rows")
    for place, (table, hot) in enumerate(zip(shown, shares, strict=True)):
        text = f"{share(hot)} of {count(table.rows)}"
        pair.text(1.02, place, text, va="center", fontsize=10)
    _names(pair, [table.name for table in shown])
    _share_axis(pair, 1.0)
    pair.set_xlabel("share of the table’s rows")
    legend(figure, 2)
    alt = "Bar chart of the share of each table’s rows that is hot; the table below has numbers."
    return drawing("hot-rows", figure, alt)


def out_of_vocabulary(facts: Facts) -> Drawing:
    """The share of each column's accesses that are out of vocabulary, by split."""
    columns = [
        (column, splits) for table in facts.tables for column, splits in table.columns.items()
    ]
    shown = columns[:MOST_BARS]
    figure, pair = _bars("Accesses out of vocabulary", len(shown))
    most = 0.0
    for number, split in enumerate(SPLITS):
        found = [
            ratio(splits[split].out_of_vocabulary, splits[split].accesses) for _, splits in shown
        ]
        at = [place for place, value in enumerate(found) if value is not None]
        values = [value for value in found if value is not None]
        if not values:
            continue
        most = max([most, *values])
        pair.plot(
            values, at, linestyle="", marker=MARKERS[number], color=LIGHT[f"series-{number + 1}"],
            label=split, markersize=6, fillstyle="none" if number else "full", clip_on=False,
            markeredgewidth=1.5, zorder=3,
        )  # fmt: skip
    _names(pair, [column for column, _ in shown])
    _share_axis(pair, max(most * 1.05, 0.01))
    pair.set_xlabel("share of the column’s accesses")
    legend(figure, 3)
    alt = (
        "Dot chart of the share of accesses out of vocabulary by column and split, at most "
        f"{share(most)}; the table below has the numbers."
    )
    return drawing("out-of-vocabulary", figure, alt)


def splits(facts: Facts) -> Drawing:
    """Hot and cold rows of each split."""
    figure, pair = _bars("Hot and cold inputs", 2 * len(SPLITS))
    places = np.arange(len(SPLITS))
    left = np.zeros(len(SPLITS))
    for temperature in ("hot", "cold"):
        leaves = [facts.manifest.splits[split][temperature].rows for split in SPLITS]
        rows = np.array(leaves, dtype=np.float64)
        pair.barh(places, rows, left=left, color=LIGHT[temperature], label=temperature, height=0.6)
        left += rows
    for place, split in enumerate(SPLITS):
        text = f"{count(facts.rows(split))}: {share(facts.hot_share(split))} hot"
        text = text if facts.rows(split) else "empty"
        end = (float(left[place]), place)
        pair.annotate(text, end, (6, 0), textcoords="offset points", va="center", fontsize=10)
    pair.set_xlim(0, float(left.max()) * 1.5)
    pair.set_ylim(len(SPLITS) - 0.4, -0.6)
    pair.set_yticks(places, list(SPLITS))
    pair.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    pair.xaxis.set_major_formatter(FuncFormatter(lambda at, _: count(round(at))))
    pair.grid(visible=False, axis="y")
    pair.set_xlabel("inputs")
    legend(figure, 2)
    parts = ", ".join(
        f"{split} {count(facts.rows(split))} inputs, {share(facts.hot_share(split))} hot"
        for split in SPLITS
    )
    return drawing("splits", figure, f"Stacked bar chart of hot and cold inputs by split: {parts}.")


def _largest(tables: Sequence[Table]) -> list[Table]:
    """The tables that are drawn, in their order."""
    kept = sorted(range(len(tables)), key=lambda place: -tables[place].rows)[:MOST_BARS]
    return [tables[place] for place in sorted(kept)]


def _bars(title: str, bars: int) -> tuple[Figure, Axes]:
    """Axes for so many horizontal bars."""
    return axes(_AROUND + _BAR * max(bars, 3), title)


def _names(pair: Axes, names: Sequence[str]) -> None:
    """Bars from top to bottom, with their names."""
    pair.set_yticks(range(len(names)), [name(one) for one in names], fontsize=10)
    pair.set_ylim(len(names) - 0.4, -0.6)
    pair.grid(visible=False, axis="y")
    pair.tick_params(axis="y", length=0, pad=7)


def _share_axis(pair: Axes, most: float) -> None:
    """A horizontal axis of shares from nothing to `most`."""
    pair.set_xlim(0, most)
    if most == 1:
        pair.xaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    else:
        pair.xaxis.set_major_locator(MaxNLocator(5))
    pair.xaxis.set_major_formatter(FuncFormatter(lambda at, _: tick(at)))
