"""Draw the report's figures: skew of accesses, budgets, rules, hot rows, vocabulary and splits."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator

from fae.arrays.arrow import Int64Array
from fae.format.manifest import SPLITS, Table
from fae.hotset.problem import StackedRows
from fae.reporting.comparison import Comparison
from fae.reporting.facts import Facts
from fae.reporting.style import (
    DASHES,
    LIGHT,
    MARKERS,
    NO_BREAK_SPACE,
    Drawing,
    format_count,
    format_power_of_ten,
    format_share,
    format_share_tick,
    format_size,
    new_figure,
    ratio,
    render,
    set_byte_axis,
    set_share_axis,
    to_printable,
)

#: Bars that a figure shows at most, so that it fits a screen or two; the page's tables have all.
MAX_BARS = 40
_LINE_CHART_UNITS = 330
_BAR_CHART_UNITS = 120
_UNITS_PER_BAR = 16
#: The largest tables have a colour of their own; all others are drawn in grey.
_COLOURED_TABLES = 4
#: Points of a line on a logarithmic axis.
_LINE_POINTS = 120
_MAX_NAME_LENGTH = 18


def draw_figures(
    facts: Facts, rows: StackedRows, hot_rows: Int64Array, comparison: Comparison
) -> list[Drawing]:
    """Draw all figures of a report, inside `matplotlib_settings`.

    `rows` are the data set's rows with their accesses in train, and `hot_rows` those that are hot.
    """
    return [
        _draw_access_skew(rows),
        _draw_cumulative_accesses(rows, hot_rows),
        _draw_hot_share_by_budget(facts),
        _draw_rules(comparison, "train"),
        _draw_rules(comparison, "held_out"),
        _draw_hot_rows(facts),
        _draw_out_of_vocabulary(facts),
        _draw_splits(facts),
    ]


def _draw_access_skew(rows: StackedRows) -> Drawing:
    """Draw accesses against rank, a line for each table, on two logarithmic axes."""
    figure, axes = new_figure(_LINE_CHART_UNITS, "Accesses of each row, by rank")
    most_accesses, most_rows = 0, 0
    for table, style in _line_styles(rows):
        accesses = _sorted_accesses(rows, table)
        accesses = accesses[accesses > 0]
        most_accesses = max(most_accesses, int(accesses.max(initial=0)))
        most_rows = max(most_rows, accesses.size)
        indices = _log_spaced_indices(accesses.size)
        axes.plot(indices + 1, accesses[indices], **style)
    axes.set(
        xscale="log", yscale="log",
        xlabel="rank of the row within its table", ylabel="accesses in train",
    )  # fmt: skip
    for axis, most in ((axes.xaxis, most_rows), (axes.yaxis, most_accesses)):
        steps = (1.0,) if most >= 100 else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(subs=steps, numticks=7))
        axis.set_major_formatter(format_power_of_ten)
        axis.set_minor_locator(NullLocator())
    alt = (
        "Line chart, both axes logarithmic: accesses of each embedding row against its rank in its "
        f"table. The most accessed row has {format_count(most_accesses)} accesses; the lines fall "
        "steeply."
    )
    return render("access-skew", figure, alt)


def _draw_cumulative_accesses(rows: StackedRows, hot_rows: Int64Array) -> Drawing:
    """Draw the share of accesses to the most accessed rows, for all tables and the largest."""
    figure, axes = new_figure(_LINE_CHART_UNITS, "Share of accesses that a share of rows gets")
    for table, style in _line_styles(rows):
        _plot_cumulative(axes, _sorted_accesses(rows, table), style)
    accesses = np.sort(rows.accesses)[::-1]
    style = {"color": LIGHT["ink"], "linewidth": 2.6, "label": "all tables"}
    _plot_cumulative(axes, accesses, style)
    total = max(int(accesses.sum()), 1)
    row_share = hot_rows.size / rows.accesses.size
    access_share = float(rows.accesses[hot_rows].sum()) / total
    axes.plot(
        row_share, access_share, marker="*", markersize=13, linestyle="", color=LIGHT["hot"],
        label="the hot set", markeredgecolor=LIGHT["page"], zorder=5, clip_on=False,
    )  # fmt: skip
    axes.set(
        xscale="log", xlabel="share of rows, the most accessed first", ylabel="share of accesses"
    )
    set_share_axis(axes)
    axes.xaxis.set_major_locator(LogLocator(numticks=7))
    axes.xaxis.set_major_formatter(format_share_tick)
    top_tenth = format_share(float(accesses[: max(1, accesses.size // 10)].sum()) / total)
    alt = (
        f"Line chart: over all tables, the most accessed tenth of the rows gets {top_tenth} of the "
        f"accesses. The hot set is {format_share(row_share)} of the rows and gets "
        f"{format_share(access_share)}."
    )
    return render("cumulative-accesses", figure, alt)


def _draw_hot_share_by_budget(facts: Facts) -> Drawing:
    """Draw each split's hot share and the share of accesses against the budget, from the curve."""
    figure, axes = new_figure(_LINE_CHART_UNITS, "Hot share against budget")
    curve = facts.curve
    budgets = curve["budget_bytes"].to_numpy()
    lines = [(f"{split}_hot_share", f"hot samples, {split}") for split in SPLITS]
    lines.append(("access_share", "accesses to hot rows"))
    for index, (column, label) in enumerate(lines):
        if column in curve.columns:
            axes.plot(budgets, curve[column].to_numpy(), label=label, **_series_style(index))
    chosen, knee = facts.manifest.budget.bytes, facts.knee_bytes
    _mark_budget(axes, chosen, LIGHT["ink"], "-", f"chosen: {format_size(chosen)}")
    _mark_budget(axes, knee, LIGHT["muted"], (0, (3, 3)), f"knee: {format_size(knee)}")
    axes.set(xlabel="bytes for hot rows", ylabel="share")
    set_byte_axis(axes, int(budgets[0]), int(budgets[-1]))
    set_share_axis(axes)
    alt = (
        f"Line chart of hot shares against the byte budget. At the chosen {format_size(chosen)}, "
        f"{format_share(facts.hot_share(SPLITS[0]))} of the train samples are hot; the knee is at "
        f"{format_size(knee)}."
    )
    return render("hot-share-by-budget", figure, alt)


