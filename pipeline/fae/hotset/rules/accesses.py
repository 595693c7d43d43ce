"""Rules that rank rows by their accesses alone: over all tables, or within each table."""

from __future__ import annotations

import numpy as np

from fae.arrays.run_length import RowRanges
from fae.hotset.problem import Problem, Ranking, StackedRows

#: A table that takes at most this share of the budget is hot as a whole: 1 MiB of FAE's 256 MiB.
WHOLE_TABLE_SHARE = 1 / 256


def rank_by_accesses(problem: Problem) -> Ranking:
    """Rank small tables first, as wholes, then seen rows by accesses per byte, most first.

    This is the FAE paper's rule where all tables have one embedding dim (Adnan et al.,
    "Accelerating Recommendation System Training by Leveraging Popular Choices", PVLDB 15(1), 2021).
    With several dims, a row of twice the bytes needs twice the accesses for the same place. Ties go
    by table, then by access rank.
    """
    rows = problem.rows
    max_bytes = int(problem.budget_bytes * WHOLE_TABLE_SHARE)
    return Ranking(put_small_tables_first(rows, rows.by_density, max_bytes))


def put_small_tables_first(rows: StackedRows, ranked_rows: RowRanges, max_bytes: int) -> RowRanges:
    """Return id 0 of each table, then all rows of small tables, then the rest of `ranked_rows`.

    A table is small if it has at most `max_bytes`. Its unseen rows follow the seen ones.
    """
    sizes = np.diff(rows.table_offsets)
    is_small = sizes * rows.row_bytes <= max_bytes
    in_small = is_small[rows.find_tables(ranked_rows)]
    oov = rows.to_ranges(rows.oov_rows)
    seen = ranked_rows.take(in_small)
    large = RowRanges(rows.oov_rows, sizes).take(~is_small)
    unseen = RowRanges.concat(oov.take(is_small), seen, large).complement(rows.count)
    return RowRanges.concat(oov, seen, unseen, ranked_rows.take(~in_small))


def rank_per_table(problem: Problem) -> Ranking:
    """Rank seen rows by their access rank relative to the number of rows seen in their table.

    Every budget thus takes about the same share of each table's seen rows, the simplest of rules
    and a common one in practice. Ties go by table.
    """
    rows, seen = problem.rows, problem.rows.seen_rows
    table = rows.table_of_row[seen]
    seen_per_table = np.bincount(table, minlength=len(rows.tables))
    by_accesses = np.lexsort((-rows.accesses[seen], table))  # within each table, table by table
    first = np.cumsum(seen_per_table) - seen_per_table
    rank = np.empty(seen.size, dtype=np.int64)
    rank[by_accesses] = np.arange(seen.size) - first[table[by_accesses]]
    share = (rank + 1) / seen_per_table[table]
    order = seen[np.argsort(share, kind="stable")]
    return Ranking(rows.to_ranges(np.concatenate([rows.oov_rows, order])))
