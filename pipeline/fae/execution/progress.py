"""Progress: a table of stages that grows on a terminal, and lines in a log that is none.

All of it goes to standard error; standard output is for results.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import rich.console
from rich.live import Live
from rich.table import Table

#: Where messages and progress go.
console = rich.console.Console(stderr=True, highlight=False)
#: Seconds between two lines of a long stage in a log.
INTERVAL = 30.0
_WIDTHS = {"stage": 10, "done": 9, "running": 7, "left": 9, "rows/s": 11, "elapsed": 8}


@dataclass
class StageProgress:
    """The tasks of one stage: `kept` of `total` were done by an earlier run.

    `rows` are those of the tasks done by this one; `waiting` says what for, if for anything.
    """

    name: str
    total: int
    kept: int = 0
    done: int = 0
    running: int = 0
    rows: int = 0
    waiting: str = ""
    began: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def begin(self) -> None:
        """A task runs."""
        with self._lock:
            self.running += 1

    def end(self, rows: int = 0) -> None:
        """A task has ended, which dealt with so many rows."""
        with self._lock:
            self.done += 1
            self.running = max(self.running - 1, 0)
            self.rows += rows
            self.waiting = ""

    def wait(self, what: str) -> None:
        """Say, once in a log, that nothing runs and what is waited for."""
        new, self.waiting = what != self.waiting, what
        if new and not console.is_terminal:
            _say(self)

    @property
    def left(self) -> int:
        """Tasks that nothing has begun."""
        return self.total - self.kept - self.done - self.running

    @property
    def elapsed(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self.began

    def cells(self) -> list[str]:
        """The stage as a line of the table."""
        rate = f"{self.rows / self.elapsed:,.0f}" if self.rows else ""
        counts = (self.done + self.kept, self.running, self.left)
        notes = [f"{self.kept:,} kept from an earlier run"] if self.kept else []
        notes += [self.waiting] if self.waiting else []
        return [self.name, *(f"{n:,}" for n in counts), rate, _clock(self.elapsed), *notes]

    def sentence(self) -> str:
        """The stage as a line of a log."""
        name, done, running, left, rate, elapsed, *notes = self.cells()
        facts = [f"{done} of {self.total:,} tasks done"]
        facts += [f"{running} running, {left} left"] if self.left + self.running else []
        facts += [f"{rate} rows/s"] if rate else []
        return f"{name}: {', '.join([*facts, elapsed, *notes])}"


class RunProgress:
    """The stages of a run, one after the other."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._headed = False

    @contextmanager
    def stage(self, name: str, total: int, kept: int = 0) -> Iterator[StageProgress]:
        """Show a stage of `total` tasks while the block runs, and leave its line behind."""
        stage = StageProgress(name, total, kept)
        shown = self._table(stage) if console.is_terminal else self._lines(stage)
        with shown:
            yield stage

    @contextmanager
    def _table(self, stage: StageProgress) -> Iterator[None]:
        line = _Line(stage, headed=not self._headed)
        self._headed = True
        with Live(line, console=console, refresh_per_second=4):
            yield

    @contextmanager
    def _lines(self, stage: StageProgress) -> Iterator[None]:
        over = threading.Event()

        def tell() -> None:
            while not over.wait(self._interval):
                _say(stage)

        teller = threading.Thread(target=tell, name="progress", daemon=True)
        teller.start()
        try:
            yield
        finally:
            over.set()
            teller.join()
            _say(stage)


@dataclass(frozen=True)
class _Line:
    """A stage's line, below the table's head where it is the first; drawn anew at each look."""

    stage: StageProgress
    headed: bool

    def __rich__(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold", show_header=self.headed)
        for name, width in _WIDTHS.items():
            table.add_column(name, min_width=width, justify="left" if name == "stage" else "right")
        table.add_column()
        table.add_row(*self.stage.cells())
        return table


def _say(stage: StageProgress) -> None:
    console.print(stage.sentence(), soft_wrap=True, markup=False)


def _clock(seconds: float) -> str:
    """A duration as minutes and seconds, or hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
