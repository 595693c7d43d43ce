"""Embedding tables in which each row and its optimiser state have one owner.

Hot rows live on the device and cold rows on the host, so no row is ever duplicated or stale:
training equals, row for row, training tables that are not divided. Placements differ only in the
layout, which decides where a row lives, except for `fae`, which copies rows (`replicated.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fae.format.errors import ParameterError
from fae_trainer.data.batches import Ints
from fae_trainer.embedding.distributed import ALONE, Ranks
from fae_trainer.embedding.layout import Layout
from fae_trainer.embedding.optimizers import RowOptimizer, RowStep
from fae_trainer.embedding.shard import Shard, zeros_in_locked_pages

#: Rows that are initialised at a time. Initial values depend on it: do not change it.
_ROWS_PER_CHUNK = 65_536
#: What rows take on the host, by name, and what to do where it is too much.
ROWS, STATES = "embedding rows", "their optimizer state"
ROWS_REMEDY = (
    "Prepare the data set with a smaller `dim` or a larger --min-count, train with --optimizer "
    "sgd, with a GPU give it a larger --hot-budget, or use a machine with more memory."
)


@dataclass(frozen=True)
class DistinctRows:
    """The distinct rows of a batch: positions in the hot array and in the cold array.

    `shared` says that the processes exchange cold rows for the batch (`shared_tables.py`), even if
    this process's part has none.
    """

    hot: Ints
    cold: Ints
    shared: bool = False


@dataclass(frozen=True)
class Gathered:
    """A copy of distinct rows on the host, (distinct, dim), hot ones first."""

    distinct: DistinctRows
    rows: Tensor


class Staging(Protocol):
    """Rows that are newer elsewhere than in the tables' memory."""

    def write_back(self) -> None:
        """Write them to the tables."""

    def forget(self) -> None:
        """Hold no row any more."""


