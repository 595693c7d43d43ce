"""Embedding tables in which each row and its optimiser state have one owner.

Hot rows live on the device and cold rows on the host. A batch gathers its distinct rows from both
and sends their gradients back to both, so no row is ever duplicated or stale: training equals, row
for row, training tables that are not divided. Placements differ only in the layout, which decides
where a row lives, except for `fae`, which copies rows (`replicated.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fae.format.errors import ParameterError
from fae_trainer.data.batches import Ints
from fae_trainer.embedding.cold_thread import ColdThread, Request
from fae_trainer.embedding.layout import Layout
from fae_trainer.embedding.optimizers import RowOptimizer
from fae_trainer.embedding.planner import Lookup, Plan, Slots
from fae_trainer.embedding.shard import Shard

#: Rows that are initialised at a time. Initial values depend on it: do not change it.
_ROWS_PER_CHUNK = 65_536


@dataclass(frozen=True)
class ColdRows:
    """Distinct rows of a batch at positions `at` of `host`; `there` (n, dim) is the device's copy.

    `own` is the host's copy with their state. For rows that a thread prefetched, `request` is set
    instead, and the thread keeps that copy.
    """

    at: Tensor
    host: Shard
    there: Tensor
    own: Shard | None = None
    request: Request | None = None


@dataclass(frozen=True)
class Gathered:
    """A batch's distinct rows on the device, (distinct, dim), hot ones first, an autograd leaf.

    `hot` are positions in the hot shard.
    """

    rows: Tensor
    hot: Tensor
    cold: ColdRows


class Tables:
    """The stacked tables: hot rows on `device`, cold rows on the host."""

    #: Whether a cold batch reads its hot rows on the device, as a hot batch does.
    splits_batches = True

    def __init__(
        self,
        layout: Layout,
        dim: int,
        device: torch.device,
        dtype: torch.dtype,
        optimizer: RowOptimizer,
    ) -> None:
        """Allocate tables; call `initialise` or `load` before use."""
        self.layout = layout
        self.dim = dim
        self.device = device
        self.dtype = dtype
        self.optimizer = optimizer
        self.hot, self.cold = self._allocate()
        self._thread: ColdThread | None = None

    @contextmanager
    def prefetching(self) -> Iterator[None]:
        """Have a thread fetch and update the cold rows of requested batches during the block."""
        self._thread = thread = ColdThread(self.cold, self.device, self.optimizer)
        try:
            yield
            thread.settle()
        finally:
            self._thread = None
            thread.close()

    def request(self, plan: Plan) -> None:
        """Announce a batch that will be stepped on, in the order of the batches."""
        if self._thread is not None and len(plan.cold):
            self._thread.request(plan)

    def prepare_for(self, hot: bool) -> None:
        """Prepare to step on a hot or a cold batch; with one owner a row there is nothing to do."""

    def gather(self, lookup: Lookup) -> Gathered:
        """Return the distinct rows of a batch."""
        return self._gather(lookup.hot, self.fetch(lookup))

    def fetch(self, plan: Plan) -> ColdRows:
        """Return the distinct cold rows of a batch."""
        request = self._thread.find(plan) if self._thread is not None else None
        if request is None or self._thread is None:
            return self._fetch_cold(plan.cold, self.cold)
        there = self._thread.rows(request)
        return ColdRows(torch.from_numpy(plan.cold), self.cold, there, request=request)

    def read(self, slots: Slots) -> tuple[Tensor, Tensor]:
        """Return a row for each id of a batch, its cold rows after them, and each id's position.

        Without a search for distinct hot rows, every id has a row: its hot row, or the padding row
        where it is cold.
        """
        at = torch.from_numpy(slots.slots).to(self.device, non_blocking=True)
        padding, ids = self.layout.hot_total, len(at)
        rows = self.padded_hot.rows.index_select(0, at.clamp(max=padding))
        own = torch.arange(ids, device=self.device)
        positions = torch.where(at < padding, own, at + (ids - padding))
        return torch.cat([rows, self.fetch(slots).there]), positions

    def update(self, gathered: Gathered, rate: float) -> None:
        """Update the gathered rows, each at its owner, by their gradient."""
        gradient = gathered.rows.grad
        assert gradient is not None, "update follows backward"
        hot, rows = len(gathered.hot), gathered.rows.detach()
        if hot:
            own = self.hot.take(gathered.hot, rows[:hot])
            self.hot.update(gathered.hot, own, gradient[:hot], self.optimizer, rate)
        self.update_cold(gathered.cold, gradient[hot:], rate)

    def update_cold(self, cold: ColdRows, gradient: Tensor, rate: float) -> None:
        """Update cold rows by their gradient, (n, dim) on the device."""
        if cold.request is not None and self._thread is not None:
            self._thread.send(cold.request, gradient, rate)
        elif cold.own is not None:
            cold.host.update(cold.at, cold.own, gradient.to("cpu"), self.optimizer, rate)

    def initialise(self, seed: int) -> None:
        """Set every row to values uniform in ±1/√(rows of its table), and its state to zero.

        The values depend only on the seed, the table's name and the id, so they are the same under
        every layout and dtype.
        """
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
        """Load values by the table's name, (rows, dim) in the order of ids."""
        for table, name in enumerate(self.layout.names):
            self._put(self.hot.rows, self.cold.rows, table, 0, rows[name])

    def load_states(self, states: Mapping[str, Tensor]) -> None:
        """Load states by the table's name, (rows, state width) in the order of ids."""
        for table, name in enumerate(self.layout.names):
            self._put(self.hot.state, self.cold.state, table, 0, states[name])

    def rows(self) -> dict[str, Tensor]:
        """Return a copy of each table's values on the host, (rows, dim), in the order of ids."""
        return self._sort_by_id(self.hot.rows, self.cold.rows)

    def states(self) -> dict[str, Tensor]:
        """Return a copy of each table's optimiser state on the host, in the order of ids."""
        return self._sort_by_id(self.hot.state, self.cold.state)

    def _allocate(self) -> tuple[Shard, Shard]:
        """Return the shards of the hot and of the cold rows.

        `padded_hot` is the device's hot rows and a padding row behind them, which no id means.
        """
        hot = self.layout.hot_total
        self.padded_hot = self._allocate_shard(hot + 1, self.device)
        return self.padded_hot.slice(0, hot), self._allocate_packed(self.layout.cold_total)

    def _gather(self, hot: Ints, cold: ColdRows) -> Gathered:
        """Return the rows `hot` of the hot shard, then the cold rows."""
        at = torch.from_numpy(hot).to(self.hot.rows.device, non_blocking=True)
        rows = self.hot.rows.index_select(0, at).to(self.device)
        if len(cold.at):
            rows = torch.cat([rows, cold.there])
        return Gathered(rows.requires_grad_(), at, cold)

    def _fetch_cold(self, at: Ints, host: Shard) -> ColdRows:
        """Return the rows `at` of a shard on the host, after all pending updates."""
        positions = torch.from_numpy(at)
        if not len(at):
            return ColdRows(positions, host, self.padded_hot.rows[:0])
        self._settle()
        own, there = host.fetch(positions, self.device)
        return ColdRows(positions, host, there, own)

    def _settle(self) -> None:
        """Wait for the thread's pending updates, so that the cold rows can be read."""
        if self._thread is not None:
            self._thread.settle()

    def _allocate_packed(self, rows: int) -> Shard:
        """Return a shard on the host with packed rows, for access to single rows."""
        width = self.dim + self.optimizer.state_width
        (values,) = self._allocate_zeros(rows, (width,), torch.device("cpu"))
        return Shard.from_packed(values, self.dim)

    def _allocate_shard(self, rows: int, device: torch.device) -> Shard:
        """Return a shard with separate rows and states, for a device or for copies as a whole."""
        return Shard(*self._allocate_zeros(rows, (self.dim, self.optimizer.state_width), device))

    def _allocate_zeros(
        self, rows: int, widths: Sequence[int], device: torch.device
    ) -> list[Tensor]:
        """Return zeros, (rows, width), for each of the widths."""
        dtype = self.dtype
        try:
            return [torch.zeros((rows, each), device=device, dtype=dtype) for each in widths]
        except (RuntimeError, MemoryError):
            size = rows * sum(widths) * dtype.itemsize
            raise ParameterError(
                f"{rows:,} embedding rows need {size:,} bytes, which {device} does not have. Use "
                "--placement hot-cold with a smaller hot budget, or a larger machine."
            ) from None

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
        self._settle()
        tables = {}
        for table, name in enumerate(self.layout.names):
            hot_range, cold_range = self._ranges(table)
            tables[name] = torch.cat([hot[hot_range].cpu(), self._read_cold(cold, cold_range)])
        return tables