def _draw_rules(comparison: Comparison, samples: str) -> Drawing:
    """Draw the hot share of `train` (with the bound) or `held_out` samples by rule and budget."""
    words = samples.replace("_", "-")
    figure, axes = new_figure(_LINE_CHART_UNITS, f"Hot share by rule, {words} samples")
    budgets, chosen = comparison.budgets, comparison.chosen_budget
    if samples == "train" and None not in comparison.bounds:
        bounds = np.array(comparison.bounds, dtype=np.float64)
        axes.plot(budgets, bounds, color=LIGHT["faint"], linewidth=6, label="at most (bound)")
    by_rule = {
        rule: [getattr(point, samples) for point in points]
        for rule, points in comparison.shares.items()
    }
    for index, (rule, shares) in enumerate(by_rule.items()):
        series = index % len(DASHES)
        drawn = np.array(shares, dtype=np.float64)  # None, of no samples, becomes no point
        axes.plot(budgets, drawn, label=rule, marker=MARKERS[series], **_series_style(series))
    _mark_budget(axes, chosen, LIGHT["ink"], "-", f"chosen: {format_size(chosen)}")
    axes.set(xlabel="bytes for hot rows", ylabel=f"share of {words} samples that are hot")
    if budgets:
        set_byte_axis(axes, budgets[0], budgets[-1])
    set_share_axis(axes)
    index = budgets.index(chosen) if chosen in budgets else -1
    reached = ", ".join(
        f"{rule} {format_share(shares[index])}" for rule, shares in by_rule.items() if shares
    )
    alt = (
        f"Line chart of the hot share of {words} samples against budget by rule. "
        f"At {format_size(chosen)}: {reached}."
    )
    return render("rules" if samples == "train" else "rules-held-out", figure, alt)


def _draw_hot_rows(facts: Facts) -> Drawing:
    """Draw the share of each table's rows that is hot, for the largest tables if there are many."""
    tables = _largest_tables(facts.manifest.tables)
    figure, axes = _new_bar_chart("Hot share of each table’s rows", len(tables))
    shares = [table.hot_rows / table.rows for table in tables]
    positions = range(len(tables))
    axes.barh(positions, [1.0] * len(tables), color=LIGHT["grid"], label="all rows")
    axes.barh(positions, shares, color=LIGHT["hot"], label="hot rows")
    for position, table, hot_share in zip(positions, tables, shares, strict=True):
        text = f"{format_share(hot_share)} of {format_count(table.rows)}"
        axes.text(1.02, position, text, va="center", fontsize=10)
    _name_bars(axes, [table.name for table in tables])
    axes.set(xlim=(0, 1), xlabel="share of the table’s rows")
    axes.xaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    axes.xaxis.set_major_formatter(format_share_tick)
    alt = "Bar chart of the share of each table’s rows that is hot; the table below has numbers."
    return render("hot-rows", figure, alt)


def _draw_out_of_vocabulary(facts: Facts) -> Drawing:
    """Draw the share of each column's accesses that are out of vocabulary, by split."""
    columns = [item for table in facts.tables for item in table.columns.items()][:MAX_BARS]
    figure, axes = _new_bar_chart("Accesses out of vocabulary", len(columns))
    most = 0.0
    for index, split in enumerate(SPLITS):
        counts = [splits[split] for _, splits in columns]
        shares = [ratio(count.out_of_vocabulary, count.accesses) for count in counts]
        points = [(share, place) for place, share in enumerate(shares) if share is not None]
        if not points:
            continue
        most = max(most, *(share for share, _ in points))
        axes.plot(
            *zip(*points, strict=True), linestyle="", marker=MARKERS[index], markersize=6,
            color=LIGHT[f"series-{index + 1}"], fillstyle="none" if index else "full",
            markeredgewidth=1.5, label=split, clip_on=False, zorder=3,
        )  # fmt: skip
    _name_bars(axes, [column for column, _ in columns])
    axes.set(xlim=(0, max(most * 1.05, 0.01)), xlabel="share of the column’s accesses")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(format_share_tick)
    alt = (
        "Dot chart of the share of accesses out of vocabulary by column and split, at most "
        f"{format_share(most)}; the table below has the numbers."
    )
    return render("out-of-vocabulary", figure, alt, legend_columns=3)