class Tables:
    """The stacked tables: hot rows on `device`, cold rows on the host."""

    def __init__(
        self,
        layout: Layout,
        dim: int,
        device: torch.device,
        dtype: torch.dtype,
        optimizer: RowOptimizer,
        page_locked: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        """Allocate tables; call `initialise` or `load` before use.

        With `page_locked`, a CUDA device can read and write the cold rows. `ranks` tells the
        tables of several processes which of them this one is.
        """
        self.layout = layout
        self.dim = dim
        self.device = device
        self.dtype = dtype
        self.optimizer = optimizer
        self.page_locked = page_locked
        self._ranks = ranks
        self.staging: Staging | None = None
        self.hot, self.cold = self._allocate()

    @property
    def width(self) -> int:
        """The number of values of a row with its state."""
        return self.dim + self.optimizer.count_state(self.dim)

    def prepare_for(self, hot: bool) -> None:
        """Prepare to step on a hot or a cold batch; with one owner a row there is nothing to do."""

    def gather(self, distinct: DistinctRows) -> Gathered:
        """Return a copy of distinct rows on the host."""
        parts = [self.hot.take(distinct.hot).rows, self.cold.take(distinct.cold).rows]
        return Gathered(distinct, torch.cat(parts))

    def update(self, gathered: Gathered, gradient: Tensor, step: RowStep) -> None:
        """Update gathered rows, each at its owner, by their gradient, (distinct, dim)."""
        hot = len(gathered.distinct.hot)
        self.update_shard(self.hot, gathered.distinct.hot, gradient[:hot], step)
        self.update_shard(self.cold, gathered.distinct.cold, gradient[hot:], step)

    def update_shard(self, shard: Shard, at: Ints, gradient: Tensor, step: RowStep) -> None:
        """Update the distinct rows `at` of a shard by their gradient, (rows, dim) on the host."""
        if len(at):
            rows = shard.take(at)
            self.optimizer.update(rows.rows, rows.state, gradient, step)
            shard.put(at, rows)

    def initialise(self, seed: int) -> None:
        """Set every row to values uniform in ±1/√(rows of its table), and its state to zero.

        The values depend only on the seed, the table's name and the id, so they are the same under
        every layout and dtype.
        """
        self._drop_staged()
        for table, name in enumerate(self.layout.names):
            generator = torch.Generator().manual_seed(_derive_seed(seed, name))
            rows = int(self.layout.rows[table])
            for start in range(0, rows, _ROWS_PER_CHUNK):
                shape = (min(_ROWS_PER_CHUNK, rows - start), self.dim)
                uniform = torch.rand(shape, generator=generator, dtype=torch.float32)
                values = (uniform * 2 - 1) * rows**-0.5
                self._put(self.hot.rows, self.cold.rows, table, start, values)
        self.hot.state.zero_()
        self.cold.state.zero_()

    def load(self, rows: Mapping[str, Tensor], states: Mapping[str, Tensor]) -> None:
        """Load values and states by the table's name, (rows, width) in the order of ids."""
        self.load_rows(rows)
        self.load_states(states)

    def load_rows(self, rows: Mapping[str, Tensor]) -> None:
        """Load values by the table's name, (rows, dim) in the order of ids; other tables stay."""
        self._drop_staged()
        for table, name in enumerate(self.layout.names):
            if name in rows:
                self._put(self.hot.rows, self.cold.rows, table, 0, rows[name])

    def replace_rows(self, name: str, ids: Tensor, values: Tensor) -> None:
        """Set the rows of distinct `ids` of a table to `values`, (ids, dim)."""
        self._drop_staged()
        hot, cold = self._ranges(self.layout.names.index(name))
        hot_rows = hot.stop - hot.start
        for shard, begin, chosen in (
            (self.hot, hot.start, ids < hot_rows),
            (self.cold, cold.start - hot_rows, ids >= hot_rows),
        ):
            at, new = (each.to(shard.packed.device) for each in (ids[chosen], values[chosen]))
            shard.rows[at + begin] = new.to(shard.packed.dtype)

    def load_states(self, states: Mapping[str, Tensor]) -> None:
        """Load states by the table's name, (rows, state width) in the order of ids."""
        self._drop_staged()
        for table, name in enumerate(self.layout.names):
            self._put(self.hot.state, self.cold.state, table, 0, states[name])

    def rows(self) -> dict[str, Tensor]:
        """Return a copy of each table's values on the host, (rows, dim), in the order of ids."""
        return self._sort_by_id(self.hot.rows, self.cold.rows)

    def states(self) -> dict[str, Tensor]:
        """Return a copy of each table's optimiser state on the host, in the order of ids."""
        return self._sort_by_id(self.hot.state, self.cold.state)

    def __getstate__(self) -> dict[str, Any]:
        if self._ranks.size > 1:
            raise ParameterError(
                f"These rows belong to {self._ranks.size} processes together, so one of them "
                "cannot copy or pickle them. Save a checkpoint, and load it in one process."
            )
        if self.staging is not None:
            self.staging.write_back()
        return {**self.__dict__, "staging": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.page_locked:
            locked = zeros_in_locked_pages(tuple(self.cold.packed.shape), self.dtype)
            self.cold = Shard(locked.copy_(self.cold.packed), self.dim)

    def _allocate(self) -> tuple[Shard, Shard]:
        """Return the shards of the hot and of the cold rows."""
        hot = self._allocate_shard(self.layout.hot_total, self.device)
        return hot, self._allocate_shard(self.layout.cold_total, torch.device("cpu"))

    def _allocate_shard(self, rows: int, device: torch.device) -> Shard:
        """Return a shard of zeros."""
        size = rows * self.width * self.dtype.itemsize
        try:
            if self.page_locked and device.type == "cpu":
                packed = zeros_in_locked_pages((rows, self.width), self.dtype)
            else:
                packed = torch.zeros((rows, self.width), device=device, dtype=self.dtype)
        except (RuntimeError, MemoryError):
            raise ParameterError(
                f"{rows:,} embedding rows need {size:,} bytes, which {device} does not have. Use "
                "--placement hot-cold with a smaller hot budget, or a larger machine."
            ) from None
        return Shard(packed, self.dim)

    def _drop_staged(self) -> None:
        """Have all rows in the tables' memory alone, before some of them get other values."""
        if self.staging is not None:
            self.staging.write_back()
            self.staging.forget()

    def _ranges(self, table: int) -> tuple[slice, slice]:
        """Return where a table's hot rows and its cold rows lie in the two arrays."""
        layout = self.layout
        hot, cold = int(layout.hot_start[table]), int(layout.cold_start[table])
        hot_rows, rows = int(layout.hot_rows[table]), int(layout.rows[table])
        return slice(hot, hot + hot_rows), slice(cold, cold + rows - hot_rows)

    def _put(self, hot: Tensor, cold: Tensor, table: int, start: int, values: Tensor) -> None:
        """Write `values` to the table's ids from `start` on."""
        hot_range, cold_range = self._ranges(table)
        hot_rows = hot_range.stop - hot_range.start
        split = min(max(hot_rows - start, 0), len(values))
        hot[hot_range][start : start + split].copy_(values[:split])
        self._put_cold(cold, cold_range.start + max(start - hot_rows, 0), values[split:])

    def _put_cold(self, cold: Tensor, start: int, values: Tensor) -> None:
        """Write `values` to the stacked cold rows from `start` on."""
        cold[start : start + len(values)].copy_(values)

    def _read_cold(self, cold: Tensor, where: slice) -> Tensor:
        """Return the stacked cold rows `where`."""
        return cold[where]

    def _sort_by_id(self, hot: Tensor, cold: Tensor) -> dict[str, Tensor]:
        """Return each table's part of the two arrays, in the order of ids."""
        if self.staging is not None:
            self.staging.write_back()
        tables = {}
        for table, name in enumerate(self.layout.names):
            hot_range, cold_range = self._ranges(table)
            tables[name] = torch.cat([hot[hot_range].cpu(), self._read_cold(cold, cold_range)])
        return tables


class TableGroups:
    """The tables of a data set: a group, stacked in arrays of its own, for each dimension."""

    def __init__(self, groups: Sequence[Tables]) -> None:
        """Make it of the tables of each dimension."""
        self.groups = tuple(groups)

    def prepare_for(self, hot: bool) -> None:
        """Prepare to step on a hot or a cold batch."""
        for tables in self.groups:
            tables.prepare_for(hot)

    def initialise(self, seed: int) -> None:
        """Set every row and state to its initial value for the seed."""
        for tables in self.groups:
            tables.initialise(seed)

    def load(self, rows: Mapping[str, Tensor], states: Mapping[str, Tensor]) -> None:
        """Load values and states by the table's name, (rows, width) in the order of ids."""
        for tables in self.groups:
            tables.load(rows, states)

    def rows(self) -> dict[str, Tensor]:
        """Return a copy of each table's values on the host, (rows, dim), in the order of ids."""
        return {name: rows for tables in self.groups for name, rows in tables.rows().items()}

    def states(self) -> dict[str, Tensor]:
        """Return a copy of each table's optimiser state on the host, in the order of ids."""
        return {name: state for tables in self.groups for name, state in tables.states().items()}


def count_row_bytes(
    rows: int, dim: int, dtype: torch.dtype, optimizer: RowOptimizer
) -> dict[str, int]:
    """Return the bytes of rows and of their optimizer state, by name."""
    values = {ROWS: dim, STATES: optimizer.count_state(dim)}
    return {name: rows * count * dtype.itemsize for name, count in values.items()}


def _derive_seed(seed: int, name: str) -> int:
    """Return the 63-bit seed of a table's initial values."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
