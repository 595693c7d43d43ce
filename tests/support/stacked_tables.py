"""Small stacked tables and problems for tests of the rules, the selection and the curve."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st

from fae.hotset.problem import Objective, Problem, StackedRows, StackedSamples

HOT_SAMPLES = Objective()


def stacked(tables: list[list[int]], row_bytes: list[int]) -> StackedRows:
    """Return tables with these accesses by rank, rank 0 first."""
    return StackedRows.from_accesses(
        tables=tuple(f"t{i}" for i in range(len(tables))),
        table_offsets=np.cumsum([0, *map(len, tables)]),
        accesses=np.array(list(itertools.chain(*tables)), dtype=np.int64),
        row_bytes=np.array(row_bytes, dtype=np.int64),
    )


def stacked_samples(sets: list[list[int]]) -> StackedSamples:
    """Return samples that access these stacked rows."""
    return StackedSamples(
        np.array(list(itertools.chain(*sets)), dtype=np.int32),
        np.cumsum([0, *map(len, sets)]).astype(np.int64),
    )


def problem(
    rows: StackedRows,
    budget_bytes: int = 1,
    sets: list[list[int]] | None = None,
    objective: Objective = HOT_SAMPLES,
) -> Problem:
    """Return the choice of a hot set among these rows for these samples."""
    return Problem(rows, lambda: stacked_samples(sets or []), budget_bytes, objective)


def table_and_rank(rows: StackedRows, order: np.ndarray) -> list[tuple[int, int]]:
    """Return stacked rows as (table, rank)."""
    tables = rows.table_of_row[order]
    return list(zip(tables.tolist(), (order - rows.table_offsets[tables]).tolist(), strict=True))


counts_of_tables = st.lists(
    st.lists(st.integers(0, 4), min_size=1, max_size=6), min_size=1, max_size=4
)


@st.composite
def stacks(draw: st.DrawFn) -> StackedRows:
    """Draw tables with any accesses and costs."""
    counts = draw(counts_of_tables)
    return stacked(counts, [draw(st.sampled_from([1, 2, 3, 20])) for _ in counts])


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Draw a few samples over a few tables, accesses counted from them, and a budget."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    offsets = np.cumsum([0, *sizes]).tolist()
    sets = []
    for _ in range(draw(st.integers(0, 8))):
        ranks = [draw(st.integers(0, size - 1)) for size in sizes]
        sets.append([first + rank for first, rank in zip(offsets, ranks, strict=False) if rank])
    counts = np.bincount(list(itertools.chain(*sets)) or [0], minlength=offsets[-1])
    counts[offsets[:-1]] = 0
    tables = [counts[begin:end].tolist() for begin, end in itertools.pairwise(offsets)]
    rows = stacked(tables, [draw(st.sampled_from([1, 2, 5])) for _ in sizes])
    least = int(rows.row_bytes.sum())
    budget = draw(st.integers(least, least + 15))
    return problem(rows, budget, sets)
