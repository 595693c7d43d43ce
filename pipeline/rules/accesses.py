"""The FAE paper's rule: rows with the most accesses, over all tables."""

from __future__ import annotations

import numpy as np

from pipeline.rules.stacked_rows import Order, StackedRows


def accesses(rows: StackedRows) -> Order:
    """Seen rows by accesses per byte, most first; ties by table, then by rank.

    With one embedding dim for all tables this is the order by accesses (Adnan et al., "Accelerating
    Recommendation System Training by Leveraging Popular Choices", PVLDB 15(1), 2021). With several,
    a row that costs twice the bytes must earn twice the accesses.
    """
    seen = np.flatnonzero(rows.seen)
    density = rows.accesses[seen] / rows.row_bytes[rows.table_of[seen]]
    return seen[np.argsort(-density, kind="stable")]
