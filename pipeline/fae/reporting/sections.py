"""Sections of the page: rules, tables, columns and logs, each a text with its figure and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fae.format.manifest import SPLITS
from fae.hotset.rules import RULES
from fae.reporting.bars import MOST_BARS
from fae.reporting.canvas import Drawing
from fae.reporting.comparison import Comparison
from fae.reporting.elements import Row, glossary, pair, paragraph, picture, table
from fae.reporting.facts import Facts
from fae.reporting.formats import count, ratio, share, size

Drawings = Mapping[str, Drawing]

#: What each rule does, for people who have not read its module.
MEANING = {
    "inputs": "Starts with every row hot and drops, per byte, the row whose loss makes the fewest "
    "inputs cold, again and again. It looks at whole inputs, and also proves a bound.",
    "accesses": "Takes the rows with the most accesses first, over all tables: the choice of the "
    "FAE paper.",
    "threshold": "Takes every row above one number of accesses; the paper’s own search for that "
    "number, which estimates the hot bytes from samples and keeps a margin.",
    "per-table": "Takes the same share of every table, its most accessed rows: what many do by "
    "hand.",
}


def rules_section(facts: Facts, compared: Comparison, drawings: Drawings) -> Sequence[str]:
    """Every rule at every budget, what each does, and how the comparison was made."""
    text = (
        "A rule says which rows a budget buys. An input that misses one hot row is cold, so the "
        "choice matters as much as the bytes. Each rule chose anew for each budget, from the same "
        f"inputs: {_inputs(facts, compared)}"
    )
    entries = [(name, MEANING.get(name, _first_line(name))) for name in compared.hot]
    drawn = pair(picture(drawings["rules"]), glossary(entries))
    return paragraph(text), drawn, _rules_table(compared)


def _inputs(facts: Facts, compared: Comparison) -> str:
    train = facts.rows(SPLITS[0])
    if compared.inputs == train:
        return f"all {count(train)} inputs of the train split."
    text = (
        f"a random sample of {count(compared.inputs)} of the {count(train)} train inputs, with "
        "accesses counted in the sample alone. Fewer inputs need fewer rows, so all shares here "
        "are higher than over the whole split: compare the rules with each other."
    )
    if compared.accessed < compared.budgets[-1]:
        text += (
            f" The sample’s own rows take {size(compared.accessed)}, and a budget of that size or "
            "more makes all of it hot."
        )
    return text


def _first_line(rule: str) -> str:
    return (RULES[rule].__doc__ or "").partition("\n")[0]


def _rules_table(compared: Comparison) -> str:
    names = list(compared.hot)
    rows = []
    for place, budget in enumerate(compared.budgets):
        shares = [compared.hot[name][place] for name in names]
        own = budget == compared.own
        said = ["chosen" if own else "", share(budget / compared.everything)]
        cells = [size(budget), *said, *(share(one) for one in shares)]
        rows.append(Row([*cells, share(compared.bounds[place])], chosen=own))
    columns = ["budget", "", "of all bytes", *names, "at most"]
    caption = (
        "Share of the compared inputs that are hot, by rule. “At most”: a bound that no choice of "
        "rows can exceed."
    )
    return table(caption, columns, rows, text=2)


def tables_section(facts: Facts, access_share: float, drawings: Drawings) -> Sequence[str]:
    """Hot rows and their bytes, table by table."""
    manifest = facts.manifest
    rows = []
    for one in manifest.tables:
        price = manifest.embedding.row_bytes(one.dim)
        cells = [count(one.rows), count(one.hot_rows), share(one.hot_rows / one.rows)]
        sizes = [str(one.dim), size(one.hot_rows * price), size(one.rows * price)]
        rows.append(Row([one.name, *cells, *sizes]))
    text = (
        "A table is the set of rows of one category. Small tables are often hot whole, since they "
        "cost little and nearly every input needs them; of large ones the rare values stay cold. "
        f"All hot rows together get {share(access_share)} of the accesses in train."
    )
    if len(rows) > MOST_BARS:
        text += f" The figure shows the {MOST_BARS} largest tables."
    columns = ["table", "rows", "hot rows", "share hot", "dim", "hot bytes", "all bytes"]
    caption = "Rows of each embedding table, and what they take with their optimiser state."
    listed = table(caption, columns, rows)
    return paragraph(text), pair(picture(drawings["hot-rows"]), listed), _sharing(facts)


def _sharing(facts: Facts) -> str:
    """The tables whose cold values share rows; nothing where ids are exact."""
    rows = []
    for one in facts.sharing:
        counts = [one.values, one.rows, one.unused, one.shared]
        rows.append(Row([one.table, *map(count, counts), share(one.access_share)]))
    if not rows:
        return ""
    columns = ["table", "cold values", "cold rows", "unused", "values that share", "their accesses"]
    caption = (
        "Tables whose cold ids are hashed, so that values share rows; and the share of train "
        "accesses that go to rows with more than one value. Every other figure counts rows."
    )
    return table(caption, columns, rows)


def columns_section(facts: Facts, drawings: Drawings) -> Sequence[str]:
    """Out-of-vocabulary shares by column and split, and folded ids by table."""
    text = (
        "Values that the train split never shows have no row of their own; they share row 0 of "
        "their table. So do values seen fewer times than the minimum count, which are folded into "
        "it to save rows. Much of it in valid or test means that the log brings new values quickly."
    )
    rows = []
    for one in facts.tables:
        for column, splits in one.columns.items():
            shares = [
                share(ratio(splits[split].out_of_vocabulary, splits[split].accesses))
                for split in SPLITS
            ]
            rows.append(Row([column, one.name, *shares]))
    if len(rows) > MOST_BARS:
        text += f" The figure shows the first {MOST_BARS} columns."
    caption = "Share of accesses out of vocabulary by column and split. A dash: no access."
    listed = table(caption, ["column", "table", *SPLITS], rows, text=2)
    drawn = pair(picture(drawings["out-of-vocabulary"]), listed)
    return paragraph(text), drawn, _folded(facts)


def _folded(facts: Facts) -> str:
    """The tables whose rare ids were folded."""
    rows = [
        Row([one.name, str(one.min_count), count(one.folded_ids), count(one.folded_accesses)])
        for one in facts.tables
        if one.folded_ids
    ]
    if not rows:
        return paragraph("No id was folded.")
    columns = ["table", "minimum count", "folded ids", "their accesses"]
    caption = "Ids folded into row 0, since train shows them fewer times than the minimum count."
    return table(caption, columns, rows)


def logs_section(facts: Facts) -> Sequence[str]:
    """The logs that were read, and the lines that were set aside, with examples."""
    logs = [
        Row([log.name, count(log.lines), count(log.rows), count(log.rejects), size(log.bytes)])
        for log in facts.logs
    ]
    read = table("The logs that were read.", ["log", "lines", "rows", "rejects", "bytes"], logs)
    rejected = sum(facts.reasons.values())
    if not rejected:
        return read, paragraph("No line was rejected.")
    lines = sum(log.lines for log in facts.logs)
    text = (
        f"{count(rejected)} of {count(lines)} lines ({share(ratio(rejected, lines))}) do not fit "
        "the schema and were set aside; rejects/rejects.jsonl in the data set has them all."
    )
    reasons = [Row([reason, count(number)]) for reason, number in facts.reasons.items()]
    examples = [
        Row([one.file, count(one.line), one.column or "–", one.reason, one.text])
        for one in facts.rejects
    ]
    return (
        read,
        paragraph(text),
        table("Rejected lines by reason.", ["reason", "lines"], reasons),
        table(
            "The first rejected lines of each reason.",
            ["log", "line", "column", "reason", "text"], examples, text=5, code=4,
        ),
    )  # fmt: skip
