"""The page: one HTML file that asks for nothing else, for people who have never met FAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Template

from fae.format.manifest import SPLITS
from fae.format.version import __version__
from fae.hotset.problem import StackedRows
from fae.reporting.canvas import Drawing
from fae.reporting.comparison import Comparison
from fae.reporting.elements import Row, card, cards, pair, paragraph, picture, section, table
from fae.reporting.facts import Facts
from fae.reporting.formats import count, escaped, ratio, share, size
from fae.reporting.sections import columns_section, logs_section, rules_section, tables_section
from fae.reporting.style import style

_PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<header>
<h1>$title</h1>
$lead
$figures
<nav aria-label="Sections"><ul>$links</ul></nav>
</header>
<main>
$sections
</main>
<footer>$footer</footer>
</body>
</html>
""")

_LEAD = (
    "A click model keeps one embedding row, a short list of learned numbers, for every value of "
    "every category, and all these rows together outgrow a GPU. Few of them get most of the "
    "accesses: the rows chosen to live on the GPU are hot, an input (one line of the log) is hot "
    "when it touches hot rows only, and everything else is cold and has to wait for the host."
)
_SECTIONS = {
    "skew": "How uneven the accesses are",
    "budget": "What a budget buys",
    "rules": "The rules compared",
    "tables": "Hot rows per table",
    "vocabulary": "Out of vocabulary",
    "splits": "Splits",
    "logs": "Logs and rejected lines",
}


def page(
    facts: Facts, rows: StackedRows, access_share: float, compared: Comparison,
    drawings: Mapping[str, Drawing],
) -> str:  # fmt: skip
    """The page as text; the same arguments give the same text."""
    title = f"Hot and cold in {facts.schema.name}"
    links = (f'<li><a href="#{name}">{escaped(said)}</a></li>' for name, said in _SECTIONS.items())
    return _PAGE.substitute(
        title=escaped(title),
        style=style(),
        lead=paragraph(_LEAD, "lead"),
        figures=cards(_key_figures(facts, rows, access_share)),
        links="".join(links),
        sections="\n".join(_sections(facts, access_share, compared, drawings)),
        footer=paragraph(_colophon(facts)),
    )


def _sections(
    facts: Facts, access_share: float, compared: Comparison, drawings: Mapping[str, Drawing]
) -> Sequence[str]:
    skew = (
        "Each line of the first figure is a table: its rows from the most accessed to the least, "
        "counted in the train split. The steeper it falls, the fewer rows get most accesses. The "
        "second figure adds them up. The star is this data set’s hot set; it lies below the line "
        "of all tables where rows were chosen to make whole inputs hot, not to gather accesses."
    )
    return (
        section(
            "skew", _SECTIONS["skew"], paragraph(skew),
            pair(picture(drawings["access-skew"]), picture(drawings["cumulative-accesses"])),
        ),
        section(
            "budget", _SECTIONS["budget"],
            pair(picture(drawings["hot-share-by-budget"]), paragraph(_budget_text(facts))),
            _budget_table(facts),
        ),
        section("rules", _SECTIONS["rules"], *rules_section(facts, compared, drawings)),
        section("tables", _SECTIONS["tables"], *tables_section(facts, access_share, drawings)),
        section("vocabulary", _SECTIONS["vocabulary"], *columns_section(facts, drawings)),
        section(
            "splits", _SECTIONS["splits"], pair(picture(drawings["splits"]), _splits_table(facts))
        ),
        section("logs", _SECTIONS["logs"], *logs_section(facts)),
    )  # fmt: skip


