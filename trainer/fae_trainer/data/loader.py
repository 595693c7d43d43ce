"""`HotColdLoader`: iterate over a split's batches in an epoch's order, in any training loop.

    loader = HotColdLoader("DIR", batch_size=2048)
    for epoch in range(3):
        for batch in loader:  # batch.label, .dense, .ids, .offsets, .hot
            ...

A batch has its columns by name (`batch["C1"]`), `to(device)`, and `to_kjt()` for TorchRec.

`torch.utils.data.DataLoader(loader, num_workers=2)` works too, with persistent workers or without:
each worker reads a part of the batches and caches none. Call `set_epoch` before each epoch, and
save `loader.state_dict(after=batch)` with the last batch that was used: it resumes with any number
of workers. The loader's own threads decode as fast in one process.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info
from torch.utils.data._utils.collate import default_collate_fn_map

from fae.format.errors import ParameterError
from fae.format.manifest import SPLITS
from fae_trainer.data.batches import Batch, concatenate
from fae_trainer.data.cache import Cache, choose_cache
from fae_trainer.data.leaf_reader import LeafReader
from fae_trainer.data.schedule import (
    HotFirst,
    Order,
    cut_share,
    cut_spans,
    make_schedule,
    slice_spans,
)
from fae_trainer.data.sharing import WindowSharing
from fae_trainer.data.windows import Shuffle
from fae_trainer.storage.dataset_folder import open_folder

#: The least rows that are shuffled among each other in an epoch; a full row group of a data set.
BUFFER_ROWS = 65_536

#: The most decoding threads by default; each may have two windows and their batches in memory.
MAX_DEFAULT_THREADS = 16


class HotColdLoader(IterableDataset[Batch]):
    """An iterable over a split's batches, each of which is entirely hot or cold and says which.

    With `shuffle`, hot and cold batches are evenly interleaved, and each epoch has a new order of
    rows that depends only on `seed` and the epoch. Without it, batches follow the files, hot leaf
    first. Each iteration is one epoch; the next iteration is the next epoch, and `set_epoch` jumps
    to any. Threads, cache and device do not change the batches. The workers of a DataLoader yield
    the same batches, in an order of their own.

    Rows are mixed within windows of `buffer_rows` consecutive rows of a file or more, which were
    shuffled when they were written; two rows of a window meet in a batch more often than in a full
    shuffle, by the number of windows. `mixed_windows` mixes the rows of so many windows at a time,
    drawn at random from all files, and rows of a window meet less often by that factor; with at
    least as many as there are, the shuffle is full. It takes memory for about four times
    `mixed_windows` windows; one of Criteo's columns has 10 MB. A larger `buffer_rows` mixes further
    too, up to whole files. `benchmarks/epoch_shuffle.py` measures what that changes.
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
        mixed_windows: int = 1,
        verify: bool = False,
        sharing: WindowSharing | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        """Open the data set in `data`, a path or an s3:// URL, for process `rank` of `world_size`.

        Of a data set in S3, only what is asked for is fetched, and kept on the local disk as far as
        there is room (`storage/block_cache.py`).

        `cache` is "auto", "none", "host" or "device" (see `choose_cache`). If `device` is a GPU,
        batches on the host are in page-locked memory. 0 `threads` lets the loader choose. With
        `verify`, a file's sha256 is compared with the manifest's before its rows are read. With
        `sharing`, the processes of a machine that read the same batches decode a part each. `part`
        (k, n) yields part k, from 0, of n parts of each batch; a `rank` has batches of its own.

        Raises
        ------
        ParameterError where a value is out of range, and DatasetError where the data set or one of
        the split's files is absent or has another size.

        """
        if split not in SPLITS:
            raise ParameterError(f"split is {split}; it must be one of {', '.join(SPLITS)}.")
        if min(batch_size, buffer_rows, mixed_windows) < 1 or threads < 0 or seed < 0:
            raise ParameterError(
                f"batch_size {batch_size}, buffer_rows {buffer_rows} and mixed_windows "
                f"{mixed_windows} must be at least 1, and threads {threads} and seed {seed} at "
                "least 0."
            )
        if not 0 <= part[0] < part[1]:
            raise ParameterError(f"part {part[0]} must be from 0 to {part[1] - 1}.")
        if not 0 <= rank < world_size:
            raise ParameterError(
                f"rank {rank} must be from 0 to world_size - 1, which is {world_size - 1}."
            )
        folder = open_folder(data)
        manifest = folder.read_manifest()
        device = torch.device(device)
        kind = choose_cache(cache, manifest, split, device)
        self.manifest = manifest
        self.split, self._data = split, data
        self._shuffle, self._seed = shuffle, seed
        self._threads = threads
        leaves = {hot: manifest.splits[split]["hot" if hot else "cold"] for hot in (True, False)}
        self._shares = {
            hot: cut_share(leaf.rows, batch_size, rank, world_size) for hot, leaf in leaves.items()
        }
        folder.check_sizes([file for leaf in leaves.values() for file in leaf.files])
        blocks = Cache(kind, device)
        pin = device.type == "cuda"
        self._readers = {
            hot: LeafReader(
                folder,
                manifest,
                split,
                hot,
                blocks,
                buffer_rows,
                mixed_windows,
                pin,
                verify,
                sharing,
                part,
            )
            for hot in leaves
        }
        # What decides the batches, so that a state of another loader is recognised.
        self._identity = {
            "fingerprint": manifest.fingerprint, "split": split, "batch_size": batch_size,
            "shuffle": shuffle, "seed": seed, "rank": rank, "world_size": world_size,
            "buffer_rows": buffer_rows, "mixed_windows": mixed_windows,
        }  # fmt: skip
        # In shared memory, so that set_epoch reaches the workers of a DataLoader.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]
        # Set by a worker of a DataLoader, whose batches the main process does not see.
        self._by_workers = torch.zeros((), dtype=torch.bool)
        self._by_workers.share_memory_()  # type: ignore[no-untyped-call]
        self._resumed: dict[str, Any] | None = None
        self.set_epoch(0)

    @property
    def hot(self) -> int:
        """The number of this rank's hot batches in an epoch."""
        return self._shares[True].batches

    @property
    def cold(self) -> int:
        """The number of this rank's cold batches in an epoch."""
        return self._shares[False].batches

    def __len__(self) -> int:
        """Return the number of this rank's batches in an epoch."""
        return self.hot + self.cold

    def order(self, epoch: int) -> Order:
        """Return the order of hot and cold batches in an epoch; it is the same for all ranks."""
        if self._shuffle:
            return make_schedule(self.hot, self.cold, self._seed, epoch)
        return HotFirst(self.hot, len(self))

    def batches(
        self, epoch: int, order: Order, start: int = 0, stop: int | None = None
    ) -> Iterator[Batch]:
        """Yield an epoch's batches in `order`, from position `start` to before `stop`.

        Rows before `start` are not read. Raises DatasetError where a file is absent, damaged or
        does not match the manifest.
        """
        stop = order.batches if stop is None else stop
        first, last = order.hot_before(start), order.hot_before(stop)
        threads = self._threads or _default_threads()
        pool, stopped = ThreadPoolExecutor(threads, thread_name_prefix="decode"), threading.Event()
        read = partial(self._read_leaf, epoch=epoch, pool=pool, ahead=threads, stopped=stopped)
        try:
            hot, cold = read(True, first, last), read(False, start - first, stop - last)
            for position in range(start, stop):
                yield next(hot if order.is_hot(position) else cold)
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rest of the current epoch; a worker of a DataLoader yields its part of it.

        Each worker has consecutive batches of the epoch's order.
        """
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        me = [worker, workers] if info else None
        state, self._resumed = self._resumed or self._begin(), None
        of_all = state["worker"] is None
        if not of_all and state["worker"] != me:
            raise ParameterError(
                "The state was saved in a worker of a DataLoader; load it in the same worker."
            )
        self._by_workers.fill_(info is not None)
        parts = cut_spans(state["rest"], workers) if of_all else [state["rest"]] * workers
        epoch, own, used = state["epoch"], parts[worker], 0
        self._state = {"epoch": epoch, "rest": own, "worker": me}
        for start, stop in own:
            for batch in self.batches(epoch, self.order(epoch), start, stop):
                used += 1
                self._state = {"epoch": epoch, "rest": slice_spans(own, used), "worker": me}
                # A DataLoader takes a batch from each worker in turn.
                left = [slice_spans(part, used - (n > worker)) for n, part in enumerate(parts)]
                after = {"epoch": epoch, "rest": list(itertools.chain(*left)), "worker": None}
                columns = self.manifest.features
                yield replace(batch, columns=columns, after=after if of_all else None)
        if info is None:
            self.set_epoch(epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch. With workers of a DataLoader, call it before each epoch."""
        self._epoch.fill_(epoch)
        self._by_workers.fill_(False)
        self._state, self._resumed = self._begin(), None

    def state_dict(self, after: Batch | None = None) -> dict[str, Any]:
        """Return how far the last iteration is, from which `load_state_dict` resumes exactly.

        With workers of a DataLoader, give the last batch that was used, `after`: workers are ahead
        of it. The state then resumes with any number of workers. torchdata's StatefulDataLoader
        keeps a state of each worker by itself. Raises ParameterError where the batch is needed, or
        is none of a loader's, such as a part of one.
        """
        if after is None and get_worker_info() is None and self._by_workers:
            raise ParameterError(
                "Workers of a DataLoader read the batches, and only you know which were used. Call "
                "state_dict(after=batch) with the last one."
            )
        if after is not None and after.after is None:
            raise ParameterError("The batch does not tell its place; give one as a loader made it.")
        return {**self._identity, **(self._state if after is None else after.after or {})}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume after the last batch that was yielded before the state was saved.

        Raises ParameterError where the state belongs to a loader with other batches.
        """
        stored = {"mixed_windows": 1, **state}  # which older states lack
        for name, value in self._identity.items():
            if stored.get(name) != value:
                raise ParameterError(
                    f"The state belongs to a loader with {name} {stored.get(name)!r}; this one has "
                    f"{value!r}. Use the same arguments, or start an epoch without the state."
                )
        self.set_epoch(state["epoch"])
        self._resumed = self._state = {name: state[name] for name in self._state}

    def __repr__(self) -> str:
        return (
            f"HotColdLoader({self._data}, {self.split}: {self.hot:,} hot and {self.cold:,} cold "
            f"batches of {self._identity['batch_size']:,})"
        )

    def _begin(self) -> dict[str, Any]:
        """Return the state at the start of the current epoch."""
        return {"epoch": int(self._epoch), "rest": [(0, len(self))], "worker": None}

    def _read_leaf(
        self,
        hot: bool,
        start: int,
        stop: int,
        epoch: int,
        pool: ThreadPoolExecutor,
        ahead: int,
        stopped: threading.Event,
    ) -> Iterator[Batch]:
        """Yield the leaf's batches from number `start` to before `stop`."""
        share = self._shares[hot]
        bounds = [share.before(batch) for batch in range(start, stop + 1)]
        sizes = [end - begin for begin, end in itertools.pairwise(bounds)]
        shuffle = Shuffle(self._seed, epoch) if self._shuffle else None
        first = share.start + bounds[0]
        return self._readers[hot].read_batches(first, sizes, shuffle, pool, ahead, stopped)


def _collate(batches: list[Batch], *, collate_fn_map: Any = None) -> Batch:  # noqa: ARG001
    """Return what a DataLoader makes of the batches that it takes together, one by default."""
    return concatenate(batches)


# So that a DataLoader needs no function of its user's.
default_collate_fn_map[Batch] = _collate


def _default_threads() -> int:
    """Return the default number of decoding threads; a worker of a DataLoader uses one."""
    return 1 if get_worker_info() else min(len(os.sched_getaffinity(0)), MAX_DEFAULT_THREADS)
