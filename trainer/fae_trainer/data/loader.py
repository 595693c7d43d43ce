"""The loader: a split's batches in an epoch's order, for the trainer and for anybody's loop.

    loader = HotColdLoader("DIR", batch_size=2048)
    for epoch in range(3):
        for batch in loader:  # batch.label, .dense, .ids, .offsets, .hot
            ...

`torch.utils.data.DataLoader(loader, batch_size=None, num_workers=2)` works too: each worker reads a
part of the batches, and keeps none of them in memory. Threads do the same in one process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.data import IterableDataset, get_worker_info

from fae.format.errors import ParameterError
from fae.format.integrity import check_files
from fae.format.manifest import SPLITS, Manifest
from fae_trainer.data.batches import Batch
from fae_trainer.data.cache import Cache, choose_cache
from fae_trainer.data.leaf_reader import LeafReader, Shuffle
from fae_trainer.data.schedule import count_batches, make_schedule

#: Rows among which the rows of an epoch are shuffled, at least; one of the pipeline's row groups.
BUFFER_ROWS = 65_536

#: Decoding threads unless the user says; more find no work while one process trains.
MOST_THREADS = 8


class Order(Protocol):
    """Which of an epoch's batches are hot, by position."""

    @property
    def batches(self) -> int:
        """The number of batches, hot and cold."""

    def hot_before(self, position: int) -> int:
        """The number of hot batches among the first `position`."""

    def is_hot(self, position: int) -> bool:
        """Whether the batch at `position` is hot."""


@dataclass(frozen=True)
class HotFirst:
    """All hot batches, then all cold ones: the order of the files."""

    hot: int
    batches: int

    def hot_before(self, position: int) -> int:
        """The number of hot batches among the first `position`."""
        return min(position, self.hot)

    def is_hot(self, position: int) -> bool:
        """Whether the batch at `position` is hot."""
        return position < self.hot


@dataclass(frozen=True)
class RankShare:
    """A rank's rows of a leaf's order, [start, start + rows), and the batches they are cut into.

    Ranks have as many rows as each other, or one more, and exactly as many batches. Batches hold
    `batch_size` rows, and the last what is left; a rank that has nothing left where others have a
    row takes one from the batch before.
    """

    start: int
    rows: int
    batches: int
    batch_size: int

    def before(self, batch: int) -> int:
        """The number of the share's rows before a batch, or before the end."""
        at = min(batch * self.batch_size, self.rows)
        short = batch == self.batches - 1 and at == self.rows
        return at - 1 if short else at


