"""The FAE paper's search: an access threshold, with the hot size of large tables estimated.

Counting the hot rows of a large table at every threshold was too slow for the paper, so it looks at
random chunks and takes an upper bound. Counting is cheap here; the rule is kept for comparison, and
reports the bound beside the truth.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fae.hotset.rules.accesses import WHOLE_TABLE_SHARE, by_density, small_tables_first
from fae.hotset.rules.problem import Problem, Ranking, StackedRows

CHUNKS = 35
CHUNK_ROWS = 1024
#: Student's t as the paper has it, for a one-sided bound at 99.9 % and 34 degrees of freedom.
STUDENT_T = 3.340


def threshold(problem: Problem) -> Ranking:
    """Small tables whole, then every row with at least a threshold of accesses.

    It is the lowest threshold whose estimated hot bytes are within the budget (Adnan et al., PVLDB
    15(1), 2021). A large table's hot rows are estimated from 35 seeded random chunks of 1,024 rows
    with an upper bound by Student's t. `notes` has the threshold, and the bytes estimated and true.
    """
    rows, budget = problem.rows, problem.budget_bytes
    whole_table_bytes = int(budget * WHOLE_TABLE_SHARE)
    chunks = [
        _chunks(rows, table, whole_table_bytes, problem.seed) for table in range(len(rows.tables))
    ]
    low, high = 1, int(rows.levels.values.max()) + 1
    while low < high:
        middle = (low + high) // 2
        if estimated_bytes(rows, chunks, middle) <= budget:
            high = middle
        else:
            low = middle + 1
    order = by_density(rows)
    hot = order.take(rows.levels.sum_ranges(order) >= low * order.lengths)
    placed = small_tables_first(rows, hot, whole_table_bytes)
    notes = {
        "threshold": low,
        "estimated_bytes": estimated_bytes(rows, chunks, low),
        "true_bytes": rows.bytes_of(placed),
    }
    return Ranking(placed, notes=notes)


Chunks = npt.NDArray[np.int64]


def _chunks(rows: StackedRows, table: int, whole_table_bytes: int, seed: int) -> Chunks | None:
    """Accesses of the sampled rows of a large table, (chunks, rows); None for a whole table.

    Id 0 is not among them, as it is always hot.
    A table of fewer rows than the chunks hold is one chunk of all its rows.
    """
    begin, end = rows.first[table] + 1, rows.first[table + 1]
    if begin == end or (end - begin + 1) * rows.row_bytes[table] <= whole_table_bytes:
        return None
    accesses = rows.accesses[begin:end]
    if accesses.size <= CHUNKS * CHUNK_ROWS:
        return accesses[np.newaxis]
    drawn = np.random.default_rng([seed, table]).choice(
        accesses.size, CHUNKS * CHUNK_ROWS, replace=False
    )
    return accesses[drawn].reshape(CHUNKS, CHUNK_ROWS)


def estimated_bytes(rows: StackedRows, chunks: list[Chunks | None], least: int) -> int:
    """An upper bound on the bytes of the rows with at least `least` accesses, small tables whole.

    Exact for tables that are known whole.
    """
    total = 0
    for table, sample in enumerate(chunks):
        size = int(rows.first[table + 1] - rows.first[table])
        if sample is None:
            hot = float(size)
        else:
            share = (sample >= least).mean(axis=1)
            spread = share.std(ddof=1) / np.sqrt(share.size) if share.size > 1 else 0.0
            hot = 1 + min(float(share.mean() + STUDENT_T * spread), 1.0) * (size - 1)
        total += int(np.ceil(hot)) * int(rows.row_bytes[table])
    return total
