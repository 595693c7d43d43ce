"""Draw the report's figures: what each shows, in the charts of `charts`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from fae.appending.drift import Drift
from fae.arrays.arrow import Int32Array, Int64Array
from fae.format.manifest import SPLITS, TEMPERATURES, Table
from fae.hotset.problem import StackedRows
from fae.reporting.charts import Axis, Bar, Drawing, Mark, Point, Series, draw_bars, draw_lines
from fae.reporting.comparison import Comparison
from fae.reporting.facts import Facts, drift_groups
from fae.reporting.run_figures import draw_runs
from fae.reporting.style import (
    NO_BREAK_SPACE,
    format_count,
    format_share,
    format_size,
    ratio,
    to_printable,
)
from fae.reporting.training import Run

#: Bars that a figure shows at most, so that it fits a screen or two; the page's tables have all.
MAX_BARS = 40
#: The largest tables have a colour of their own; all others are drawn in grey.
_COLOURED_TABLES = 4
#: Points of a line on a logarithmic axis, and of one of the grey ones.
_LINE_POINTS, _GREY_LINE_POINTS = 60, 20
_MAX_NAME_LENGTH = 18
DRIFT_NAMES = ("former hot set", "this hot set")
#: A little more than all, for points at the top.
_SHARE_DOMAIN = (0.0, 1.04)


def draw_dataset(
    facts: Facts, rows: StackedRows, hot_rows: Int32Array, runs: Sequence[Run] = ()
) -> list[Drawing]:
    """Draw all figures that compare no rules; those of drift and of runs where there are any.

    `rows` are the data set's rows with their accesses in train, and `hot_rows` those that are hot.
    """
    drift = [_draw_drift(facts.drift)] if facts.drift else []
    return [
        _draw_access_skew(rows),
        _draw_cumulative_accesses(rows, hot_rows),
        _draw_hot_share_by_budget(facts),
        _draw_hot_rows(facts),
        _draw_out_of_vocabulary(facts),
        _draw_splits(facts),
        *drift,
        *draw_runs(runs),
    ]


def draw_comparison(comparison: Comparison) -> list[Drawing]:
    """Draw how the rules compare on train samples and on held-out ones."""
    return [_draw_rules(comparison, samples) for samples in ("train", "held_out")]


def _draw_access_skew(rows: StackedRows) -> Drawing:
    """Draw accesses against rank, a line for each table, on two logarithmic axes."""
    series, most_accesses = [], 0
    for table, line in _table_lines(rows):
        accesses = _sorted_accesses(rows, table)
        accesses = accesses[accesses > 0]
        most_accesses = max(most_accesses, int(accesses.max(initial=0)))
        points = [
            Point(index + 1, count, format_count(index + 1), format_count(count))
            for index, count in _sample_log_spaced(accesses, _count_points(line))
        ]
        series.append(replace(line, points=points))
    x = Axis("rank of the row within its table", "count", logarithmic=True)
    chart = draw_lines(x, Axis("accesses in train", "count", logarithmic=True), series)
    alt = (
        "Line chart, both axes logarithmic: accesses of each embedding row against its rank in its "
        f"table. The most accessed row has {format_count(most_accesses)} accesses; the lines fall "
        "steeply."
    )
    return Drawing("access-skew", "Accesses of each row, by rank", alt, chart)


def _draw_cumulative_accesses(rows: StackedRows, hot_rows: Int32Array) -> Drawing:
    """Draw the share of accesses to the most accessed rows, for all tables and the largest."""
    series = [
        replace(line, points=_cumulative_points(_sorted_accesses(rows, table), _count_points(line)))
        for table, line in _table_lines(rows)
    ]
    accesses = np.sort(rows.accesses)[::-1]
    series.append(Series("all tables", _cumulative_points(accesses, _LINE_POINTS), "ink", width=3))
    total = max(int(accesses.sum()), 1)
    row_share = hot_rows.size / rows.accesses.size
    access_share = float(rows.accesses[hot_rows].sum()) / total
    shares = format_share(row_share), format_share(access_share)
    hot_set = Mark("the hot set", row_share, "hot", y=access_share, at=shares[0], value=shares[1])
    chart = draw_lines(
        Axis("share of rows, the most accessed first", "share", logarithmic=True),
        Axis("share of accesses", "share", domain=_SHARE_DOMAIN),
        series,
        [hot_set],
    )
    top_tenth = format_share(float(accesses[: max(1, accesses.size // 10)].sum()) / total)
    alt = (
        f"Line chart: over all tables, the most accessed tenth of the rows gets {top_tenth} of the "
        f"accesses. The hot set is {shares[0]} of the rows and gets {shares[1]}."
    )
    title = "Share of accesses that a share of rows gets"
    return Drawing("cumulative-accesses", title, alt, chart)


def _draw_hot_share_by_budget(facts: Facts) -> Drawing:
    """Draw each split's hot share and the share of accesses against the budget, from the curve."""
    curve = facts.curve
    lines = [(f"{split}_hot_share", f"hot, {split}") for split in SPLITS]
    lines.append(("access_share", "accesses"))
    series = [
        Series(label, _budget_points(curve["budget_bytes"], curve[column]), index)
        for index, (column, label) in enumerate(lines)
        if column in curve.columns
    ]
    chosen, knee = facts.manifest.budget.bytes, facts.knee_bytes
    chart = draw_lines(
        Axis("bytes for hot rows", "bytes", logarithmic=True),
        Axis("share", "share", domain=_SHARE_DOMAIN),
        series,
        [_mark_chosen(chosen), Mark(f"knee: {format_size(knee)}", knee, "muted", is_dashed=True)],
    )
    alt = (
        f"Line chart of hot shares against the byte budget. At the chosen {format_size(chosen)}, "
        f"{format_share(facts.hot_share(SPLITS[0]))} of the train samples are hot; the knee is at "
        f"{format_size(knee)}."
    )
    return Drawing("hot-share-by-budget", "Hot share against budget", alt, chart)