def cut_share(rows: int, batch_size: int, rank: int, world_size: int) -> RankShare:
    """What one of `world_size` ranks reads of a leaf of `rows` rows.

    Raises ParameterError where a rank would have a batch without rows.
    """
    start, stop = (rows * one // world_size for one in (rank, rank + 1))
    batches = count_batches(-(-rows // world_size), batch_size)
    spare = rows // world_size - (batches - 1) * batch_size  # rows for the shortest last batch
    if rows and not spare and (batches == 1 or batch_size == 1):
        raise ParameterError(
            f"{rows} rows of one temperature cannot be cut into as many batches of {batch_size} "
            f"for each of {world_size} ranks. Use fewer ranks, or larger batches."
        )
    return RankShare(start, stop - start, batches, batch_size)


class HotColdLoader(IterableDataset[Batch]):
    """An iterable over a split's batches; each is hot or cold as a whole, and says so.

    With `shuffle`, hot and cold batches are interleaved evenly and rows come in a new order each
    epoch, a function of `seed` and epoch alone. Without, they come as the files have them, the hot
    leaf first. Iterating goes through one epoch and on to the next; `set_epoch` goes to any.
    Threads, cache and device change no batch; DataLoader's workers have the same batches, in an
    order of their own.
    """

    def __init__(
        self,
        data: Path | str,
        split: str = "train",
        batch_size: int = 2048,
        *,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        cache: str = "auto",
        device: torch.device | str = "cpu",
        threads: int = 0,
        buffer_rows: int = BUFFER_ROWS,
        verify: bool = False,
    ) -> None:
        """A loader of the data set in `data`, for process `rank` of `world_size`.

        `cache` is "auto", "none", "host" or "device"; see data/cache.py. Where `device` is a
        GPU, batches on the host are in page-locked memory. `threads` is 0 where the loader decides.
        With `verify`, a file's sha256 is compared with the manifest's before its rows are read.
        """
        if split not in SPLITS:
            raise ParameterError(f"split is {split}; it must be one of {', '.join(SPLITS)}.")
        if batch_size < 1 or buffer_rows < 1 or threads < 0 or seed < 0:
            raise ParameterError(
                f"batch_size {batch_size} and buffer_rows {buffer_rows} must be at least 1, and "
                f"threads {threads} and seed {seed} at least 0."
            )
        if not 0 <= rank < world_size:
            raise ParameterError(f"rank {rank} is not one of {world_size}, counted from 0.")
        manifest = Manifest.read(data)
        device = torch.device(device)
        kind = choose_cache(cache, manifest, split, device)
        self.manifest = manifest
        self.split = split
        self._shuffle, self._seed = shuffle, seed
        self._threads = threads
        leaves = {hot: manifest.splits[split]["hot" if hot else "cold"] for hot in (True, False)}
        self._shares = {
            hot: cut_share(leaf.rows, batch_size, rank, world_size) for hot, leaf in leaves.items()
        }
        check_files(Path(data), [file for leaf in leaves.values() for file in leaf.files])
        kept = Cache(kind, device)
        pin = device.type == "cuda"
        self._readers = {
            hot: LeafReader(Path(data), manifest, split, hot, kept, buffer_rows, pin, verify)
            for hot in leaves
        }
        self._identity = {
            "fingerprint": manifest.fingerprint, "split": split, "batch_size": batch_size,
            "shuffle": shuffle, "seed": seed, "rank": rank, "world_size": world_size,
            "buffer_rows": buffer_rows,
        }  # fmt: skip
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]
        self._position, self._stop = 0, len(self)
        self._worker: tuple[int, int] | None = None
        self._resumed: dict[str, Any] | None = None

    @property
    def hot(self) -> int:
        """The number of this rank's hot batches in an epoch."""
        return self._shares[True].batches

    @property
    def cold(self) -> int:
        """The number of this rank's cold batches in an epoch."""
        return self._shares[False].batches

    def __len__(self) -> int:
        """The number of this rank's batches in an epoch."""
        return self.hot + self.cold

    def order(self, epoch: int) -> Order:
        """The order of hot and cold batches in an epoch; the same for all ranks."""
        if self._shuffle:
            return make_schedule(self.hot, self.cold, self._seed, epoch)
        return HotFirst(self.hot, len(self))

    def batches(
        self, epoch: int, order: Order, start: int = 0, stop: int | None = None
    ) -> Iterator[Batch]:
        """An epoch's batches as `order` mixes them, from position `start` to before `stop`.

        What lies before `start` is not read. Raises DatasetError where a file is absent, damaged
        or at odds with the manifest.
        """
        stop = order.batches if stop is None else stop
        first, last = order.hot_before(start), order.hot_before(stop)
        threads = self._threads or _default_threads()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        try:
            hot = self._leaf(True, first, last, epoch, pool, threads)
            cold = self._leaf(False, start - first, stop - last, epoch, pool, threads)
            for position in range(start, stop):
                yield next(hot if order.is_hot(position) else cold)
        finally:
            pool.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[Batch]:
        """What is left of the current epoch; in a worker of DataLoader, the worker's part of it.

        Each worker has consecutive batches of the epoch's order.
        """
        info = get_worker_info()
        self._worker = (info.id, info.num_workers) if info else None
        state, self._resumed = self._resumed, None
        start, stop = (state["position"], state["stop"]) if state else (0, len(self))
        if state and state["worker"] is not None:
            if self._worker is None or list(self._worker) != list(state["worker"]):
                raise ParameterError("The state is of one of DataLoader's workers; resume in it.")
        elif info:
            parts = (
                start + (stop - start) * one // info.num_workers for one in (info.id, info.id + 1)
            )
            start, stop = parts
        epoch = int(self._epoch)
        self._position, self._stop = start, stop
        for batch in self.batches(epoch, self.order(epoch), start, stop):
            self._position += 1
            yield batch
        if info is None:
            self.set_epoch(epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch. With DataLoader's workers, call it before each."""
        self._epoch.fill_(epoch)
        self._position, self._stop = 0, len(self)
        self._resumed = None

    def state_dict(self) -> dict[str, Any]:
        """How far the last iteration is: what `load_state_dict` needs to go on bit for bit.

        Each of DataLoader's workers has a state of its own, which torchdata's StatefulDataLoader
        keeps.
        """
        place = {"epoch": int(self._epoch), "position": self._position, "stop": self._stop}
        return {**self._identity, **place, "worker": self._worker}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration begin with the batch after the last one before the state.

        Raises ParameterError where the state is of a loader with other batches.
        """
        for name, value in self._identity.items():
            if state.get(name) != value:
                raise ParameterError(
                    f"The state is of a loader with {name} {state.get(name)!r}, and this one has "
                    f"{value!r}. Make the loader as it was, or begin an epoch."
                )
        self.set_epoch(state["epoch"])
        self._position, self._stop = state["position"], state["stop"]
        self._resumed = state

    def _leaf(
        self, hot: bool, start: int, stop: int, epoch: int, pool: ThreadPoolExecutor, ahead: int
    ) -> Iterator[Batch]:
        """The leaf's batches from number `start` to before `stop`."""
        mine = self._shares[hot]
        bounds = [mine.before(batch) for batch in range(start, stop + 1)]
        sizes = [bounds[at + 1] - bounds[at] for at in range(stop - start)]
        shuffle = Shuffle(self._seed, epoch) if self._shuffle else None
        return self._readers[hot].batches(mine.start + bounds[0], sizes, shuffle, pool, ahead)


def _default_threads() -> int:
    """Decoding threads: the machine's cores, and one in a worker of DataLoader."""
    return 1 if get_worker_info() else min(len(os.sched_getaffinity(0)), MOST_THREADS)
