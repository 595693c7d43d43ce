"""Compute the tables of the page: cells that are read as text and sort by their values."""

from collections.abc import Sequence
from dataclasses import dataclass

from fae.appending.drift import Drift
from fae.format.manifest import SPLITS, TEMPERATURES
from fae.reporting.comparison import Comparison
from fae.reporting.facts import Facts, drift_groups
from fae.reporting.style import format_count, format_share, format_size, ratio
from fae.reporting.training import Run

#: The groups of samples that are compared, by their names in HotShares.
COMPARED_SAMPLES = {
    "train": "compared train samples",
    "held_out": "held-out samples",
    "known": "held-out samples whose values all have a row",
}
#: Budgets that the table of the curve shows, relative to the chosen one.
_BUDGET_FACTORS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Cell:
    """A number as the page shows it, and the `value` that it sorts by; None sorts last."""

    text: str
    value: float | None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Table:
    """A table of the page, row by row: cells that sort by their number, or words.

    The first `text_columns` columns are words and align left; `code_column` is a log's own text.
    `chosen_row` is set off.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    text_columns: int = 1
    code_column: int | None = None
    chosen_row: int | None = None


def _count(number: int) -> Cell:
    return Cell(format_count(number), number)


def _share(fraction: float | None) -> Cell:
    return Cell(format_share(fraction), fraction)


def _size(number: int) -> Cell:
    return Cell(format_size(number), number)


def _measure(number: float | None) -> Cell:
    return Cell("–" if number is None else f"{number:.4f}", number)


def budget_table(facts: Facts, recommended: int) -> Table:
    """Return the curve at the chosen budget, its multiples, the knee and the recommended budget."""
    chosen, knee = facts.manifest.budget.bytes, facts.knee_bytes
    wanted = [*(chosen * factor for factor in _BUDGET_FACTORS), knee, recommended]
    nearest = [point for budget in wanted if (point := facts.curve_point(budget))]
    points = {point["budget_bytes"]: point for point in nearest}
    budgets = sorted(points)
    headings = {f"{split}_hot_share": f"hot, {split}" for split in SPLITS}
    headings |= {"known_hot_share": "hot, known", "access_share": "accesses", "bound": "at most"}
    shares = [name for name in headings if name in facts.curve.columns]
    speedup = ["speedup"] * ("speedup" in facts.curve.columns)
    rows = []
    for budget in budgets:
        point = points[budget]
        names = {"chosen": chosen, "knee": knee, "recommended": recommended}
        marks = [name for name, named in names.items() if named == budget]
        row = [_size(budget), ", ".join(marks), _count(point["hot_rows"])]
        row += [_share(point[name]) for name in shares]
        rows.append(row + [Cell(f"{point[name]:.2f}×", point[name]) for name in speedup])
    caption = "Hot samples by split, and accesses to hot rows, at budgets around the chosen one."
    if "known_hot_share" in shares:
        caption += " “Known”: of valid and test, the samples whose values all have a row."
    if "bound" in shares:
        samples = "train samples" if facts.sample >= 1 else "subset"
        caption += f" “At most”: a share of the {samples} that no choice of rows can exceed."
    columns = ["budget", "", "hot rows", *(headings[name] for name in shares)]
    columns += ["speed-up" for _ in speedup]
    return Table(caption, columns, rows, text_columns=2, chosen_row=budgets.index(chosen))


def rules_table(comparison: Comparison, samples: str) -> Table:
    """Return the shares of one group of samples, an attribute of HotShares, by budget and rule."""
    budgets, chosen = comparison.budgets, comparison.chosen_budget
    has_bound = samples == "train"
    rows = []
    for index, budget in enumerate(budgets):
        mark = "chosen" if budget == chosen else ""
        of_rules = [getattr(points[index], samples) for points in comparison.shares.values()]
        shares = [budget / comparison.total_bytes, *of_rules]
        shares += [comparison.bounds[index]] if has_bound else []
        rows.append([_size(budget), mark, *map(_share, shares)])
    caption = f"Share of the {COMPARED_SAMPLES[samples]} that are hot, by rule."
    if has_bound:
        caption += " “At most”: a bound that no choice of rows can exceed."
    columns = ["budget", "", "of all bytes", *comparison.shares, *["at most"] * has_bound]
    chosen_row = budgets.index(chosen) if chosen in budgets else None
    return Table(caption, columns, rows, text_columns=2, chosen_row=chosen_row)


def hot_rows_table(facts: Facts) -> Table:
    """Return each table's rows and bytes, all and hot."""
    rows = []
    for table in facts.manifest.tables:
        row_bytes = facts.manifest.embedding.row_bytes(table.dim)
        counts = [_count(table.rows), _count(table.hot_rows), _share(table.hot_rows / table.rows)]
        sizes = [_size(count * row_bytes) for count in (table.hot_rows, table.rows)]
        rows.append([table.name, *counts, _count(table.dim), *sizes])
    caption = "Rows of each embedding table, and what they take with their optimizer state."
    columns = ["table", "rows", "hot rows", "share hot", "dim", "hot bytes", "all bytes"]
    return Table(caption, columns, rows)