def _draw_rules(comparison: Comparison, samples: str) -> Drawing:
    """Draw the hot share of `train` (with the bound) or `held_out` samples by rule and budget."""
    words = samples.replace("_", "-")
    budgets, chosen = comparison.budgets, comparison.chosen_budget
    series = []
    if samples == "train" and None not in comparison.bounds:
        points = _budget_points(budgets, comparison.bounds)
        series.append(Series("at most (bound)", points, "faint", width=7))
    by_rule = {
        rule: [getattr(point, samples) for point in points]
        for rule, points in comparison.shares.items()
    }
    for index, (rule, shares) in enumerate(by_rule.items()):
        series.append(Series(rule, _budget_points(budgets, shares), index))
    chart = draw_lines(
        Axis("bytes for hot rows", "bytes", logarithmic=True),
        Axis(f"share of {words} samples that are hot", "share", domain=_SHARE_DOMAIN),
        series,
        [_mark_chosen(chosen)],
        dots=True,
    )
    index = budgets.index(chosen) if chosen in budgets else -1
    reached = ", ".join(
        f"{rule} {format_share(shares[index])}" for rule, shares in by_rule.items() if shares
    )
    alt = (
        f"Line chart of the hot share of {words} samples against budget by rule. "
        f"At {format_size(chosen)}: {reached}."
    )
    name = "rules" if samples == "train" else "rules-held-out"
    return Drawing(name, f"Hot share by rule, {words} samples", alt, chart)


def _draw_hot_rows(facts: Facts) -> Drawing:
    """Draw the share of each table's rows that is hot, for the largest tables if there are many."""
    tables = _largest_tables(facts.manifest.tables)
    bars = []
    for name, table in zip(name_uniquely([table.name for table in tables]), tables, strict=True):
        share = table.hot_rows / table.rows
        value = f"{format_count(table.hot_rows)} of {format_count(table.rows)} rows"
        bars.append(Bar(name, "hot rows", share, value, format_share(share)))
    chart = draw_bars(
        Axis("share of the table’s rows that is hot", "share", domain=(0, 1.2)),
        bars,
        {"hot rows": "hot"},
    )
    alt = "Bar chart of the share of each table’s rows that is hot; the table below has numbers."
    return Drawing("hot-rows", "Hot share of each table’s rows", alt, chart)


def _draw_out_of_vocabulary(facts: Facts) -> Drawing:
    """Draw the share of each column's accesses that are out of vocabulary, by split."""
    columns = [item for table in facts.tables for item in table.columns.items()][:MAX_BARS]
    bars = []
    for name, (_, splits) in zip(
        name_uniquely([column for column, _ in columns]), columns, strict=True
    ):
        for split in SPLITS:
            count = splits[split]
            share = ratio(count.out_of_vocabulary, count.accesses)
            if share is not None:
                bars.append(Bar(name, split, share, format_share(share)))
    most = max((bar.length for bar in bars), default=0)
    chart = draw_bars(
        Axis("share of the column’s accesses", "share", domain=(0, max(most * 1.05, 0.01))),
        bars,
        {split: f"series-{place}" for place, split in enumerate(SPLITS, 1)},
        how="dots",
    )
    alt = (
        "Dot chart of the share of accesses out of vocabulary by column and split, at most "
        f"{format_share(most)}; the table below has the numbers."
    )
    return Drawing("out-of-vocabulary", "Accesses out of vocabulary", alt, chart)


