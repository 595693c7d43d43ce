"""Handle SIGINT, SIGTERM and SIGHUP: defer them, or end the process by an exception."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

#: A batch system's request to end, and the end of the terminal or connection.
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Terminated(SystemExit):
    """A signal asked the process to end; the exit code is 128 and its number, as of shells."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


@contextmanager
def terminate_by_exception() -> Iterator[None]:
    """Raise Terminated in the main thread when SIGTERM or SIGHUP arrives during the block.

    What is ignored stays so, as `nohup` ignores SIGHUP. The main thread alone may call this, as
    Python sets signal handlers nowhere else.
    """
    former = {number: signal.getsignal(number) for number in _ENDING}
    for number, handler in former.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated(number)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Deliver SIGINT, SIGTERM and SIGHUP at the end of the block if they arrive during it.

    Python runs signal handlers in the main thread, so the block in another thread is never
    interrupted and needs nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDING)}
    for number, handler in former.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, lambda number, _: arrived.append(number))
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler or signal.SIG_DFL)
        for first in arrived[:1]:
            signal.raise_signal(first)