def sharing_table(facts: Facts) -> Table:
    """Return how many values share rows in tables whose cold ids are hashed."""
    rows = []
    for table in facts.sharing:
        counts = [table.values, table.rows, table.unused, table.shared]
        rows.append([table.table, *map(_count, counts), _share(table.access_share)])
    caption = (
        "Tables whose cold ids are hashed, so that values share rows; and the share of train "
        "accesses that go to rows with more than one value. Every other figure counts rows."
    )
    columns = ["table", "cold values", "cold rows", "unused", "values that share", "their accesses"]
    return Table(caption, columns, rows)


def columns_table(facts: Facts) -> Table:
    """Return the share of each column's accesses that are out of vocabulary, by split."""
    rows = []
    for table in facts.tables:
        for column, splits in table.columns.items():
            counts = [splits[split] for split in SPLITS]
            shares = (ratio(count.out_of_vocabulary, count.accesses) for count in counts)
            rows.append([column, table.name, *map(_share, shares)])
    caption = "Share of accesses out of vocabulary by column and split. A dash: no access."
    return Table(caption, ["column", "table", *SPLITS], rows, text_columns=2)


def folded_table(facts: Facts) -> Table:
    """Return the tables whose rare ids were folded into row 0."""
    rows = [
        [table.name, *map(_count, (table.min_count, table.folded_ids, table.folded_accesses))]
        for table in facts.tables
        if table.folded_ids
    ]
    caption = "Ids folded into row 0, since train shows them fewer times than the minimum count."
    return Table(caption, ["table", "minimum count", "folded ids", "their accesses"], rows)


def splits_table(facts: Facts) -> Table:
    """Return each split's samples and files."""
    rows = []
    for split in SPLITS:
        hot, cold = (facts.manifest.splits[split][temperature] for temperature in TEMPERATURES)
        files = [*hot.files, *cold.files]
        share, size = facts.hot_share(split), sum(file.bytes for file in files)
        counts = map(_count, (facts.rows(split), hot.rows, cold.rows))
        shares = map(_share, (share, facts.known_hot_share.get(split)))
        rows.append([split, *counts, *shares, _count(len(files)), _size(size)])
    columns = ["split", "samples", "hot", "cold", "hot share", "of known", "files", "bytes"]
    caption = (
        "Samples by split, and the files that hold them. “Of known”: the hot share of the samples "
        "whose values all have a row."
    )
    return Table(caption, columns, rows)


def logs_table(facts: Facts) -> Table:
    """Return the logs that were read."""
    columns = ["log", "lines", "rows", "rejects", "bytes"]
    rows = [
        [log.name, *map(_count, (log.lines, log.rows, log.rejects)), _size(log.bytes)]
        for log in facts.logs
    ]
    return Table("The logs that were read.", columns, rows)


def reject_counts_table(facts: Facts) -> Table:
    """Return the rejected lines by reason."""
    rows = [[reason, _count(lines)] for reason, lines in facts.rejects.items()]
    return Table("Rejected lines by reason.", ["reason", "lines"], rows)


def reject_examples_table(facts: Facts) -> Table:
    """Return the first rejected lines of each reason."""
    columns = ["log", "line", "column", "reason", "text"]
    rows = [
        [reject.file, _count(reject.line), reject.column or "–", reject.reason, reject.text]
        for reject in facts.example_rejects
    ]
    caption = "The first rejected lines of each reason."
    return Table(caption, columns, rows, text_columns=5, code_column=4)


def drift_table(drift: Drift) -> Table:
    """Return what each hot set covers of the new logs and of all."""
    rows = []
    for words, coverage in drift_groups(drift):
        former, now = coverage.shares()
        shares = [_share(share) for pair in zip(former, now, strict=True) for share in pair]
        rows.append([words, _count(coverage.inputs), *shares])
    caption = "Samples, and accesses, that the former hot set and this one cover."
    columns = ["logs", "samples", "hot before", "hot now", "accesses before", "accesses now"]
    return Table(caption, columns, rows)


def changed_rows_table(drift: Drift) -> Table:
    """Return how the rows and the hot rows of each table changed."""
    rows = []
    for table in drift.tables:
        counts = (table.former_rows, table.rows, table.gone, table.former_hot_rows)
        hot = (table.hot_rows, table.entered, table.left)
        rows.append([table.name, *map(_count, (*counts, *hot))])
    caption = "Rows of each table before and now, and those that entered and left the hot set."
    columns = ["table", "rows before", "rows now", "gone"]
    columns += ["hot before", "hot now", "entered", "left"]
    return Table(caption, columns, rows)


def runs_table(runs: Sequence[Run]) -> Table:
    """Return what each run reached, and how fast."""
    rows = []
    for run in runs:
        got = run.metrics
        speed = Cell(format_count(round(got.samples_per_second)), got.samples_per_second)
        counts = [Cell(f"{got.seconds:,.1f}", got.seconds), speed]
        measures = (got.valid_auc, got.valid_logloss, got.test_auc, got.test_logloss)
        rows.append(
            [run.label, got.device, *counts, _share(got.hot_share), *map(_measure, measures)]
        )
    caption = "Runs trained on this data set; seconds are those of training, without evaluations."
    columns = ["placement", "device", "seconds", "samples/s", "hot samples"]
    columns += ["AUC, valid", "log loss, valid", "AUC, test", "log loss, test"]
    return Table(caption, columns, rows, text_columns=2)
