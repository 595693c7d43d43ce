"""Render the page: one HTML file that loads nothing and runs nothing.

`page.html.jinja` has the text and `page.css` the style; this module computes their numbers and
tables. Jinja escapes every value, and makes it printable first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fae.format.manifest import SPLITS, TEMPERATURES
from fae.format.version import __version__
from fae.hotset.rules import RULES
from fae.reporting.comparison import Comparison
from fae.reporting.facts import Facts
from fae.reporting.figures import MAX_BARS
from fae.reporting.style import (
    PALETTE,
    Drawing,
    format_count,
    format_share,
    format_size,
    ratio,
    to_printable,
)

#: What each rule does, for people who have not read its module.
RULE_MEANINGS = {
    "inputs (future)": "The rule inputs with --objective future: each train sample is left out of "
    "the counts in turn, so that rows are chosen for samples that are still to come.",
    "inputs": "Starts with every row hot and drops, per byte, the row whose loss makes the fewest "
    "samples cold, again and again. It looks at whole samples, and also proves a bound.",
    "accesses": "Takes the rows with the most accesses first, over all tables: the choice of the "
    "FAE paper.",
    "threshold": "Takes every row above one number of accesses; the paper’s own search for that "
    "number, which estimates the hot bytes from samples and keeps a margin.",
    "per-table": "Takes the same share of every table, its most accessed rows: what many do by "
    "hand.",
}
#: The groups of samples that are compared, by their names in HotShares.
_COMPARED_SAMPLES = {
    "train": "compared train samples",
    "held_out": "held-out samples",
    "known": "held-out samples whose values all have a row",
}
#: Characters of a value that the page shows at most; all texts of our own are shorter.
_MAX_VALUE_LENGTH = 300
#: Budgets that the table of the curve shows, relative to the chosen one.
_BUDGET_FACTORS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Table:
    """A table of the page: cells as text, or as integers to be written as counts, row by row.

    The first `text_columns` columns are words and align left; `code_column` is a log's own text.
    `chosen_row` is set off.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    text_columns: int = 1
    code_column: int | None = None
    chosen_row: int | None = None


def render_page(
    facts: Facts, access_share: float, comparison: Comparison, figures: Sequence[Drawing]
) -> str:
    """Return the page as text; the same arguments give the same text.

    `access_share` is the share of accesses in train that go to hot rows.
    """
    loader = PackageLoader("fae.reporting", "")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, finalize=_finalize
    )
    environment.filters |= {"count": format_count, "share": format_share, "size": format_size}
    rows = {split: facts.rows(split) for split in SPLITS}
    counts = [f"{split} {format_count(count)}" for split, count in rows.items()]
    shares = [
        f"{split} {format_share(facts.hot_share(split))}" for split in SPLITS[1:] if rows[split]
    ]
    return environment.get_template("page.html.jinja").render(
        facts=facts,
        access_share=access_share,
        comparison=comparison,
        figures={figure.name: figure for figure in figures},
        rules={rule: _rule_meaning(rule) for rule in comparison.shares},
        is_reversed=any(facts.shares[0].is_reversed(other) for other in facts.shares[1:]),
        samples=sum(rows.values()),
        samples_by_split=", ".join(counts),
        hot_share_elsewhere=", ".join(shares),
        budget_table=_budget_table(facts),
        rules_tables=[_rules_table(comparison, samples) for samples in _COMPARED_SAMPLES],
        hot_rows_table=_hot_rows_table(facts),
        sharing_table=_sharing_table(facts),
        columns_table=_columns_table(facts),
        folded_table=_folded_table(facts),
        splits_table=_splits_table(facts),
        logs_table=_logs_table(facts),
        reject_counts_table=_reject_counts_table(facts),
        reject_examples_table=_reject_examples_table(facts),
        max_bars=MAX_BARS,
        palette=PALETTE,
        version=__version__,
    )


def _finalize(value: object) -> object:
    """Return what Jinja writes for a value: markup as it is, anything else made printable."""
    return value if isinstance(value, Markup) else to_printable(value, _MAX_VALUE_LENGTH)


def _rule_meaning(rule: str) -> str:
    if rule not in RULES:
        return "A rule of another package."
    return RULE_MEANINGS.get(rule) or (RULES[rule].__doc__ or "").partition("\n")[0]


def _budget_table(facts: Facts) -> Table:
    """Return the curve at the chosen budget, at its multiples and at the knee."""
    chosen, knee = facts.manifest.budget.bytes, facts.knee_bytes
    wanted = [*(chosen * factor for factor in _BUDGET_FACTORS), knee]
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
        marks = ["chosen"] * (budget == chosen) + ["knee"] * (budget == knee)
        row = [format_size(budget), ", ".join(marks), point["hot_rows"]]
        row += [format_share(point[name]) for name in shares]
        rows.append(row + [f"{point[name]:.2f}×" for name in speedup])
    caption = "Hot samples by split, and accesses to hot rows, at budgets around the chosen one."
    if "known_hot_share" in shares:
        caption += " “Known”: of valid and test, the samples whose values all have a row."
    if "bound" in shares:
        samples = "train samples" if facts.sample >= 1 else "subset"
        caption += f" “At most”: a share of the {samples} that no choice of rows can exceed."
    columns = ["budget", "", "hot rows", *(headings[name] for name in shares)]
    columns += ["speed-up" for _ in speedup]
    return Table(caption, columns, rows, text_columns=2, chosen_row=budgets.index(chosen))