def pool(rows: Tensor, inverse: Ints, offsets: Ints | None, batch: int) -> Tensor:
    """Return each sample's embedding vectors, the sum of a feature's rows: (batch, features, dim).

    `inverse` and `offsets` are those of a lookup.
    """
    at = torch.from_numpy(inverse).to(rows.device, non_blocking=True)
    begins = None
    if offsets is not None:
        begins = torch.from_numpy(offsets).to(rows.device, non_blocking=True)
    return pool_on_device(rows, at, begins, batch)


def pool_on_device(rows: Tensor, at: Tensor, begins: Tensor | None, batch: int) -> Tensor:
    """Return the same as `pool`, from an inverse and offsets on the device of the rows.

    The gradient of a row is the sum over its occurrences in a fixed order, so it is the same on
    every run.
    """
    dim = rows.shape[1]
    if rows.is_cuda:  # the gradient of index_select is not deterministic on CUDA
        if begins is None:
            return functional.embedding(at, rows).view(batch, -1, dim)
        bags = functional.embedding_bag(at, rows, begins, mode="sum", include_last_offset=True)
        return bags.view(batch, -1, dim)
    # On the CPU index_select has a faster gradient than embedding.
    vectors = rows.index_select(0, at)  # (ids, dim)
    if begins is None:
        return vectors.view(batch, -1, dim)
    lengths = begins.diff()
    bag = torch.repeat_interleave(torch.arange(len(lengths)), lengths)  # (ids,)
    return vectors.new_zeros((len(lengths), dim)).index_add(0, bag, vectors).view(batch, -1, dim)


def _derive_seed(seed: int, name: str) -> int:
    """Return the 63-bit seed of a table's initial values."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
