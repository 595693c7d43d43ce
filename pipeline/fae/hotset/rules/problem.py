"""What a rule is given, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fae.arrays.run_length import RowRanges, RunLengthArray

#: Stacked rows, of which there are fewer than 2^31, or numbers of them.
Order = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StackedRows:
    """The rows of all tables in one numbering: table by table, by access rank in each.

    Row `first[t] + r` is rank r of table t; rank 0 is out of vocabulary. `levels` counts their
    accesses in train, or in the sample where there is one; none goes from one table into the next,
    and rank 0 has its own. `row_bytes` (tables,) is the price of a row with its optimiser state.
    """

    tables: tuple[str, ...]
    first: npt.NDArray[np.int64]
    levels: RunLengthArray
    row_bytes: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls,
        tables: tuple[str, ...],
        first: npt.NDArray[np.int64],
        accesses: npt.NDArray[Any],
        row_bytes: npt.NDArray[np.int64],
    ) -> StackedRows:
        """Rows with their `accesses` one by one, shape (rows,)."""
        id_0 = first[:-1]
        after = np.minimum(id_0 + 1, first[-1] - 1)
        levels = RunLengthArray.from_numpy(accesses, np.concatenate([id_0, after]))
        return cls(tables, first, levels, row_bytes)

    @cached_property
    def accesses(self) -> npt.NDArray[np.int64]:
        """The accesses of each row, shape (rows,)."""
        return self.levels.to_numpy()

    @property
    def count(self) -> int:
        """The number of rows."""
        return int(self.first[-1])

    @cached_property
    def table_of(self) -> Order:
        """The table of each row, shape (rows,)."""
        tables = np.arange(len(self.tables))
        return np.repeat(tables.astype(np.min_scalar_type(tables.size)), np.diff(self.first))

    @cached_property
    def price(self) -> npt.NDArray[np.int64]:
        """The bytes of each row, shape (rows,)."""
        return self.row_bytes[self.table_of]

    @property
    def total_bytes(self) -> int:
        """The bytes of all rows."""
        return int(np.diff(self.first) @ self.row_bytes)

    def tables_of(self, runs: RowRanges) -> npt.NDArray[np.int64]:
        """The table of each run, shape (runs,)."""
        return np.searchsorted(self.first, runs.begins, side="right") - 1

    def counts_of(self, runs: RowRanges) -> npt.NDArray[np.int64]:
        """How many of the rows in some runs each table has, shape (tables,)."""
        counts = np.zeros(len(self.tables), dtype=np.int64)
        np.add.at(counts, self.tables_of(runs), runs.lengths)
        return counts

    def bytes_of(self, runs: RowRanges) -> int:
        """The bytes of the rows in some runs."""
        return int(self.counts_of(runs) @ self.row_bytes)

    def runs(self, order: Order) -> RowRanges:
        """The runs of some rows in an order, none of which goes from one table into the next."""
        return RowRanges.from_rows(order, self.first)

    @property
    def out_of_vocabulary(self) -> npt.NDArray[np.int64]:
        """Id 0 of each table: bought before all others, since most unseen inputs touch one."""
        return self.first[:-1]

    @cached_property
    def seen(self) -> npt.NDArray[np.int32]:
        """The rows that may be ranked, ascending: accessed, and not out of vocabulary."""
        seen = self.accesses > 0
        seen[self.out_of_vocabulary] = False
        return np.flatnonzero(seen).astype(np.int32)


@dataclass(frozen=True)
class StackedInputs:
    """Train inputs (or a sample of them) as sets of stacked rows.

    Input i accesses `rows[offsets[i]:offsets[i + 1]]`, each row once. Accesses to id 0 of a table
    are left out, since these rows are always hot; an input without any other is always hot.
    """

    rows: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    @property
    def count(self) -> int:
        """The number of inputs."""
        return self.offsets.size - 1


@dataclass(frozen=True)
class Objective:
    """What a hot set is worth: so much for each wholly hot input and each access to a hot row."""

    per_input: float = 1.0
    per_access: float = 0.0


@dataclass(frozen=True)
class Problem:
    """The choice of a hot set: rows with their prices, the inputs, and a budget in bytes.

    `inputs` reads them on demand, for they take about 5 bytes an access.
    """

    rows: StackedRows
    inputs: Callable[[], StackedInputs]
    budget_bytes: int
    objective: Objective = Objective()
    seed: int = 0


@dataclass(frozen=True)
class Ranking:
    """A rule's answer: rows in the order in which a budget buys them, id 0 of each table first.

    Rows that are not in `placed` are never bought. `loads` (rows,), where a rule has them, share
    out the worth of every input among its rows; they bound what any hot set can reach (see
    `bound`). `notes` are figures that the rule reports of its work.
    """

    placed: RowRanges
    loads: Floats | None = None
    notes: Mapping[str, int] = field(default_factory=dict)


def cut(rows: StackedRows, placed: RowRanges, budget_bytes: int) -> int:
    """How many rows of `placed`, from its beginning, a budget buys."""
    return int(cuts(rows, placed, np.array([budget_bytes]))[0])


def cuts(
    rows: StackedRows, placed: RowRanges, budgets: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """How many rows of `placed`, from its beginning, each of the budgets buys."""
    price = rows.row_bytes[rows.tables_of(placed)]
    spent = np.cumsum(price * placed.lengths)
    run = np.searchsorted(spent, budgets, side="right")  # the first that is not bought whole
    last = np.minimum(run, spent.size - 1)
    short = np.where(run < spent.size, -(-(spent[last] - budgets) // price[last]), 0)
    bought: npt.NDArray[np.int64] = placed.ends[last] - short
    return bought


def bound(rows: StackedRows, loads: Floats, budgets: npt.NDArray[np.int64]) -> Floats:
    """The most that any hot set can be worth at each of `budgets`, given loads.

    A hot set's worth is the sum over its wholly hot inputs and its rows' accesses. Loads give all
    of an input's worth to its own rows, so the worth of a hot set is at most the sum of its rows'
    loads, and no set of that many bytes has more than the rows of highest load per byte, the last
    of them in part: the fractional knapsack, a feasible point of the linear programme's dual.
    """
    out_of_vocabulary = rows.out_of_vocabulary
    reserved = int(rows.price[out_of_vocabulary].sum())
    loaded = loads > 0
    loaded[out_of_vocabulary] = False
    candidates = np.flatnonzero(loaded)
    density = loads[candidates] / rows.price[candidates]
    best = candidates[np.argsort(-density, kind="stable")]
    spent = np.concatenate([[0], np.cumsum(rows.price[best])])
    gained = np.concatenate([[0.0], np.cumsum(loads[best])])
    free = float(loads[out_of_vocabulary].sum())
    most: Floats = free + np.interp(np.maximum(budgets - reserved, 0), spent, gained)
    return most