def _rules_table(comparison: Comparison, samples: str) -> Table:
    """Return the shares of one group of samples, an attribute of HotShares, by budget and rule."""
    budgets, chosen = comparison.budgets, comparison.chosen_budget
    has_bound = samples == "train"
    rows = []
    for index, budget in enumerate(budgets):
        mark = "chosen" if budget == chosen else ""
        of_rules = [getattr(points[index], samples) for points in comparison.shares.values()]
        shares = [budget / comparison.total_bytes, *of_rules]
        shares += [comparison.bounds[index]] if has_bound else []
        rows.append([format_size(budget), mark, *map(format_share, shares)])
    caption = f"Share of the {_COMPARED_SAMPLES[samples]} that are hot, by rule."
    if has_bound:
        caption += " “At most”: a bound that no choice of rows can exceed."
    columns = ["budget", "", "of all bytes", *comparison.shares, *["at most"] * has_bound]
    chosen_row = budgets.index(chosen) if chosen in budgets else None
    return Table(caption, columns, rows, text_columns=2, chosen_row=chosen_row)


def _hot_rows_table(facts: Facts) -> Table:
    rows = []
    for table in facts.manifest.tables:
        row_bytes = facts.manifest.embedding.row_bytes(table.dim)
        share = format_share(table.hot_rows / table.rows)
        sizes = [format_size(count * row_bytes) for count in (table.hot_rows, table.rows)]
        rows.append([table.name, table.rows, table.hot_rows, share, str(table.dim), *sizes])
    caption = "Rows of each embedding table, and what they take with their optimizer state."
    columns = ["table", "rows", "hot rows", "share hot", "dim", "hot bytes", "all bytes"]
    return Table(caption, columns, rows)


def _sharing_table(facts: Facts) -> Table:
    rows = []
    for table in facts.sharing:
        counts = [table.values, table.rows, table.unused, table.shared]
        rows.append([table.table, *counts, format_share(table.access_share)])
    caption = (
        "Tables whose cold ids are hashed, so that values share rows; and the share of train "
        "accesses that go to rows with more than one value. Every other figure counts rows."
    )
    columns = ["table", "cold values", "cold rows", "unused", "values that share", "their accesses"]
    return Table(caption, columns, rows)


def _columns_table(facts: Facts) -> Table:
    rows = []
    for table in facts.tables:
        for column, splits in table.columns.items():
            counts = [splits[split] for split in SPLITS]
            shares = (ratio(count.out_of_vocabulary, count.accesses) for count in counts)
            rows.append([column, table.name, *map(format_share, shares)])
    caption = "Share of accesses out of vocabulary by column and split. A dash: no access."
    return Table(caption, ["column", "table", *SPLITS], rows, text_columns=2)


def _folded_table(facts: Facts) -> Table:
    rows = [
        [table.name, str(table.min_count), table.folded_ids, table.folded_accesses]
        for table in facts.tables
        if table.folded_ids
    ]
    caption = "Ids folded into row 0, since train shows them fewer times than the minimum count."
    return Table(caption, ["table", "minimum count", "folded ids", "their accesses"], rows)


def _splits_table(facts: Facts) -> Table:
    rows = []
    for split in SPLITS:
        hot, cold = (facts.manifest.splits[split][temperature] for temperature in TEMPERATURES)
        files = [*hot.files, *cold.files]
        share, size = facts.hot_share(split), sum(file.bytes for file in files)
        counts = [facts.rows(split), hot.rows, cold.rows]
        shares = [format_share(share), format_share(facts.known_hot_share.get(split))]
        rows.append([split, *counts, *shares, len(files), format_size(size)])
    columns = ["split", "samples", "hot", "cold", "hot share", "of known", "files", "bytes"]
    caption = (
        "Samples by split, and the files that hold them. “Of known”: the hot share of the samples "
        "whose values all have a row."
    )
    return Table(caption, columns, rows)


def _logs_table(facts: Facts) -> Table:
    columns = ["log", "lines", "rows", "rejects", "bytes"]
    rows = [
        [log.name, log.lines, log.rows, log.rejects, format_size(log.bytes)] for log in facts.logs
    ]
    return Table("The logs that were read.", columns, rows)


def _reject_counts_table(facts: Facts) -> Table:
    return Table("Rejected lines by reason.", ["reason", "lines"], list(facts.rejects.items()))


def _reject_examples_table(facts: Facts) -> Table:
    columns = ["log", "line", "column", "reason", "text"]
    rows = [
        [reject.file, reject.line, reject.column or "–", reject.reason, reject.text]
        for reject in facts.example_rejects
    ]
    caption = "The first rejected lines of each reason."
    return Table(caption, columns, rows, text_columns=5, code_column=4)
