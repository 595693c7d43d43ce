"""Figures of the curves: skew of accesses, what a budget buys, and the rules side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from fae.format.manifest import SPLITS
from fae.hotset.problem import StackedRows
from fae.reporting.canvas import DASHES, LIGHT, MARKERS, Drawing, axes, drawing, legend
from fae.reporting.comparison import Comparison
from fae.reporting.facts import Facts
from fae.reporting.formats import SPACE, count, plain, share, size, tick

_HEIGHT = 330
#: Tables that have a colour of their own; all others are drawn in grey.
_NAMED = 4
_POINTS = 120
_NAME_LENGTH = 18

Counts = npt.NDArray[np.int64]


def skew(rows: StackedRows) -> Drawing:
    """Accesses against rank, a line for each table, both axes logarithmic."""
    figure, pair = axes(_HEIGHT, "Accesses of each row, by rank")
    steepest, longest = 0, 0
    for table, style in _styles(rows):
        accesses = _descending(rows, table)
        accesses = accesses[accesses > 0]
        steepest = max(steepest, int(accesses.max(initial=0)))
        longest = max(longest, accesses.size)
        at = _log_spaced(accesses.size)
        pair.plot(at + 1, accesses[at], **style)
    pair.set_xscale("log")
    pair.set_yscale("log")
    pair.set_xlabel("rank of the row within its table")
    pair.set_ylabel("accesses in train")
    for axis, most in ((pair.xaxis, longest), (pair.yaxis, steepest)):
        steps = (1.0,) if most >= 100 else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(subs=steps, numticks=7))
        axis.set_major_formatter(FuncFormatter(_short))
        axis.set_minor_locator(NullLocator())
    legend(figure, 2)
    alt = (
        "Line chart, both axes logarithmic: accesses of each embedding row against its rank in its "
        f"table. The most accessed row has {count(steepest)} accesses; the lines fall steeply."
    )
    return drawing("access-skew", figure, alt)


def cumulative(rows: StackedRows, hot: Counts) -> Drawing:
    """The share of accesses that the most accessed rows get, over all tables and the largest."""
    figure, pair = axes(_HEIGHT, "Share of accesses that a share of rows gets")
    for table, style in _styles(rows):
        _plot_cumulative(pair, _descending(rows, table), style)
    everything = np.sort(rows.accesses)[::-1]
    style = {"color": LIGHT["ink"], "linewidth": 2.6, "label": "all tables"}
    _plot_cumulative(pair, everything, style)
    total = max(int(everything.sum()), 1)
    has = hot.size / rows.accesses.size, float(rows.accesses[hot].sum()) / total
    pair.plot(
        *has, marker="*", markersize=13, linestyle="", color=LIGHT["hot"], label="the hot set",
        markeredgecolor=LIGHT["page"], zorder=5, clip_on=False,
    )  # fmt: skip
    pair.set_xscale("log")
    pair.set_xlabel("share of rows, the most accessed first")
    pair.set_ylabel("share of accesses")
    _shares(pair)
    pair.xaxis.set_major_locator(LogLocator(numticks=7))
    pair.xaxis.set_major_formatter(FuncFormatter(lambda at, _: tick(at)))
    legend(figure, 2)
    tenth = share(float(everything[: max(1, everything.size // 10)].sum()) / total)
    alt = (
        f"Line chart: over all tables, the most accessed tenth of the rows gets {tenth} of the "
        f"accesses. The hot set is {share(has[0])} of the rows and gets {share(has[1])}."
    )
    return drawing("cumulative-accesses", figure, alt)


def budgets(facts: Facts) -> Drawing:
    """Hot share of each split and share of accesses against the budget, from the curve."""
    figure, pair = axes(_HEIGHT, "Hot share against budget")
    points = facts.curve
    lines = [(f"{split}_hot_share", f"hot inputs, {split}") for split in SPLITS]
    lines.append(("access_share", "accesses to hot rows"))
    for number, (column, label) in enumerate(lines):
        if column in points.columns:
            pair.plot(
                points["budget_bytes"].to_numpy(), points[column].to_numpy(), label=label,
                color=LIGHT[f"series-{number + 1}"], linestyle=DASHES[number],
            )  # fmt: skip
    own, knee = facts.manifest.budget.bytes, facts.knee_bytes
    _mark(pair, own, LIGHT["ink"], "-", f"chosen: {size(own)}")
    _mark(pair, knee, LIGHT["muted"], (0, (3, 3)), f"knee: {size(knee)}")
    pair.set_xlabel("bytes for hot rows")
    pair.set_ylabel("share")
    _byte_axis(pair, int(points["budget_bytes"][0]), int(points["budget_bytes"][-1]))
    _shares(pair)
    legend(figure, 2)
    alt = (
        f"Line chart of hot shares against the byte budget. At the chosen {size(own)}, "
        f"{share(facts.hot_share(SPLITS[0]))} of the train inputs are hot; the knee is at "
        f"{size(knee)}."
    )
    return drawing("hot-share-by-budget", figure, alt)


def rules(compared: Comparison) -> Drawing:
    """The hot share that each rule reaches at each budget, with the bound."""
    figure, pair = axes(_HEIGHT, "Hot share by rule")
    at = np.array(compared.budgets)
    if None not in compared.bounds:
        bounds = np.array(compared.bounds, dtype=np.float64)
        pair.plot(at, bounds, color=LIGHT["faint"], linewidth=6, label="at most (bound)")
    for number, (name, shares) in enumerate(compared.hot.items()):
        style = number % len(DASHES)
        pair.plot(
            at, shares, label=name, color=LIGHT[f"series-{style + 1}"], linestyle=DASHES[style],
            marker=MARKERS[style],
        )  # fmt: skip
    _mark(pair, compared.own, LIGHT["ink"], "-", f"chosen: {size(compared.own)}")
    pair.set_xlabel("bytes for hot rows")
    pair.set_ylabel("share of inputs that are hot")
    if at.size:
        _byte_axis(pair, int(at[0]), int(at[-1]))
    _shares(pair)
    legend(figure, 2)
    place = compared.budgets.index(compared.own) if compared.own in compared.budgets else -1
    reached = ", ".join(f"{rule} {share(shares[place])}" for rule, shares in compared.hot.items())
    alt = f"Line chart of hot share against budget by rule. At {size(compared.own)}: {reached}."
    return drawing("rules", figure, alt)


def _styles(rows: StackedRows) -> list[tuple[int, dict[str, Any]]]:
    """How each table is drawn: the largest in colours, above all others in grey."""
    sizes = np.diff(rows.table_offsets)
    largest = np.argsort(-sizes, kind="stable")[:_NAMED].tolist()
    others = [table for table in range(sizes.size) if table not in largest]
    grey = {"color": LIGHT["faint"], "linewidth": 1.0}
    styles: list[tuple[int, dict[str, Any]]] = [(table, dict(grey)) for table in others]
    if styles:
        word = "other table" if len(styles) == 1 else "other tables"
        styles[0][1]["label"] = f"{len(styles)} {word}"
    for number, table in enumerate(largest):
        named = {
            "color": LIGHT[f"series-{number + 1}"],
            "linestyle": DASHES[number],
            "label": label(rows.tables[table], int(sizes[table])),
        }
        styles.append((table, named))
    return styles


def label(table: str, rows: int) -> str:
    """A table's name, safe to draw, with its rows; never one that a legend would hide."""
    return f"{name(table)} ({count(rows)}{SPACE}rows)"


