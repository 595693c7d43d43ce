"""The problem that a rule solves: which rows to make hot, for which samples, at what cost.

All tables are numbered as one ("stacked"), so that a rule can compare rows of different tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fae.arrays.arrow import Int64Array
from fae.arrays.run_length import RowRanges, RunLengthArray
from fae.hotset.loads import Loads

#: Stacked rows, of which there are fewer than 2^31, or numbers of them.
RowNumbers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class StackedRows:
    """The rows of all tables in one numbering: table by table, by access rank in each.

    Row `table_offsets[t] + r` is rank r of table t; rank 0 is out of vocabulary. `access_counts`
    has the accesses in train, or in the sample of train if there is one. No run of it spans two
    tables, and rank 0 has a run of its own. `row_bytes` (tables,) is the cost of a row with its
    optimiser state.
    """

    tables: tuple[str, ...]
    table_offsets: Int64Array
    access_counts: RunLengthArray
    row_bytes: Int64Array

    @classmethod
    def from_accesses(
        cls,
        tables: tuple[str, ...],
        table_offsets: Int64Array,
        accesses: npt.NDArray[Any],
        row_bytes: Int64Array,
    ) -> StackedRows:
        """Return rows with the number of `accesses` of each, shape (rows,)."""
        oov_rows = table_offsets[:-1]
        next_rows = np.minimum(oov_rows + 1, table_offsets[-1] - 1)
        access_counts = RunLengthArray.from_numpy(accesses, np.concatenate([oov_rows, next_rows]))
        return cls(tables, table_offsets, access_counts, row_bytes)

    @cached_property
    def accesses(self) -> Int64Array:
        """The accesses of each row, shape (rows,)."""
        return self.access_counts.to_numpy()

    @property
    def count(self) -> int:
        """The number of rows."""
        return int(self.table_offsets[-1])

    @cached_property
    def table_of_row(self) -> RowNumbers:
        """The table of each row, shape (rows,)."""
        tables = np.arange(len(self.tables))
        dtype = np.min_scalar_type(tables.size)
        return np.repeat(tables.astype(dtype), np.diff(self.table_offsets))

    @cached_property
    def cost_bytes(self) -> Int64Array:
        """The bytes of each row, shape (rows,)."""
        return self.row_bytes[self.table_of_row]

    def list_costs(self, rows: RowNumbers) -> Int64Array:
        """Return the bytes of each of some rows, without those of all rows in memory."""
        return self.row_bytes[np.searchsorted(self.table_offsets, rows, side="right") - 1]

    @property
    def total_bytes(self) -> int:
        """The bytes of all rows."""
        return int(np.diff(self.table_offsets) @ self.row_bytes)

    @property
    def oov_rows(self) -> Int64Array:
        """Id 0 of each table, always hot: most samples that are new to the model access one."""
        return self.table_offsets[:-1]

    @cached_property
    def seen_rows(self) -> npt.NDArray[np.int32]:
        """The rows that a rule may rank, ascending: accessed, and not out of vocabulary."""
        seen = self.accesses > 0
        seen[self.oov_rows] = False
        return np.flatnonzero(seen).astype(np.int32)

    @cached_property
    def by_density(self) -> RowRanges:
        """The seen rows by accesses per byte, most first; ties by table, then by rank."""
        counts, ranges = self.access_counts, self.access_counts.ranges
        is_seen = (counts.values > 0) & ~np.isin(ranges.begins, self.oov_rows)
        return sort_by_density(self, ranges.take(is_seen), counts)

    def to_ranges(self, order: RowNumbers) -> RowRanges:
        """Return the rows in this order as ranges; no range spans two tables."""
        return RowRanges.from_rows(order, self.table_offsets)

    def find_tables(self, ranges: RowRanges) -> Int64Array:
        """Return the table of each range, shape (ranges,)."""
        return np.searchsorted(self.table_offsets, ranges.begins, side="right") - 1

    def count_per_table(self, ranges: RowRanges) -> Int64Array:
        """Return how many rows of `ranges` each table has, shape (tables,)."""
        counts = np.zeros(len(self.tables), dtype=np.int64)
        np.add.at(counts, self.find_tables(ranges), ranges.lengths)
        return counts

    def sum_bytes(self, ranges: RowRanges) -> int:
        """Return the bytes of all rows in `ranges`."""
        return int(self.count_per_table(ranges) @ self.row_bytes)


@dataclass(frozen=True)
class StackedSamples:
    """Train samples (or a sample of them) as sets of stacked rows.

    Sample i accesses `rows[offsets[i]:offsets[i + 1]]`, each row once. Accesses to id 0 of a table
    are left out, since these rows are always hot; a sample with no other access is always hot.
    """

    rows: npt.NDArray[np.int32]
    offsets: Int64Array

    @classmethod
    def concat(cls, parts: Sequence[StackedSamples]) -> StackedSamples:
        """Return the samples of all parts, of which there is at least one."""
        lengths = [np.diff(part.offsets) for part in parts]
        offsets = np.concatenate([[0], *lengths])
        return cls(np.concatenate([part.rows for part in parts]), np.cumsum(offsets))

    @property
    def count(self) -> int:
        """The number of samples."""
        return self.offsets.size - 1


@dataclass(frozen=True)
class ContestedSamples:
    """Samples where the rows of a core are hot in any case.

    `samples` access rows outside the core, and have just these. Every other sample is hot: entry i
    of `charges` counts those of which `charged_rows[i]` is the coldest row.
    """

    samples: StackedSamples
    charged_rows: npt.NDArray[np.int32]
    charges: Int64Array

    @property
    def hot_count(self) -> int:
        """The number of samples that the core makes hot."""
        return int(self.charges.sum())


@dataclass(frozen=True)
class Objective:
    """The worth of a hot set: a weight for each hot sample and for each access to a hot row.

    The samples are those of train or, with `future`, new ones, for which train samples stand.
    """

    per_sample: float = 1.0
    per_access: float = 0.0
    future: bool = False


def track_nothing(_stage: str, _steps: int) -> AbstractContextManager[Callable[[], None]]:
    """Yield what to call after each step, which shows nothing."""
    return nullcontext(lambda: None)


@dataclass(frozen=True)
class Problem:
    """The choice of a hot set: rows with their costs, the samples, and a budget in bytes.

    `read_samples` loads the samples on demand, since they take about 5 bytes per access, and
    `read_contested`, where there is one, those that a core leaves open, without the others in
    memory. Where they are a sample of train, `all_accesses` has the accesses in all of train.
    `track` shows progress while a block runs: it takes a name and the number of steps, and yields
    what to call after each. A rule may use so many `threads`; its ranking depends on none of it.
    `least_budget_bytes` is the least of smaller budgets that the ranking is to serve too, if any.
    """

    rows: StackedRows
    read_samples: Callable[[], StackedSamples]
    budget_bytes: int
    objective: Objective = Objective()
    seed: int = 0
    all_accesses: RunLengthArray | None = None
    read_contested: Callable[[RowRanges], ContestedSamples] | None = None
    track: Callable[[str, int], AbstractContextManager[Callable[[], None]]] = track_nothing
    threads: int = 1
    least_budget_bytes: int | None = None

    @property
    def is_exact(self) -> bool:
        """Whether the samples are all of train."""
        return self.all_accesses is None

    @property
    def train_accesses(self) -> RunLengthArray:
        """The accesses of each row in all of train."""
        return self.rows.access_counts if self.all_accesses is None else self.all_accesses


@dataclass(frozen=True)
class Ranking:
    """A rule's answer: rows in the order in which a budget buys them, id 0 of each table first.

    Rows that are not in `ranked_rows` are never bought. `loads`, where a rule computes them, bound
    what any hot set can reach. `notes` are figures that the rule reports about its work.
    """

    ranked_rows: RowRanges
    loads: Loads | None = None
    notes: Mapping[str, int] = field(default_factory=dict)


def buy_rows(rows: StackedRows, ranked_rows: RowRanges, budget_bytes: int) -> RowRanges:
    """Return as many of `ranked_rows`, from the first on, as fit in `budget_bytes`."""
    return ranked_rows.head(count_affordable(rows, ranked_rows, budget_bytes))


def count_affordable(rows: StackedRows, ranked_rows: RowRanges, budget_bytes: int) -> int:
    """Return how many of `ranked_rows`, from the first on, a budget buys."""
    return int(count_affordable_each(rows, ranked_rows, np.array([budget_bytes]))[0])


def count_affordable_each(
    rows: StackedRows, ranked_rows: RowRanges, budgets: Int64Array
) -> Int64Array:
    """Return how many of `ranked_rows`, from the first on, each of `budgets` buys."""
    cost = rows.row_bytes[rows.find_tables(ranked_rows)]
    spent = np.cumsum(cost * ranked_rows.lengths)  # after each range
    first_partial = np.searchsorted(spent, budgets, side="right")
    last = np.minimum(first_partial, spent.size - 1)
    # All rows of a range cost the same: divide the missing bytes, rounding up, to get missing rows.
    missing = np.where(first_partial < spent.size, -(-(spent[last] - budgets) // cost[last]), 0)
    affordable: Int64Array = ranked_rows.ends[last] - missing
    return affordable


def sort_by_density(rows: StackedRows, ranges: RowRanges, accesses: RunLengthArray) -> RowRanges:
    """Return `ranges`, each of rows with equal `accesses`, by accesses per byte, most first.

    Ties stay in the order of `ranges`.
    """
    cost = ranges.lengths * rows.row_bytes[rows.find_tables(ranges)]
    return ranges.take(np.argsort(-accesses.sum_ranges(ranges) / cost, kind="stable"))


def rank_others(rows: StackedRows, ranked_rows: RowRanges, accesses: RunLengthArray) -> RowRanges:
    """Return the rows that `ranked_rows` lack by `accesses` per byte, most first.

    Ties are by table, then by access rank.
    """
    others = ranked_rows.complement(rows.count)
    # Cut them where their accesses change: ascending, they meet each run in turn.
    before = np.searchsorted(others.begins, accesses.begins, side="right") - 1
    within = np.minimum(accesses.begins - others.begins[before], others.lengths[before])
    positions = np.where(before >= 0, (others.ends - others.lengths)[before] + within, 0)
    return sort_by_density(rows, others.split_at(np.unique(positions)), accesses)
