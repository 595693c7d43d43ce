"""Items made ahead of their use, by one background thread or by several."""

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

#: Seconds after which a thread that waits for room looks whether it is still wanted.
_PATIENCE = 0.1


@dataclass(frozen=True)
class _EndOfItems:
    """The last thing in the queue: the items are over, or making one failed."""

    error: BaseException | None


@contextmanager
def prefetch(items: Iterable[T], depth: int) -> Iterator[Iterator[T]]:
    """An iterator over `items` whose next `depth` are made meanwhile, in their order.

    An error in making an item is raised where that item would have come. Leaving the context, by
    whatever way, ends the thread before it returns.
    """
    ready: queue.Queue[T | _EndOfItems] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def offer(item: T | _EndOfItems) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=_PATIENCE)
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
    """What `make` gives for each item, in their order, with `depth` more under way in the pool.

    An error is raised where its item would have come. Closing the iterator cancels what has not
    begun.
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
