"""Make items ahead of their use, in one background thread or in a pool of threads."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

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
