"""Render the page: one HTML file that loads nothing and runs nothing.

`page.html.jinja` has the text and `page.css` the style; this module computes their numbers and
tables. Jinja escapes every value, and makes it printable first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fae.format.manifest import SPLITS
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
    "inputs": "Starts with every row hot and drops, per byte, the row whose loss makes the fewest "
    "samples cold, again and again. It looks at whole samples, and also proves a bound.",
    "accesses": "Takes the rows with the most accesses first, over all tables: the choice of the "
    "FAE paper.",
    "threshold": "Takes every row above one number of accesses; the paper’s own search for that "
    "number, which estimates the hot bytes from samples and keeps a margin.",
    "per-table": "Takes the same share of every table, its most accessed rows: what many do by "
    "hand.",
}
#: Characters of a value that the page shows at most; all texts of our own are shorter.
_MAX_VALUE_LENGTH = 300
#: Budgets that the table of the curve shows, relative to the chosen one.
_BUDGET_FACTORS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Table:
    """A table of the page: cells as text, row by row.

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
    environment = Environment(
        loader=PackageLoader("fae.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=False,
    )
    environment.filters |= {"count": format_count, "share": format_share, "size": format_size}
    tables = facts.manifest.tables
    held_out = [split for split in SPLITS[1:] if facts.rows(split)]
    return environment.get_template("page.html.jinja").render(
        facts=facts,
        access_share=access_share,
        comparison=comparison,
        figures={figure.name: figure for figure in figures},
        rules={rule: _rule_meaning(rule) for rule in comparison.hot_shares},
        samples=sum(facts.rows(split) for split in SPLITS),
        samples_by_split=", ".join(
            f"{split} {format_count(facts.rows(split))}" for split in SPLITS
        ),
        hot_share_elsewhere=", ".join(
            f"{split} {format_share(facts.hot_share(split))}" for split in held_out
        ),
        rows=sum(table.rows for table in tables),
        hot_rows=sum(table.hot_rows for table in tables),
        budget_table=_budget_table(facts),
        rules_table=_rules_table(comparison),
        hot_rows_table=_hot_rows_table(facts),
        sharing_table=_sharing_table(facts),
        columns_table=_columns_table(facts),
        folded_table=_folded_table(facts),
        splits_table=_splits_table(facts),
        logs_table=_logs_table(facts),
        rejects=sum(facts.reject_counts.values()),
        lines=sum(log.lines for log in facts.logs),
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
    return RULE_MEANINGS.get(rule) or (RULES[rule].__doc__ or "").partition("\n")[0]


def _budget_table(facts: Facts) -> Table:
    """Return the curve at the chosen budget, at its multiples and at the knee."""
    chosen, knee = facts.manifest.budget.bytes, facts.knee_bytes
    nearest = [facts.curve_point(chosen * factor) for factor in _BUDGET_FACTORS]
    nearest.append(facts.curve_point(knee))
    points = {point["budget_bytes"]: point for point in nearest if point is not None}
    budgets = sorted(points)
    headings = {f"{split}_hot_share": f"hot, {split}" for split in SPLITS}
    headings |= {"access_share": "accesses", "bound": "at most"}
    shares = [name for name in headings if name in facts.curve.columns]
    speedup = ["speedup"] * ("speedup" in facts.curve.columns)
    rows = []
    for budget in budgets:
        point = points[budget]
        marks = ["chosen"] * (budget == chosen) + ["knee"] * (budget == knee)
        row = [format_size(budget), ", ".join(marks), format_count(point["hot_rows"])]
        row += [format_share(point[name]) for name in shares]
        rows.append(row + [f"{point[name]:.2f}×" for name in speedup])
    caption = "Hot samples by split, and accesses to hot rows, at budgets around the chosen one."
    if "bound" in shares:
        samples = "train samples" if facts.sample_share >= 1 else "subset"
        caption += f" “At most”: a share of the {samples} that no choice of rows can exceed."
    columns = ["budget", "", "hot rows", *(headings[name] for name in shares)]
    columns += ["speed-up" for _ in speedup]
    return Table(caption, columns, rows, text_columns=2, chosen_row=budgets.index(chosen))


def _rules_table(comparison: Comparison) -> Table:
    budgets, chosen = comparison.budgets, comparison.chosen_budget
    rows = [
        [
            format_size(budget),
            "chosen" if budget == chosen else "",
            format_share(budget / comparison.total_bytes),
            *(format_share(shares[index]) for shares in comparison.hot_shares.values()),
            format_share(comparison.bounds[index]),
        ]
        for index, budget in enumerate(budgets)
    ]
    return Table(
        "Share of the compared samples that are hot, by rule. “At most”: a bound that no choice of "
        "rows can exceed.",
        ["budget", "", "of all bytes", *comparison.hot_shares, "at most"],
        rows,
        text_columns=2,
        chosen_row=budgets.index(chosen) if chosen in budgets else None,
    )


def _hot_rows_table(facts: Facts) -> Table:
    rows = []
    for table in facts.manifest.tables:
        row_bytes = facts.manifest.embedding.row_bytes(table.dim)
        counts = [format_count(table.rows), format_count(table.hot_rows)]
        sizes = [format_size(table.hot_rows * row_bytes), format_size(table.rows * row_bytes)]
        rows.append(
            [table.name, *counts, format_share(table.hot_rows / table.rows), table.dim, *sizes]
        )
    return Table(
        "Rows of each embedding table, and what they take with their optimizer state.",
        ["table", "rows", "hot rows", "share hot", "dim", "hot bytes", "all bytes"],
        rows,
    )


def _sharing_table(facts: Facts) -> Table:
    rows = []
    for table in facts.sharing:
        counts = map(format_count, (table.values, table.rows, table.unused, table.shared))
        rows.append([table.table, *counts, format_share(table.access_share)])
    return Table(
        "Tables whose cold ids are hashed, so that values share rows; and the share of train "
        "accesses that go to rows with more than one value. Every other figure counts rows.",
        ["table", "cold values", "cold rows", "unused", "values that share", "their accesses"],
        rows,
    )


def _columns_table(facts: Facts) -> Table:
    rows = []
    for table in facts.tables:
        for column, splits in table.columns.items():
            counts = [splits[split] for split in SPLITS]
            shares = (ratio(count.out_of_vocabulary, count.accesses) for count in counts)
            rows.append([column, table.name, *map(format_share, shares)])
    return Table(
        "Share of accesses out of vocabulary by column and split. A dash: no access.",
        ["column", "table", *SPLITS],
        rows,
        text_columns=2,
    )


def _folded_table(facts: Facts) -> Table:
    return Table(
        "Ids folded into row 0, since train shows them fewer times than the minimum count.",
        ["table", "minimum count", "folded ids", "their accesses"],
        [
            [
                table.name,
                table.min_count,
                format_count(table.folded_ids),
                format_count(table.folded_accesses),
            ]
            for table in facts.tables
            if table.folded_ids
        ],
    )


def _splits_table(facts: Facts) -> Table:
    rows = []
    for split in SPLITS:
        leaves = facts.manifest.splits[split]
        files = [file for leaf in leaves.values() for file in leaf.files]
        counts = map(format_count, (facts.rows(split), leaves["hot"].rows, leaves["cold"].rows))
        size = format_size(sum(file.bytes for file in files))
        hot_share = format_share(facts.hot_share(split))
        rows.append([split, *counts, hot_share, format_count(len(files)), size])
    return Table(
        "Samples by split, and the files that hold them.",
        ["split", "samples", "hot", "cold", "hot share", "files", "bytes"],
        rows,
    )


def _logs_table(facts: Facts) -> Table:
    rows = [
        [log.name, *map(format_count, (log.lines, log.rows, log.rejects)), format_size(log.bytes)]
        for log in facts.logs
    ]
    return Table("The logs that were read.", ["log", "lines", "rows", "rejects", "bytes"], rows)


def _reject_counts_table(facts: Facts) -> Table:
    rows = [[reason, format_count(lines)] for reason, lines in facts.reject_counts.items()]
    return Table("Rejected lines by reason.", ["reason", "lines"], rows)


def _reject_examples_table(facts: Facts) -> Table:
    return Table(
        "The first rejected lines of each reason.",
        ["log", "line", "column", "reason", "text"],
        [
            [
                reject.file,
                format_count(reject.line),
                reject.column or "–",
                reject.reason,
                reject.text,
            ]
            for reject in facts.example_rejects
        ],
        text_columns=5,
        code_column=4,
    )