def _draw_splits(facts: Facts) -> Drawing:
    """Draw the hot and cold rows of each split."""
    bars = []
    for split in SPLITS:
        rows = facts.rows(split)
        for temperature in TEMPERATURES:
            count = facts.manifest.splits[split][temperature].rows
            share = ratio(count, rows)
            value = f"{format_count(count)} ({format_share(share)})"
            bars.append(Bar(split, temperature, count, value))
    most = max(facts.rows(split) for split in SPLITS)
    axis = Axis("samples", "count", domain=(0, most * 1.05))
    chart = draw_bars(axis, bars, {temperature: temperature for temperature in TEMPERATURES})
    numbers = ", ".join(
        f"{split} {format_count(facts.rows(split))}, {format_share(facts.hot_share(split))} hot"
        for split in SPLITS
    )
    alt = f"Stacked bar chart of hot and cold samples by split: {numbers}."
    return Drawing("splits", "Hot and cold samples", alt, chart)


def _draw_drift(drift: Drift) -> Drawing:
    """Draw what the former hot set and this one cover of the new logs and of all."""
    bars = []
    for words, coverage in drift_groups(drift):
        for (samples, _), name in zip(coverage.shares(), DRIFT_NAMES, strict=True):
            bars.append(Bar(words, name, samples, format_share(samples), format_share(samples)))
    axis = Axis("share of samples that are hot", "share", domain=(0, 1.2))
    styles = {DRIFT_NAMES[0]: "faint", DRIFT_NAMES[1]: "hot"}
    chart = draw_bars(axis, bars, styles, how="grouped")
    numbers = "; ".join(f"{bar.row}, {bar.name}: {bar.value}" for bar in bars)
    alt = f"Bar chart of the hot share of samples under the former hot set and this one. {numbers}."
    return Drawing("drift", "Hot share before and after the new logs", alt, chart)


def _table_lines(rows: StackedRows) -> Iterator[tuple[int, Series]]:
    """Yield each table with its line, without points: the largest last, above the grey others."""
    sizes = np.diff(rows.table_offsets)
    names = name_uniquely(rows.tables)
    largest = np.argsort(-sizes, kind="stable")[:_COLOURED_TABLES].tolist()
    others = [table for table in range(sizes.size) if table not in largest]
    shared_name = f"{len(others)} other table{'s' if len(others) > 1 else ''}"
    for table in others:
        yield table, Series(shared_name, (), "faint", width=1, detail=names[table])
    for index, table in enumerate(largest):
        size = format_count(int(sizes[table]))
        yield table, Series(f"{names[table]} ({size}{NO_BREAK_SPACE}rows)", (), index)


def name_uniquely(names: Sequence[str]) -> list[str]:
    """Return names short and printable, and different where that would make two alike."""
    short = [to_printable(name, _MAX_NAME_LENGTH) for name in names]
    times = Counter(short)
    return [
        name if times[name] == 1 else f"{name} ({place})" for place, name in enumerate(short, 1)
    ]


def _sorted_accesses(rows: StackedRows, table: int) -> Int64Array:
    """Return the accesses of one table's rows, most first."""
    return np.sort(rows.accesses[rows.table_offsets[table] : rows.table_offsets[table + 1]])[::-1]


def _count_points(line: Series) -> int:
    return _GREY_LINE_POINTS if line.detail else _LINE_POINTS


def _sample_log_spaced(values: Int64Array, points: int) -> Iterator[tuple[int, int]]:
    """Yield places and their values, evenly spaced on a logarithmic axis, with both ends."""
    if values.size:
        spaced = np.geomspace(1, values.size, points).round().astype(np.int64)
        for place in np.unique(spaced) - 1:
            yield int(place), int(values[place])


def _cumulative_points(accesses: Int64Array, most_points: int) -> list[Point]:
    total = max(int(accesses.sum()), 1)
    points = []
    for place, sum_ in _sample_log_spaced(np.cumsum(accesses), most_points):
        rows, share = (place + 1) / accesses.size, sum_ / total
        points.append(Point(rows, share, format_share(rows), format_share(share)))
    return points


def _budget_points(budgets: Iterable[int], shares: Iterable[float | None]) -> list[Point]:
    """Return the points of the budgets whose share is known."""
    return [
        Point(budget, share, format_size(budget), format_share(share))
        for budget, share in zip(budgets, shares, strict=True)
        if share is not None
    ]


def _mark_chosen(budget: int) -> Mark:
    return Mark(f"chosen: {format_size(budget)}", budget, "ink")


def _largest_tables(tables: Sequence[Table]) -> list[Table]:
    """Return the tables that have a bar, in their order."""
    largest = sorted(range(len(tables)), key=lambda table: -tables[table].rows)[:MAX_BARS]
    return [tables[table] for table in sorted(largest)]