def _key_figures(facts: Facts, rows: StackedRows, access_share: float) -> list[str]:
    """What most people come for, as cards."""
    budget = facts.manifest.budget
    by_split = ", ".join(f"{split} {count(facts.rows(split))}" for split in SPLITS)
    hot = sum(table.hot_rows for table in facts.manifest.tables)
    total = rows.accesses.size
    held_out = [split for split in SPLITS[1:] if facts.rows(split)]
    other = [f"{split} {share(facts.hot_share(split))}" for split in held_out]
    used = f"{size(budget.used_bytes)} of {size(budget.bytes)}"
    found = [
        card("Inputs", count(sum(facts.rows(split) for split in SPLITS)), by_split),
        card("Hot inputs in train", share(facts.hot_share(SPLITS[0])), ", ".join(other)),
        card("Budget used", share(ratio(budget.used_bytes, budget.bytes)), used),
        card("Hot rows", share(hot / total), f"{count(hot)} of {count(total)}"),
        card("Accesses to hot rows", share(access_share), "of all accesses in train"),
    ]
    for words, factor in (("half", 0.5), ("twice", 2.0)):
        point = facts.near(budget.bytes * factor)
        if point is not None:
            title = f"Hot inputs with {words} the budget"
            found.append(card(title, _hot(point, SPLITS[0]), f"at {size(point['budget_bytes'])}"))
    found.append(_knee(facts))
    return found


def _knee(facts: Facts) -> str:
    point = facts.near(facts.knee_bytes)
    assert point is not None
    more = f"{_hot(point, SPLITS[0])} hot; beyond it bytes buy less than on average"
    return card("Knee of the curve", size(facts.knee_bytes), more)


def _hot(point: Mapping[str, float], split: str) -> str:
    return share(point.get(f"{split}_hot_share"))


def _budget_text(facts: Facts) -> str:
    text = (
        "A budget is the bytes that hot rows may take on the GPU, optimiser state included. With "
        "the order in which this data set bought its rows, other budgets would have given these "
        "shares at least; a rule that chooses anew for another budget may do better. The knee is "
        "where the curve of train stands highest above the straight line from nothing to all "
        "bytes: before it a byte buys more than on average, beyond it less."
    )
    if facts.sample >= 1:
        return text
    return text + (
        f" Rows were chosen on a sample of {share(facts.sample)} of the train inputs: in this "
        "section, accesses (and the bound, where there is one) are those of the sample."
    )


def _budget_table(facts: Facts) -> str:
    """The curve at the chosen budget, its multiples and the knee."""
    own, knee = facts.manifest.budget.bytes, facts.knee_bytes
    factors = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16)
    near = [facts.near(own * factor) for factor in factors] + [facts.near(knee)]
    points = {point["budget_bytes"]: point for point in near if point is not None}
    splits = [split for split in SPLITS if f"{split}_hot_share" in facts.curve.columns]
    extra = {"bound": "at most", "speedup": "speed-up"}
    shown = [name for name in extra if name in facts.curve.columns]
    columns = ["budget", "", "hot rows", *(f"hot, {split}" for split in splits), "accesses"]
    rows = []
    for budget, point in sorted(points.items()):
        marks = ["chosen"] * (budget == own) + ["knee"] * (budget == knee)
        cells = [size(budget), ", ".join(marks), count(point["hot_rows"])]
        cells += [_hot(point, split) for split in splits] + [share(point["access_share"])]
        for name in shown:
            cells.append(share(point[name]) if name == "bound" else f"{point[name]:.2f}×")
        rows.append(Row(cells, chosen=budget == own))
    caption = "Hot inputs by split, and accesses to hot rows, at budgets around the chosen one."
    if "bound" in shown:
        of = "train inputs" if facts.sample >= 1 else "sampled inputs"
        caption += f" “At most”: a share of the {of} that no choice of rows can exceed."
    return table(caption, [*columns, *(extra[name] for name in shown)], rows, text=2)


def _splits_table(facts: Facts) -> str:
    rows = []
    for split in SPLITS:
        leaves = facts.manifest.splits[split]
        files = [file for leaf in leaves.values() for file in leaf.files]
        rows.append(
            Row(
                [
                    split, count(facts.rows(split)), count(leaves["hot"].rows),
                    count(leaves["cold"].rows), share(facts.hot_share(split)), count(len(files)),
                    size(sum(file.bytes for file in files)),
                ]
            )
        )  # fmt: skip
    columns = ["split", "inputs", "hot", "cold", "hot share", "files", "bytes"]
    return table("Inputs by split, and the files that hold them.", columns, rows)


def _colophon(facts: Facts) -> str:
    manifest = facts.manifest
    return (
        f"Rule {manifest.budget.rule}; {manifest.embedding.dtype} rows with "
        f"{manifest.embedding.optimizer} state; seed {manifest.seed}; fingerprint "
        f"{manifest.fingerprint}. FAE {__version__}."
    )
