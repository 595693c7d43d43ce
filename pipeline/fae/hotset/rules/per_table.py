"""A share of each table: the simplest rule, and what many a team does by hand."""

from __future__ import annotations

import numpy as np

from fae.hotset.rules.problem import Problem, Ranking


def per_table(problem: Problem) -> Ranking:
    """Seen rows by their access rank relative to the number of rows seen in their table.

    So every budget takes about the same share of each table's seen rows. Ties go by table.
    """
    rows = problem.rows
    table = rows.table_of[rows.seen]
    seen_rows = np.bincount(table, minlength=len(rows.tables))
    by_accesses = np.lexsort((-rows.accesses[rows.seen], table))
    starts = np.cumsum(seen_rows) - seen_rows
    place = np.empty(rows.seen.size, dtype=np.int64)
    place[by_accesses] = np.arange(rows.seen.size) - starts[table[by_accesses]]
    share = (place + 1) / seen_rows[table]
    order = rows.seen[np.argsort(share, kind="stable")]
    return Ranking(rows.runs(np.concatenate([rows.out_of_vocabulary, order])))
