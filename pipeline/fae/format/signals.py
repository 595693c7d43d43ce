"""Handle SIGINT and SIGTERM: defer them, or end the process by an exception."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class Terminated(SystemExit):
    """SIGTERM asked the process to end; the exit code is 143, as shells report it."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


@contextmanager
def terminate_on_sigterm() -> Iterator[None]:
    """Raise Terminated in the main thread when SIGTERM arrives during the block.

    The main thread alone may call this, as Python sets signal handlers nowhere else.
    """
    former = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former or signal.SIG_DFL)


def _terminate(_signum: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Deliver SIGINT and SIGTERM at the end of the block if they arrive during it.

    Python runs signal handlers in the main thread, so the block in another thread is never
    interrupted and needs nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    signals: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
    former = [signal.signal(number, lambda number, _: arrived.append(number)) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, former, strict=True):
            signal.signal(number, handler or signal.SIG_DFL)
        for first in arrived[:1]:
            signal.raise_signal(first)
