"""Embedding tables in which every row, with its optimiser state, has one owner.

Hot rows live on the device and cold rows on the host. A batch gathers its distinct rows from both
and sends their gradients back to both, so nothing is ever copied, kept in step or stale: training
equals, row for row, training one table that is not divided. Where a row lives is a matter of the
layout alone, and the placements differ in nothing else; `fae` alone copies rows (`replica.py`).
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
from fae_trainer.embedding.layout import Layout, Lookup, Plan, Slots
from fae_trainer.embedding.optimizers import RowOptimizer
from fae_trainer.embedding.shard import Shard
from fae_trainer.embedding.traffic import Traffic

#: Rows that are initialised at a time; part of what the initial values are a function of.
_CHUNK = 65_536


@dataclass(frozen=True)
class ColdRows:
    """Distinct rows of a batch that lie at `at` in `host`; `there` (n, dim) is the device's copy.

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
    """A batch's distinct rows, (distinct, dim), hot ones first: a leaf of autograd on the device.

    `hot` are positions in the hot shard.
    """

    rows: Tensor
    hot: Tensor
    cold: ColdRows


class Tables:
    """The stacked tables: hot rows on `device`, cold rows on the host."""

    #: Whether the hot rows of a cold batch are taken from the device, as those of a hot one are.
    splits_batches = True

    def __init__(
        self,
        layout: Layout,
        dim: int,
        device: torch.device,
        dtype: torch.dtype,
        optimizer: RowOptimizer,
    ) -> None:
        """Tables without values; call `initialise` or `load` before use."""
        self.layout = layout
        self.dim = dim
        self.device = device
        self.dtype = dtype
        self.optimizer = optimizer
        self.traffic = Traffic()
        self.hot, self.cold = self._allocate()
        self._thread: ColdThread | None = None

    @contextmanager
    def prefetching(self) -> Iterator[None]:
        """Let a thread fetch and update the cold rows of lookups that are expected meanwhile."""
        self._thread = thread = ColdThread(self.cold, self.device, self.optimizer)
        try:
            yield
            thread.settle()
        finally:
            self._thread = None
            thread.close()

    def request(self, plan: Plan) -> None:
        """Announce that a batch will be learned from, in the order of the batches."""
        if self._thread is not None and len(plan.cold):
            self._thread.request(plan)

    def prepare_for(self, hot: bool) -> None:
        """Prepare to learn from a hot or a cold batch; nothing where each row has one owner."""

    def gather(self, lookup: Lookup) -> Gathered:
        """The distinct rows of a batch; the host is asked for its distinct cold rows alone."""
        return self._gather(lookup.hot, self.fetch(lookup))

    def fetch(self, plan: Plan) -> ColdRows:
        """The distinct cold rows of a batch."""
        request = self._thread.find(plan) if self._thread is not None else None
        if request is None or self._thread is None:
            return self._fetch_cold(plan.cold, self.cold)
        there = self._thread.rows(request)
        return ColdRows(torch.from_numpy(plan.cold), self.cold, there, request=request)

    def read(self, slots: Slots) -> tuple[Tensor, Tensor]:
        """A hot row for each id of a batch and then its cold rows, and which of them ids mean."""
        at = torch.from_numpy(slots.slots).to(self.device, non_blocking=True)
        spare, ids = self.layout.hot_total, len(at)
        rows = self.padded_hot.rows.index_select(0, at.clamp(max=spare))
        places = torch.where(at < spare, torch.arange(ids, device=self.device), at + (ids - spare))
        return torch.cat([rows, self.fetch(slots).there]), places

    def update(self, gathered: Gathered, rate: float) -> None:
        """Update the gathered rows, each at its owner, by the gradient that they hold."""
        gradient = gathered.rows.grad
        assert gradient is not None, "learn follows backward"
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
        """Give every row its first value, uniform in ±1/√(rows of its table), and no state.

        The values are a function of the seed, the table's name and the id, and so the same under
        every layout and dtype.
        """
        for table, name in enumerate(self.layout.names):
            generator = torch.Generator().manual_seed(_derive_seed(seed, name))
            rows = int(self.layout.rows[table])
            for start in range(0, rows, _CHUNK):
                shape = (min(_CHUNK, rows - start), self.dim)
                uniform = torch.rand(shape, generator=generator, dtype=torch.float32)
                values = (uniform * 2 - 1) * rows**-0.5
                self._put(self.hot.rows, self.cold.rows, table, start, values)
        self.hot.state.zero_()
        self.cold.state.zero_()

    def load(self, rows: Mapping[str, Tensor], states: Mapping[str, Tensor]) -> None:
        """Take values and states from each table's name to (rows, width) in the order of ids."""
        self.load_rows(rows)
        self.load_states(states)

    def load_rows(self, rows: Mapping[str, Tensor]) -> None:
        """Take values, as `load` does."""
        for table, name in enumerate(self.layout.names):
            self._put(self.hot.rows, self.cold.rows, table, 0, rows[name])

    def load_states(self, states: Mapping[str, Tensor]) -> None:
        """Take states, as `load` does."""
        for table, name in enumerate(self.layout.names):
            self._put(self.hot.state, self.cold.state, table, 0, states[name])

    def rows(self) -> dict[str, Tensor]:
        """A copy of each table's values in the order of ids, (rows, dim), on the host."""
        return self._sort_by_id(self.hot.rows, self.cold.rows)

    def states(self) -> dict[str, Tensor]:
        """A copy of each table's optimiser state in the order of ids, on the host."""
        return self._sort_by_id(self.hot.state, self.cold.state)

    def _allocate(self) -> tuple[Shard, Shard]:
        """The hot rows' shard and the cold rows'.

        `spared` is the device's shard of hot rows with one row more behind them, which no id means.
        """
        hot = self.layout.hot_total
        self.padded_hot = self._allocate_shard(hot + 1, self.device)
        return self.padded_hot.slice(0, hot), self._allocate_packed(self.layout.cold_total)

    def _gather(self, hot: Ints, cold: ColdRows) -> Gathered:
        """The rows `hot` of the hot shard, then the cold rows."""
        at = torch.from_numpy(hot).to(self.hot.rows.device, non_blocking=True)
        rows = self.hot.rows.index_select(0, at).to(self.device)
        if len(cold.at):
            rows = torch.cat([rows, cold.there])
        return Gathered(rows.requires_grad_(), at, cold)

    def _fetch_cold(self, at: Ints, host: Shard) -> ColdRows:
        """The rows `at` of a shard on the host, once what was sent to it is applied."""
        places = torch.from_numpy(at)
        if not len(at):
            return ColdRows(places, host, self.padded_hot.rows[:0])
        self._settle()
        own, there = host.fetch(places, self.device)
        return ColdRows(places, host, there, own)

    def _settle(self) -> None:
        """Let the host's thread apply what it was sent, so that the cold rows can be read."""
        if self._thread is not None:
            self._thread.settle()

    def _allocate_packed(self, rows: int) -> Shard:
        """A shard on the host for access to single rows."""
        width = self.dim + self.optimizer.state_width
        (values,) = self._allocate_zeros(rows, (width,), torch.device("cpu"))
        return Shard.of(values, self.dim)

    def _allocate_shard(self, rows: int, device: torch.device) -> Shard:
        """A shard that a device reads, or that is copied as a whole."""
        return Shard(*self._allocate_zeros(rows, (self.dim, self.optimizer.state_width), device))

    def _allocate_zeros(
        self, rows: int, widths: Sequence[int], device: torch.device
    ) -> list[Tensor]:
        """Zeros for rows of each width."""
        dtype = self.dtype
        try:
            return [torch.zeros((rows, each), device=device, dtype=dtype) for each in widths]
        except (RuntimeError, MemoryError):
            size = rows * sum(widths) * dtype.itemsize
            raise ParameterError(
                f"{rows:,} embedding rows need {size:,} bytes on {device}, which has no room for "
                "them. Use --placement hot-cold with a smaller hot budget, or a larger machine."
            ) from None

    def _ranges(self, table: int) -> tuple[slice, slice]:
        """Where a table's hot rows and its cold rows lie in the two arrays."""
        places = self.layout
        hot, cold = int(places.hot_start[table]), int(places.cold_start[table])
        hot_rows = int(places.hot_rows[table])
        return (
            slice(hot, hot + hot_rows),
            slice(cold, cold + int(places.rows[table]) - hot_rows),
        )

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
        """The stacked cold rows `where`."""
        return cold[where]

    def _sort_by_id(self, hot: Tensor, cold: Tensor) -> dict[str, Tensor]:
        self._settle()
        tables = {}
        for table, name in enumerate(self.layout.names):
            hot_range, cold_range = self._ranges(table)
            tables[name] = torch.cat([hot[hot_range].cpu(), self._read_cold(cold, cold_range)])
        return tables


