"""The tables of several processes: each has every hot row and an equal part of the cold rows.

Row p of the stacked cold array is row p // size of rank p % size. A batch's cold rows come from
their owners' hosts, and their gradients go back there; gradients of hot rows go to every rank. A
row's gradients are added in the order of ranks, so replicas of hot rows stay bit for bit equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fae_trainer.embedding.distributed import sum_by_row
from fae_trainer.embedding.optimizers import RowStep
from fae_trainer.embedding.shard import Shard
from fae_trainer.embedding.tables import DistinctRows, Gathered, Tables


@dataclass(frozen=True)
class Exchange:
    """Which ranks exchange which of a batch's cold rows.

    `order` sorts this rank's rows by owner; it receives `counts_in[r]` of them from rank r. `asked`
    are positions in this rank's cold shard, of which it sends `counts_out[r]` to rank r.
    """

    order: Tensor
    counts_in: list[int]
    asked: Tensor
    counts_out: list[int]


@dataclass(frozen=True)
class SharedGathered(Gathered):
    """Gathered rows, and the exchange that brought the cold ones, if any rank has some."""

    exchange: Exchange | None


class SharedTables(Tables):
    """The tables as one of several ranks has them. All ranks gather and update together."""

    def gather(self, distinct: DistinctRows) -> Gathered:
        """Return the distinct rows of this rank's part of a batch, cold ones from their owners."""
        rows, exchange = self.hot.take(distinct.hot).rows, None
        if distinct.shared:
            exchange, cold = self._exchange_cold(torch.from_numpy(distinct.cold))
            rows = torch.cat([rows, cold])
        return SharedGathered(distinct, rows, exchange)

    def update(self, gathered: Gathered, gradient: Tensor, step: RowStep) -> None:
        """Update the rows that any rank gathered, at their owners, by their summed gradients."""
        assert isinstance(gathered, SharedGathered)
        hot = torch.from_numpy(gathered.distinct.hot)
        sizes = self._ranks.all_gather_count(len(hot)) if self.layout.hot_total else [0]
        if any(sizes):
            at = self._ranks.all_gather(hot, sizes)
            gradients = self._ranks.all_gather(gradient[: len(hot)], sizes)
            self._update_summed(self.hot, at, gradients, step)
        if (exchange := gathered.exchange) is not None:
            sent = gradient[len(hot) :][exchange.order]
            received = self._ranks.all_to_all(sent, exchange.counts_in, exchange.counts_out)
            at, gradients = (
                list(torch.split(rows, exchange.counts_out)) for rows in (exchange.asked, received)
            )
            self._update_summed(self.cold, at, gradients, step)

    def _update_summed(
        self, shard: Shard, at: list[Tensor], gradients: list[Tensor], step: RowStep
    ) -> None:
        """Update a shard's rows `at` by the gradients that each rank has for them."""
        distinct, gradient = sum_by_row(zip(at, gradients, strict=True))
        self.update_shard(shard, distinct.numpy(), gradient, step)

    def _exchange_cold(self, cold: Tensor) -> tuple[Exchange, Tensor]:
        """Return the exchange of a batch's cold rows, and this rank's, (cold, dim) on the host."""
        size = self._ranks.size
        owner = cold % size
        order = owner.argsort(stable=True)
        wanted = owner.bincount(minlength=size)  # rows from each rank
        # Tell each rank how many of its rows this one wants, then which; learn the same of others.
        one = [1] * size
        counts_out = self._ranks.all_to_all(wanted, one, one).tolist()
        counts_in = wanted.tolist()
        asked = self._ranks.all_to_all(cold[order] // size, counts_in, counts_out)
        exchange = Exchange(order, counts_in, asked, counts_out)
        sent = self.cold.take(asked.numpy()).rows
        rows = self.cold.rows.new_empty((len(cold), self.dim))
        rows[order] = self._ranks.all_to_all(sent, exchange.counts_out, exchange.counts_in)
        return exchange, rows

    def _allocate(self) -> tuple[Shard, Shard]:
        """Allocate all hot rows and this rank's cold rows."""
        own = self._rows_before(self.layout.cold_total, self._ranks.rank)
        hot = self._allocate_shard(self.layout.hot_total, self.device)
        return hot, self._allocate_shard(own, torch.device("cpu"))

    def _rows_before(self, position: int, rank: int) -> int:
        """Return how many of a rank's rows lie before a position of the stacked cold array."""
        return max(position - rank + self._ranks.size - 1, 0) // self._ranks.size

    def _put_cold(self, cold: Tensor, start: int, values: Tensor) -> None:
        rank, size = self._ranks.rank, self._ranks.size
        own = values[(rank - start) % size :: size]
        begin = self._rows_before(start, rank)
        cold[begin : begin + len(own)].copy_(own)

    def _read_cold(self, cold: Tensor, where: slice) -> Tensor:
        """Return the stacked cold rows `where` on the first rank; the others get none."""
        ranks = range(self._ranks.size)
        begins = [self._rows_before(where.start, rank) for rank in ranks]
        ends = [self._rows_before(where.stop, rank) for rank in ranks]
        sizes = [end - begin for begin, end in zip(begins, ends, strict=True)]
        own = self._ranks.rank
        pieces = self._ranks.gather_to_first(cold[begins[own] : ends[own]], sizes)
        rows = cold.new_empty((where.stop - where.start if pieces else 0, cold.shape[1]))
        for rank, piece in enumerate(pieces):
            rows[(rank - where.start) % self._ranks.size :: self._ranks.size] = piece
        return rows
