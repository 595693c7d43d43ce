"""Make items ahead of their use, in threads, and copy batches to a GPU ahead of theirs."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

from fae_trainer.data.batches import Batch

S = TypeVar("S")
T = TypeVar("T")

#: How often a thread that waits for room in a full queue checks whether it should stop.
_STOP_CHECK_SECONDS = 0.1


@dataclass(frozen=True)
class _EndOfItems:
    """The last entry of the queue: there are no more items, or making one failed."""

    error: BaseException | None


@contextmanager
def prefetch(items: Iterable[T], depth: int) -> Iterator[Iterator[T]]:
    """Yield an iterator over `items` that a thread keeps `depth` items ahead, in their order.

    An error in making an item is raised in the item's place. Leaving the context in any way ends
    the thread before it returns.
    """
    ready: queue.Queue[T | _EndOfItems] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def offer(item: T | _EndOfItems) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=_STOP_CHECK_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not offer(item):
                    return
        except BaseException as caught:
            error = caught
        offer(_EndOfItems(error))

    def consume() -> Iterator[T]:
        while not isinstance(item := ready.get(), _EndOfItems):
            yield item
        if item.error is not None:
            raise item.error

    thread = threading.Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        stop.set()
        thread.join()


def map_ahead(
    make: Callable[[S], T], items: Iterable[S], pool: ThreadPoolExecutor, depth: int
) -> Iterator[T]:
    """Yield `make(item)` for each item in order, while the pool works on the `depth` next ones.

    An error is raised in its item's place. Closing the iterator cancels calls that have not
    started.
    """
    ahead: deque[Future[T]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(make, item))
            if len(ahead) > depth:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            future.cancel()


def upload_ahead(
    batches: Iterable[Batch], device: torch.device | str, depth: int
) -> Iterator[Batch]:
    """Yield the batches on `device`, each copied while up to `depth` batches before it are used.

    On the CPU the batches are passed on untouched, and none is taken ahead. On a GPU, take each
    batch in the thread and on the stream that use it. Why nothing is read too early, or overwritten
    while it is read:

    - Copies run on a stream of their own, each followed by an event. The stream that is current
      when a batch is taken waits for that event, and so does all work that it is given later.
    - A batch's memory on the device belongs to the copying stream, where the allocator may give it
      to a later copy as soon as its last tensor is gone. `record_stream` has the allocator wait for
      what the using stream had been given by then.
    - Its memory on the host is given out again only after its copy (see `allocate_pinned`); memory
      that is not page-locked has been read when the call that copies it returns.
    - A batch that a loader's cache keeps on the device was made by the default stream, in a thread
      of the loader, before it was taken here. So the same holds with that stream in the place of
      the copying one.
    """
    device = torch.device(device)
    if device.type != "cuda":
        yield from batches
        return
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    default = torch.cuda.default_stream(device)
    ahead: deque[tuple[Batch, torch.cuda.Event]] = deque()
    for batch in batches:
        with torch.cuda.stream(copying):
            there = batch.to(device, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(default if batch.label.is_cuda else copying)
        ahead.append((there, done))
        if len(ahead) > depth:
            yield _hand_over(*ahead.popleft())
    while ahead:
        yield _hand_over(*ahead.popleft())


def _hand_over(batch: Batch, done: torch.cuda.Event) -> Batch:
    """Return the batch for use by the current stream."""
    stream = torch.cuda.current_stream(batch.label.device)
    stream.wait_event(done)
    batch.record_stream(stream)
    return batch
