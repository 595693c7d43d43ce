"""Show how far a run is: a table on a terminal, one bar in a notebook, lines in a log.

All of it goes to standard error or the notebook's cell; standard output is for results.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import rich.console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fae.format.terminal import NotebookBar, in_notebook, make_visible


class VisibleConsole(rich.console.Console):
    """A console that takes texts and cells of tables literally, and makes them visible."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text as rich prints and measures it."""
        return super().render_str(make_visible(text), **options)


#: Where messages and progress go.
console = VisibleConsole(stderr=True)
#: Seconds between two lines of a long stage in a log, and between two looks of a notebook's bar.
LINE_SECONDS = 30.0
BAR_SECONDS = 0.5
_COLUMN_WIDTHS = {
    **{"stage": 10, "done": 9, "running": 7, "left": 9},
    **{"rows/s": 11, "elapsed": 8, "remaining": 9},
}


@dataclass
class StageProgress:
    """The tasks of one stage, of whose `total` an earlier run did `kept`.

    `rows` are those of the tasks that this run did; `waiting` says what for, if for anything.
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

    def begin_task(self) -> None:
        """Count a task that starts."""
        with self._lock:
            self.running += 1

    def end_task(self, rows: int = 0) -> None:
        """Count a task that has ended, and the rows that it dealt with."""
        with self._lock:
            self.done += 1
            self.running = max(self.running - 1, 0)
            self.rows += rows
            self.waiting = ""

    def wait_for(self, what: str) -> None:
        """Show that nothing runs and what is waited for; a log gets that line once."""
        is_new, self.waiting = what != self.waiting, what
        if is_new and not console.is_terminal and not in_notebook():
            _print_line(self)

    @property
    def left(self) -> int:
        """Tasks that have not started."""
        return self.total - self.kept - self.done - self.running

    @property
    def elapsed(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self.began

    @property
    def remaining(self) -> float | None:
        """Seconds to go if the other tasks take as long as those so far; None where unknown."""
        unfinished = self.left + self.running
        return self.elapsed / self.done * unfinished if self.done and unfinished else None

    def cells(self) -> list[str]:
        """Return the stage as a line of the table."""
        rate = f"{self.rows / self.elapsed:,.0f}" if self.rows else ""
        counts = (self.done + self.kept, self.running, self.left)
        notes = [f"{self.kept:,} kept from an earlier run"] if self.kept else []
        notes += [self.waiting] if self.waiting else []
        remaining = "" if self.remaining is None else _format_clock(self.remaining)
        clocks = (_format_clock(self.elapsed), remaining)
        return [self.name, *(f"{n:,}" for n in counts), rate, *clocks, *notes]

    def sentence(self) -> str:
        """Return the stage as a line of a log."""
        name, done, running, left, rate, elapsed, remaining, *notes = self.cells()
        facts = [f"{done} of {self.total:,} tasks done"]
        facts += [f"{running} running, {left} left"] if self.left + self.running else []
        facts += [f"{rate} rows/s"] if rate else []
        clocks = [elapsed, *([f"about {remaining} to go"] if remaining else [])]
        return f"{name}: {', '.join([*facts, *clocks, *notes])}"


class RunProgress:
    """The stages of a run, one after the other."""

    def __init__(self, line_seconds: float = LINE_SECONDS) -> None:
        self._line_seconds = line_seconds
        self._has_header = False
        self._bar = NotebookBar()

    @contextmanager
    def stage(self, name: str, total: int, kept: int = 0) -> Iterator[StageProgress]:
        """Show a stage of `total` tasks while the block runs; its last state stays."""
        stage = StageProgress(name, total, kept)
        with self._show(stage):
            yield stage

    def _show(self, stage: StageProgress) -> AbstractContextManager[object]:
        if in_notebook():
            self._show_bar(stage)
            return _repeat(lambda: self._show_bar(stage), BAR_SECONDS)
        if not console.is_terminal:
            return _repeat(lambda: _print_line(stage), self._line_seconds)
        line = _TableLine(stage, show_header=not self._has_header)
        self._has_header = True
        return Live(line, console=console, refresh_per_second=4)

    def _show_bar(self, stage: StageProgress) -> None:
        self._bar.show(stage.done + stage.kept, stage.total, stage.sentence())


@dataclass(frozen=True)
class _TableLine:
    """A stage's line of the table, drawn anew at each refresh; the first has the header above."""

    stage: StageProgress
    show_header: bool

    def __rich__(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold", show_header=self.show_header)
        for name, width in _COLUMN_WIDTHS.items():
            table.add_column(name, min_width=width, justify="left" if name == "stage" else "right")
        table.add_column()
        table.add_row(*self.stage.cells())
        return table


@contextmanager
def _repeat(action: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call `action` every so many seconds while the block runs, and once at its end."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(seconds):
            action()

    thread = threading.Thread(target=work, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        action()


def _print_line(stage: StageProgress) -> None:
    console.print(stage.sentence(), soft_wrap=True)


def _format_clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, or hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
