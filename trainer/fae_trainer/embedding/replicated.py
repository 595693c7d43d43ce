"""FAE as published: the host's tables hold every row, and the device a copy of the hot ones.

Hot batches run wholly on the copy, cold batches wholly by the host's tables. Where the two change
over, the side that learned last overwrites the other, rows and optimiser state, in one copy each:
the hot rows lie together at the head of the host's array. So training equals that of the other
placements, and the copies between are what it costs.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from fae_trainer.embedding.layout import Lookup
from fae_trainer.embedding.shard import Shard
from fae_trainer.embedding.tables import Gathered, Tables


class ReplicatedTables(Tables):
    """Tables whose hot rows are owned by the host and the device in turn.

    `hot` is always the owner's shard, and the other's is stale.
    """

    splits_batches = False

    def _allocate(self) -> tuple[Shard, Shard]:
        hot = self.layout.hot_total
        total = hot + self.layout.cold_total
        self._host = self._allocate_shard(total, torch.device("cpu"))
        self.padded_hot = self._allocate_shard(hot + 1, self.device)
        self._copy = self.padded_hot.slice(0, hot)
        self._head = self._host.slice(0, hot)
        return self._head, self._host.slice(hot, total)

    def prepare_for(self, hot: bool) -> None:
        """Make the device the owner of the hot rows for a hot batch, the host for a cold one."""
        owner = self._copy if hot else self._head
        if self.hot is owner:
            return
        begin = self._now()
        owner.copy_from(self.hot)
        self.hot = owner
        self.traffic.syncs += 1
        self.traffic.sync_bytes += owner.nbytes
        self.traffic.sync_seconds += self._now() - begin

    def gather(self, lookup: Lookup) -> Gathered:
        """The distinct rows of a batch, each from its present owner; evaluation copies none."""
        if self.hot is self._copy:
            return super().gather(lookup)
        at = np.concatenate([lookup.hot, lookup.cold + self.layout.hot_total])
        return self._gather(np.empty(0, dtype=np.int64), self._fetch_cold(at, self._host))

    def _now(self) -> float:
        """The clock, once the device has done its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