def name(table: str) -> str:
    """A table's name, short, with a place held in front where legends would skip it."""
    short = plain(table, _NAME_LENGTH)
    return f"\u200b{short}" if short.startswith("_") else short


def _descending(rows: StackedRows, table: int) -> Counts:
    """One table's accesses, most first."""
    return np.sort(rows.accesses[rows.table_offsets[table] : rows.table_offsets[table + 1]])[::-1]


def _log_spaced(length: int) -> Counts:
    """At most so many indices below `length`, evenly spaced on a logarithmic axis, both ends in."""
    if not length:
        return np.zeros(0, dtype=np.int64)
    return np.unique(np.geomspace(1, length, _POINTS).round().astype(np.int64)) - 1


def _plot_cumulative(pair: Axes, accesses: Counts, style: dict[str, Any]) -> None:
    at = _log_spaced(accesses.size)
    gained = np.cumsum(accesses) / max(int(accesses.sum()), 1)
    pair.plot((at + 1) / accesses.size, gained[at], **style)


def _mark(pair: Axes, budget: int, color: str, dashes: Any, label: str) -> None:
    pair.axvline(budget, color=color, linewidth=1.2, linestyle=dashes, label=label, zorder=1)


def _shares(pair: Axes) -> None:
    """A vertical axis from nothing to all."""
    pair.set_ylim(0, 1.03)
    pair.yaxis.set_major_locator(FixedLocator([0, 0.2, 0.4, 0.6, 0.8, 1]))
    pair.yaxis.set_major_formatter(FuncFormatter(lambda at, _: tick(at)))
    pair.xaxis.set_minor_locator(NullLocator())


def _byte_axis(pair: Axes, least: int, most: int) -> None:
    """A logarithmic axis of bytes, with a tick at every few powers of two."""
    pair.set_xscale("log", base=2)
    first, last = int(np.ceil(np.log2(least))), int(np.floor(np.log2(most)))
    step = max(1, -(-(last - first) // 5))
    pair.xaxis.set_major_locator(FixedLocator([2**power for power in range(first, last + 1, step)]))
    pair.xaxis.set_major_formatter(FuncFormatter(_bytes))
    pair.xaxis.set_minor_locator(NullLocator())


def _bytes(at: float, _: object = None) -> str:
    """A power of two as `4 MiB`."""
    return size(int(at)).replace(".00", "")


def _short(at: float, _: object = None) -> str:
    """A power of ten as `1`, `1 k`, `1 M`."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if at >= factor:
            return f"{at / factor:g}{SPACE}{unit}"
    return f"{at:g}"
