"""The tables of several processes on one machine, whose devices read and write the same cold rows.

Each process has all hot rows on its device. The cold rows lie in one memory that the processes
share and lock, and each row has one process that writes it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fae.format.errors import FaeError
from fae_trainer.embedding.distributed import Ranks
from fae_trainer.embedding.shard import Shard, lock_pages
from fae_trainer.embedding.tables import Tables

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108


class LockedTables(Tables):
    """The tables as one of several ranks has them. All ranks make every call together."""

    def initialise(self, seed: int) -> None:
        """Set every row and state, like any tables."""
        super().initialise(seed)
        self._ranks.wait_for_all(self.device)

    def load_rows(self, rows: Mapping[str, Tensor]) -> None:
        """Load values, like any tables."""
        super().load_rows(rows)
        self._ranks.wait_for_all(self.device)

    def load_states(self, states: Mapping[str, Tensor]) -> None:
        """Load states, like any tables."""
        super().load_states(states)
        self._ranks.wait_for_all(self.device)

    def _allocate(self) -> tuple[Shard, Shard]:
        """Allocate all hot rows, and map the cold rows of all ranks."""
        kind = torch.empty(0, dtype=self.dtype).numpy().dtype
        memory = share_memory(self._ranks, (self.layout.cold_total, self.width), kind)
        if self.device.type == "cuda":
            lock_pages(memory)
        hot = self._allocate_shard(self.layout.hot_total, self.device)
        return hot, Shard(torch.from_numpy(memory), self.dim)

    def _put_cold(self, cold: Tensor, start: int, values: Tensor) -> None:
        if self._ranks.is_first:
            super()._put_cold(cold, start, values)

    def _read_cold(self, cold: Tensor, where: slice) -> Tensor:
        """Return the stacked cold rows `where` on the first rank; the others get none."""
        return super()._read_cold(cold, where) if self._ranks.is_first else cold[:0]

    def _sort_by_id(self, hot: Tensor, cold: Tensor) -> dict[str, Tensor]:
        self._ranks.wait_for_all(self.device)
        return super()._sort_by_id(hot, cold)


def share_memory(ranks: Ranks, shape: tuple[int, ...], kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return zeros in memory that all ranks share; it is freed when the last of them ends.

    The file behind it is removed once all have mapped it, so that a killed process leaves nothing.
    Raises FaeError on all ranks where the first one cannot make it.
    """
    size = max(1, int(np.prod(shape)) * kind.itemsize)
    path, reason = None, ""
    if ranks.is_first:
        try:
            path = _make_file(size)
        except OSError as error:
            reason = str(error.strerror)
    path, reason = ranks.broadcast((path, reason))
    if path is None:
        raise FaeError(
            f"Cannot share {size:,} bytes of memory for the cold rows in {_SHARED_MEMORY}: "
            f"{reason}. Enlarge it, for example with docker's --shm-size."
        )
    try:
        memory = np.memmap(path, dtype=np.uint8, mode="r+", shape=(size,))
        ranks.wait_for_all(torch.device("cpu"))
    finally:
        if ranks.is_first:
            Path(path).unlink()
    used = int(np.prod(shape)) * kind.itemsize
    values: npt.NDArray[Any] = np.asarray(memory)[:used].view(kind).reshape(shape)
    return values


def _make_file(size: int) -> str:
    """Return the path of a new file of so many zeros, whose memory is there."""
    handle, path = tempfile.mkstemp(prefix="fae-rows-", dir=_SHARED_MEMORY)
    try:
        os.posix_fallocate(handle, 0, size)  # or a later write would end the process
    except OSError:
        Path(path).unlink()
        raise
    finally:
        os.close(handle)
    return path