def pool(rows: Tensor, inverse: Ints, offsets: Ints | None, batch: int) -> Tensor:
    """Each input's embedding vectors, a feature's rows summed: (batch, features, dim).

    `inverse` and `offsets` are a lookup's.
    """
    at = torch.from_numpy(inverse).to(rows.device, non_blocking=True)
    begins = None
    if offsets is not None:
        begins = torch.from_numpy(offsets).to(rows.device, non_blocking=True)
    return pool_on_device(rows, at, begins, batch)


def pool_on_device(rows: Tensor, at: Tensor, begins: Tensor | None, batch: int) -> Tensor:
    """`pooled`, of an inverse and offsets on the device.

    The gradient of a row is the sum over its occurrences in their order, so it is the same on every
    run. (On the CPU, index_select has the faster gradient; on CUDA, embedding has the one that is
    deterministic.)
    """
    dim = rows.shape[1]
    if rows.is_cuda:
        if begins is None:
            return functional.embedding(at, rows).view(batch, -1, dim)
        bags = functional.embedding_bag(at, rows, begins, mode="sum", include_last_offset=True)
        return bags.view(batch, -1, dim)
    vectors = rows.index_select(0, at)  # (n ids, dim)
    if begins is None:
        return vectors.view(batch, -1, dim)
    lengths = begins.diff()
    bag = torch.repeat_interleave(torch.arange(len(lengths)), lengths)  # (n ids,)
    return vectors.new_zeros((len(lengths), dim)).index_add(0, bag, vectors).view(batch, -1, dim)


def _derive_seed(seed: int, name: str) -> int:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
