"""The tables of the FAE paper: the host has every row, and the device a copy of the hot ones.

Hot batches run entirely on the device's copy, and cold batches on the host's tables. When the kind
of batch changes, the side that learned last overwrites the other with rows and optimiser state.
Training equals that of the other placements; these copies are what it costs. Hot rows lie together
at the head of the host's array, so each is one copy.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from fae_trainer.embedding.shard import Shard
from fae_trainer.embedding.tables import Tables


@dataclass
class Traffic:
    """How often all hot rows were copied between host and device, the bytes, and the seconds.

    Tables of each dimension are copied and counted by themselves. All are 0 unless the placement is
    `fae`: in other placements a row has one owner.
    """

    syncs: int = 0
    sync_bytes: int = 0
    sync_seconds: float = 0.0


class ReplicatedTables(Tables):
    """Tables whose hot rows the host and the device own in turn.

    `hot` is always the owner's shard, `copy` or the head of the host's rows; the other side's is
    stale. Copies are counted in `traffic`.
    """

    def prepare_for(self, hot: bool) -> None:
        """Make the device own the hot rows for a hot batch, and the host for a cold one."""
        owner = self.copy if hot else self._head
        if self.hot is owner:
            return
        begin = self._read_clock()
        owner.packed.copy_(self.hot.packed)
        self.hot = owner
        self.traffic.syncs += 1
        self.traffic.sync_bytes += owner.packed.nbytes
        self.traffic.sync_seconds += self._read_clock() - begin

    def _allocate(self) -> tuple[Shard, Shard]:
        self.traffic = Traffic()
        hot, total = self.layout.hot_total, self.layout.row_total
        host = self._allocate_shard(total, torch.device("cpu"))
        self.copy = self._allocate_shard(hot, self.device)
        self._head = host.slice(0, hot)
        return self._head, host.slice(hot, total)

    def _read_clock(self) -> float:
        """Return the time in seconds, after the device has done its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
