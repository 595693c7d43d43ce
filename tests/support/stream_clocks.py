"""Which use of memory comes after which, on a device whose streams run apart from each other.

Each stream has a clock, which says how far itself and every other stream are for certain before its
next work: by its own order, by events that it waited for, and by what the thread that gave the work
had waited for by then (Mattern, 1989). A thread of the host has a clock too, and hands it on with
the result of a future. A use that does not come after the last change of the same memory is an
error, whether or not it would go wrong today: how the threads happen to be timed plays no part.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

#: Stream → how many pieces of work it has done for certain.
Clock = dict[int, int]

#: A piece of work: its stream, and its number there.
Moment = tuple[int, int]


class RaceError(AssertionError):
    """Memory was used while a stream may not be done with it."""


@dataclass
class Use:
    """The last work that wrote to a memory, and that which has read it since.

    `owner` is the stream for which a memory of the device was made: it may be given the memory
    again as soon as no tensor holds it, unless streams in `recorded` read it.
    """

    owner: int | None = None
    written: Moment | None = None
    read: Clock = field(default_factory=dict)
    recorded: set[int] = field(default_factory=set)
    holders: int = 0

    def moments(self, to_write: bool) -> list[Moment]:
        """Return what has to be past before the memory is read or written."""
        written = [self.written] if self.written else []
        return [*written, *self.read.items()] if to_write else written


def past(moments: Iterable[Moment], clock: Clock) -> bool:
    """Tell whether all moments are past for who has the clock."""
    return all(clock.get(stream, 0) >= number for stream, number in moments)


def advance(clock: Clock, other: Clock) -> None:
    for stream, number in other.items():
        clock[stream] = max(clock.get(stream, 0), number)


class Event:
    """torch.cuda.Event."""

    def __init__(self) -> None:
        self.clock: Clock = {}

    def record(self, stream: Stream) -> None:
        with MACHINE.lock:
            self.clock = dict(stream.clock)

    def synchronize(self) -> None:
        MACHINE.wait(self.clock)


class Stream:
    """torch.cuda.Stream."""

    _numbers = itertools.count(1)

    def __init__(self, *_: Any) -> None:
        self.number = next(self._numbers)
        self.clock: Clock = {}
        MACHINE.streams[self.number] = self

    def wait_event(self, event: Event) -> None:
        with MACHINE.lock:
            advance(self.clock, event.clock)

    def wait_stream(self, other: Stream) -> None:
        with MACHINE.lock:
            advance(self.clock, other.clock)


class Machine:
    """The streams, the memories, and what each thread of the host has waited for."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.streams: dict[int, Stream] = {}

    def begin(self) -> None:
        """Reset to a new machine."""
        self.streams.clear()
        self.uses: dict[int, Use] = {}
        self.pinned: set[int] = set()
        self.errors: list[str] = []
        self._local = threading.local()
        self.default = Stream()

    @property
    def host(self) -> Clock:
        """How far the streams are for certain, as far as this thread has waited."""
        return self._local.__dict__.setdefault("host", {})

    @property
    def stream(self) -> Stream:
        """This thread's current stream."""
        return getattr(self._local, "stream", self.default)

    @stream.setter
    def stream(self, stream: Stream) -> None:
        self._local.stream = stream

    @property
    def graph(self) -> Any:
        """The graph that this thread captures, if any."""
        return getattr(self._local, "graph", None)

    @graph.setter
    def graph(self, graph: Any) -> None:
        self._local.graph = graph

    def use(self, memory: int) -> Use:
        return self.uses.setdefault(memory, Use())

    def wait(self, *clocks: Clock) -> None:
        """Have this thread wait; all work that it gives comes after that."""
        if self.graph is not None:
            raise RuntimeError("operation not permitted when stream is capturing")
        with self.lock:
            for clock in clocks:
                advance(self.host, clock)

    def synchronize(self, *_: Any) -> None:
        """torch.cuda.synchronize."""
        self.wait(*(stream.clock for stream in self.streams.values()))

    def launch(self, reads: set[int], writes: set[int], what: str) -> None:
        """Give the current stream work; raise RaceError where that comes too early."""
        stream = self.stream
        advance(stream.clock, self.host)
        now = stream.clock[stream.number] = stream.clock.get(stream.number, 0) + 1
        for memory in (reads | writes) - {0}:
            use, to_write = self.use(memory), memory in writes
            if not past(use.moments(to_write), stream.clock):
                raise RaceError(f"{what} on stream {stream.number} comes too early: {use}")
            if to_write:
                use.owner = use.owner or stream.number
                use.written = (stream.number, now)
                use.read.clear()
            else:
                use.read[stream.number] = now

    def touch(self, memory: int, to_write: bool, what: str) -> None:
        """Use pinned memory on the host; raise RaceError where that comes too early."""
        use = self.use(memory)
        if not past(use.moments(to_write), self.host):
            raise RaceError(f"{what} on the host comes too early: {use}")

    def hold(self, memory: int) -> None:
        """Count a tensor in a memory of the device."""
        self.use(memory).holders += 1

    def release(self, memory: int) -> None:
        """Count one tensor less; without one, the owner's next work may get the memory."""
        use = self.use(memory)
        use.holders -= 1
        if use.holders or use.owner not in self.streams:
            return
        others = [one for one in use.moments(True) if one[0] not in {use.owner, *use.recorded}]
        if not past(others, self.streams[use.owner].clock):
            self.errors.append(f"memory is given away in use: {use}")


MACHINE = Machine()
MACHINE.begin()


@contextlib.contextmanager
def streaming(stream: Stream) -> Iterator[None]:
    """torch.cuda.stream."""
    former, MACHINE.stream = MACHINE.stream, stream
    try:
        yield
    finally:
        MACHINE.stream = former


_set_result, _result = Future.set_result, Future.result


def set_result(self: Future[Any], result: Any) -> None:
    """Future.set_result, with the clock of the thread that calls it."""
    with MACHINE.lock:
        self.clock = dict(MACHINE.host)  # type: ignore[attr-defined]
    _set_result(self, result)


def result(self: Future[Any], timeout: float | None = None) -> Any:
    """Future.result; the thread that calls it now knows what the maker of the result knew."""
    value = _result(self, timeout)
    with MACHINE.lock:
        advance(MACHINE.host, self.__dict__.get("clock", {}))
    return value
