"""Rules that rank embedding rows, the best first; the byte budget then cuts the ranking.

To add a rule, add it to RULES, to the choices in `cli/options.py` and to the report's meanings.
A rule is a pure function of a Problem: no clock, and no randomness but that of its seed.

    peeling     `inputs`: the rows that make the most train samples wholly hot
    future      `inputs` with the objective `future`: the same for samples that are still to come
    accesses    `accesses`: the rows accessed most; `per-table`: an equal share of each table
    threshold   `threshold`: the FAE paper's search for an access threshold
"""

from __future__ import annotations

from collections.abc import Callable

from fae.hotset.problem import Problem, Ranking
from fae.hotset.rules.accesses import rank_by_accesses, rank_per_table
from fae.hotset.rules.future import rank_by_samples
from fae.hotset.rules.threshold import rank_by_threshold

#: The rules by their names for `--rule`.
RULES: dict[str, Callable[[Problem], Ranking]] = {
    "inputs": rank_by_samples,
    "accesses": rank_by_accesses,
    "threshold": rank_by_threshold,
    "per-table": rank_per_table,
}