def _draw_splits(facts: Facts) -> Drawing:
    """Draw the hot and cold rows of each split."""
    figure, axes = _new_bar_chart("Hot and cold samples", 2 * len(SPLITS))
    left = np.zeros(len(SPLITS))
    for temperature in ("hot", "cold"):
        leaves = [facts.manifest.splits[split][temperature] for split in SPLITS]
        rows = np.array([leaf.rows for leaf in leaves], dtype=np.float64)
        color = LIGHT[temperature]
        axes.barh(range(len(SPLITS)), rows, left=left, color=color, label=temperature, height=0.6)
        left += rows
    for place, split in enumerate(SPLITS):
        text = f"{format_count(facts.rows(split))}: {format_share(facts.hot_share(split))} hot"
        text = text if facts.rows(split) else "empty"
        end = (float(left[place]), place)
        axes.annotate(text, end, (6, 0), textcoords="offset points", va="center", fontsize=10)
    _name_bars(axes, SPLITS)
    axes.set(xlim=(0, float(left.max()) * 1.5), xlabel="samples")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: format_count(round(value)))
    numbers = ", ".join(
        f"{split} {format_count(facts.rows(split))}, {format_share(facts.hot_share(split))} hot"
        for split in SPLITS
    )
    alt = f"Stacked bar chart of hot and cold samples by split: {numbers}."
    return render("splits", figure, alt)


def _line_styles(rows: StackedRows) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each table with the style of its line: the largest last, in colours, above the grey."""
    sizes = np.diff(rows.table_offsets)
    largest = np.argsort(-sizes, kind="stable")[:_COLOURED_TABLES].tolist()
    others = [table for table in range(sizes.size) if table not in largest]
    for table in others:
        style = {"color": LIGHT["faint"], "linewidth": 1.0}
        if table == others[0]:
            style["label"] = f"{len(others)} other table{'s' if len(others) > 1 else ''}"
        yield table, style
    for index, table in enumerate(largest):
        name, size = _short_name(rows.tables[table]), format_count(int(sizes[table]))
        yield table, {"label": f"{name} ({size}{NO_BREAK_SPACE}rows)", **_series_style(index)}


def _series_style(index: int) -> dict[str, Any]:
    """Return the colour and the dashes of one of a figure's lines."""
    return {"color": LIGHT[f"series-{index + 1}"], "linestyle": DASHES[index]}


def _short_name(name: str) -> str:
    """Return a table's or a column's name, short, and such that no legend leaves it out."""
    short = to_printable(name, _MAX_NAME_LENGTH)
    # Matplotlib hides labels that begin with an underscore.
    return f"\u200b{short}" if short.startswith("_") else short


def _sorted_accesses(rows: StackedRows, table: int) -> Int64Array:
    """Return the accesses of one table's rows, most first."""
    return np.sort(rows.accesses[rows.table_offsets[table] : rows.table_offsets[table + 1]])[::-1]


def _log_spaced_indices(length: int) -> Int64Array:
    """Return indices below `length`, evenly spaced on a logarithmic axis, with both ends."""
    if not length:
        return np.zeros(0, dtype=np.int64)
    return np.unique(np.geomspace(1, length, _LINE_POINTS).round().astype(np.int64)) - 1


def _plot_cumulative(axes: Axes, accesses: Int64Array, style: dict[str, Any]) -> None:
    indices = _log_spaced_indices(accesses.size)
    shares = np.cumsum(accesses) / max(int(accesses.sum()), 1)
    axes.plot((indices + 1) / accesses.size, shares[indices], **style)


def _mark_budget(axes: Axes, budget: int, color: str, dashes: Any, label: str) -> None:
    axes.axvline(budget, color=color, linewidth=1.2, linestyle=dashes, label=label, zorder=1)


def _new_bar_chart(title: str, bars: int) -> tuple[Figure, Axes]:
    return new_figure(_BAR_CHART_UNITS + _UNITS_PER_BAR * max(bars, 3), title)


def _name_bars(axes: Axes, names: Sequence[str]) -> None:
    """Order horizontal bars from top to bottom and write their names beside them."""
    axes.set_yticks(range(len(names)), [_short_name(name) for name in names], fontsize=10)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, pad=7)


def _largest_tables(tables: Sequence[Table]) -> list[Table]:
    """Return the tables that have a bar, in their order."""
    largest = sorted(range(len(tables)), key=lambda table: -tables[table].rows)[:MAX_BARS]
    return [tables[table] for table in sorted(largest)]
