"""Rules that rank embedding rows, hottest first; the byte budget then cuts the ranking.

A rule is a function of a Problem alone: no clock, no hidden randomness.
"""

from __future__ import annotations

from collections.abc import Callable

from fae.hotset.rules.accesses import accesses
from fae.hotset.rules.inputs import inputs
from fae.hotset.rules.per_table import per_table
from fae.hotset.rules.problem import Problem, Ranking
from fae.hotset.rules.threshold import threshold

Rule = Callable[[Problem], Ranking]

#: The rules by the names that `--rule` knows.
RULES: dict[str, Rule] = {
    "inputs": inputs,
    "accesses": accesses,
    "threshold": threshold,
    "per-table": per_table,
}
