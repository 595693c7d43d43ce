"""The FAE paper's search: an access threshold, with the hot size of large tables estimated.

Counting the hot rows of a large table at every threshold was too slow for the paper, so it samples
random chunks and takes an upper confidence bound. Here counting is cheap; the rule exists for
comparison, and reports the estimate beside the true size.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fae.hotset.problem import Problem, Ranking, StackedRows
from fae.hotset.rules.accesses import WHOLE_TABLE_SHARE, put_small_tables_first

CHUNKS_PER_TABLE = 35
ROWS_PER_CHUNK = 1024
#: Student's t as in the paper: a one-sided bound at 99.9 % with 34 degrees of freedom.
STUDENT_T = 3.340

Chunks = npt.NDArray[np.int64]


def rank_by_threshold(problem: Problem) -> Ranking:
    """Rank small tables first, as wholes, then every row with at least a threshold of accesses.

    It is the lowest threshold whose estimated hot bytes are within the budget (Adnan et al., PVLDB
    15(1), 2021). The hot rows of a large table are estimated from 35 seeded random chunks of 1,024
    rows, with an upper bound by Student's t. `notes` has the threshold, and the estimated and true
    bytes.
    """
    rows, budget = problem.rows, problem.budget_bytes
    max_bytes = int(budget * WHOLE_TABLE_SHARE)
    tables = range(len(rows.tables))
    chunks = [_sample_chunks(rows, table, max_bytes, problem.seed) for table in tables]
    # Estimated bytes fall as the threshold rises, so bisect.
    low, high = 1, int(rows.access_counts.values.max()) + 1
    while low < high:
        middle = (low + high) // 2
        if estimate_bytes(rows, chunks, middle) <= budget:
            high = middle
        else:
            low = middle + 1
    by_density = rows.by_density
    hot = by_density.take(rows.access_counts.sum_ranges(by_density) >= low * by_density.lengths)
    ranked_rows = put_small_tables_first(rows, hot, max_bytes)
    notes = {"threshold": low, "estimated_bytes": estimate_bytes(rows, chunks, low)}
    return Ranking(ranked_rows, notes=notes | {"true_bytes": rows.sum_bytes(ranked_rows)})


def _sample_chunks(rows: StackedRows, table: int, max_bytes: int, seed: int) -> Chunks | None:
    """Return the accesses of sampled rows of a table, (chunks, rows); None for a small table.

    Id 0 is left out, as it is always hot. A table with fewer rows than all chunks hold together is
    one chunk of all its rows.
    """
    begin, end = rows.table_offsets[table] + 1, rows.table_offsets[table + 1]
    if begin == end or (end - begin + 1) * rows.row_bytes[table] <= max_bytes:
        return None
    accesses = rows.accesses[begin:end]
    sample_size = CHUNKS_PER_TABLE * ROWS_PER_CHUNK
    if accesses.size <= sample_size:
        return accesses[np.newaxis]
    drawn = np.random.default_rng([seed, table]).choice(accesses.size, sample_size, replace=False)
    return accesses[drawn].reshape(CHUNKS_PER_TABLE, ROWS_PER_CHUNK)


def estimate_bytes(rows: StackedRows, chunks: list[Chunks | None], threshold: int) -> int:
    """Return an upper bound on the bytes of small tables and rows with `threshold` accesses.

    It is exact for a table that is small or one chunk.
    """
    total = 0
    sizes = np.diff(rows.table_offsets).tolist()
    for table, (size, sample) in enumerate(zip(sizes, chunks, strict=True)):
        if sample is None:
            hot = float(size)
        else:
            share = (sample >= threshold).mean(axis=1)
            spread = share.std(ddof=1) / np.sqrt(share.size) if share.size > 1 else 0.0
            hot = 1 + min(float(share.mean() + STUDENT_T * spread), 1.0) * (size - 1)
        total += int(np.ceil(hot)) * int(rows.row_bytes[table])
    return total
