"""Render the page: one HTML file that loads nothing.

`page.html.jinja` has the text, `page.css` the style and `page.js` what moves; without JavaScript,
the page shows pictures in place of live charts. Jinja escapes every value, and makes it printable
first. The page's policy lets a browser run its own script alone, known by its digest.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fae.format.manifest import SPLITS
from fae.format.version import __version__
from fae.hotset.rules import RULES
from fae.reporting import tables
from fae.reporting.charts import Drawing
from fae.reporting.comparison import Comparison
from fae.reporting.facts import Facts
from fae.reporting.figures import MAX_BARS
from fae.reporting.recommendation import recommend_budget
from fae.reporting.style import PALETTE, format_count, format_share, format_size, to_printable
from fae.reporting.training import Run
from fae.reporting.vega import library_source

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
#: Characters of a value that the page shows at most; all texts of our own are shorter.
_MAX_VALUE_LENGTH = 300


def render_page(
    facts: Facts,
    access_share: float,
    comparison: Comparison,
    figures: Sequence[Drawing],
    pictures: Mapping[str, str],
    runs: Sequence[Run] = (),
) -> str:
    """Return the page as text; the same arguments give the same text.

    `access_share` is the share of accesses in train that go to hot rows, and `pictures` has the SVG
    of each figure by its name.
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
    script = (
        f"{library_source()}\n{resources.files('fae.reporting').joinpath('page.js').read_text()}"
    )
    recommendation = recommend_budget(facts.curve)
    return environment.get_template(
        "page.html.jinja"
    ).render(
        facts=facts,
        access_share=access_share,
        comparison=comparison,
        figures={figure.name: figure for figure in figures},
        pictures={name: Markup(svg) for name, svg in pictures.items()},  # noqa: S704
        charts={figure.name: figure.to_live() for figure in figures},
        script=Markup(script),  # noqa: S704 (the library's and our own)
        script_digest=_digest(script),
        recommendation=recommendation,
        recommended=facts.curve_point(recommendation.budget_bytes),
        chosen=facts.curve_point(facts.manifest.budget.bytes),
        rules={rule: _rule_meaning(rule) for rule in comparison.shares},
        is_reversed=any(facts.shares[0].is_reversed(other) for other in facts.shares[1:]),
        samples=sum(rows.values()),
        samples_by_split=", ".join(counts),
        hot_share_elsewhere=", ".join(shares),
        rules_tables=[
            tables.rules_table(comparison, samples) for samples in tables.COMPARED_SAMPLES
        ],
        runs=runs,
        tables=tables,
        max_bars=MAX_BARS,
        palette=PALETTE,
        version=__version__,
    )


def _finalize(value: object) -> object:
    """Return what Jinja writes for a value: markup as it is, anything else made printable."""
    return value if isinstance(value, Markup) else to_printable(value, _MAX_VALUE_LENGTH)


def _digest(script: str) -> str:
    """Return what a content security policy calls a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _rule_meaning(rule: str) -> str:
    return RULE_MEANINGS.get(rule) or (RULES[rule].__doc__ or "").partition("\n")[0]
