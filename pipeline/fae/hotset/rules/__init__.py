"""Rules that rank embedding rows, the best first; the byte budget then cuts the ranking.

To add a rule without changing FAE, see `own_rules`. To add it here, add it to RULES, to the choices
in `cli/options.py` and to the report's meanings.
A rule is a pure function of a Problem: no clock, and no randomness but that of its seed.

    peeling     `inputs`: the rows that make the most train samples wholly hot
    balancing   even loads, by which large problems begin
    peeling_pass  one pass of peeling
    contest     what peeling decides: rows, those that one sample alone accesses as one
    future      `inputs` with the objective `future`: the same for samples that are still to come
    accesses    `accesses`: the rows accessed most; `per-table`: an equal share of each table
    threshold   `threshold`: the FAE paper's search for an access threshold
    own_rules   rules of other packages, by entry point
"""

from __future__ import annotations

from collections.abc import Callable

from fae.hotset.problem import Problem, Ranking
from fae.hotset.rules.accesses import rank_by_accesses, rank_per_table
from fae.hotset.rules.future import rank_by_samples
from fae.hotset.rules.own_rules import list_own_rules, load_own_rule
from fae.hotset.rules.threshold import rank_by_threshold

#: The rules by their names for `--rule`.
RULES: dict[str, Callable[[Problem], Ranking]] = {
    "inputs": rank_by_samples,
    "accesses": rank_by_accesses,
    "threshold": rank_by_threshold,
    "per-table": rank_per_table,
}


def check_rule(name: str) -> str:
    """Return the name of a rule; raises ValueError where there is none of that name."""
    if name not in RULES and name not in list_own_rules():
        known = ", ".join([*RULES, *list_own_rules()])
        raise ValueError(f"must be one of {known}, or an entry point of the group fae.rules")
    return name


def find_rule(name: str) -> Callable[[Problem], Ranking]:
    """Return the rule of a name, FAE's own or another package's."""
    return RULES[name] if name in RULES else load_own_rule(name)
