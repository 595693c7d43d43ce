"""Show a run: a progress line or a notebook's bar while it trains, and a table of results."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from fae.format.terminal import NotebookBar, in_notebook, make_visible
from fae_trainer.run.history import History

#: Seconds between updates: of the one line of a terminal, and of the lines of a log.
_TERMINAL_SECONDS = 0.2
_LOG_SECONDS = 10.0


class Progress:
    """A line on standard error or a notebook's bar, or nothing if quiet; its context ends it."""

    def __init__(self, samples: int, done: int, quiet: bool, stream: TextIO | None = None) -> None:
        """Make a line that counts from `done` samples to `samples`."""
        self._samples = samples
        self._first = done
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._terminal = self._stream.isatty()
        self._bar = NotebookBar() if in_notebook() else None
        self._shown: History | None = None
        self._every = _TERMINAL_SECONDS if self._terminal or self._bar else _LOG_SECONDS
        self._began = self._last = time.monotonic()

    def show(self, history: History) -> None:
        """Show how far the run is, unless that was shown just now."""
        self._shown = history
        now = time.monotonic()
        if self._quiet or now - self._last < self._every:
            return
        self._last = now
        if self._bar:
            self._move_bar(history)
        else:
            line = self._describe(history, now)
            self._write(line if self._terminal else line + "\n")

    def _move_bar(self, history: History) -> None:
        assert self._bar is not None
        line = self._describe(history, time.monotonic())
        self._bar.show(history.samples, self._samples, line)

    def _describe(self, history: History, now: float) -> str:
        rate = (history.samples - self._first) / (now - self._began)
        left = (self._samples - history.samples) / rate if rate else 0.0
        loss = history.recent_loss  # NaN until the first losses have come from the device
        return (
            f"{history.samples:,} of {self._samples:,} samples, {rate:,.0f} samples/s, "
            + ("" if math.isnan(loss) else f"loss {loss:.4f}, ")
            + f"{left:,.0f} s left"
        )

    def note(self, message: str) -> None:
        """Write a message on a line of its own."""
        if not self._quiet:
            self._write(make_visible(message) + "\n")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._quiet:
            return
        if self._bar and self._shown:
            self._move_bar(self._shown)
        self._write("")

    def _write(self, text: str) -> None:
        """Replace the line of a terminal, or append to a log."""
        self._stream.write(f"\r\x1b[K{text}" if self._terminal else text)
        self._stream.flush()


def format_summary(metrics: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """Return a table of a run's results and the paths of its files."""
    rows = [
        ("", "log loss", "AUC", "accuracy"),
        *(
            (
                split,
                *(_format_metric(metrics[f"{split}_{m}"]) for m in ("logloss", "auc", "accuracy")),
            )
            for split in ("valid", "test")
        ),
    ]
    lines = [f"{a:<6} {b:>9} {c:>9} {d:>9}" for a, b, c, d in rows]
    lines.append(
        f"{metrics['train_samples']:,} samples in {metrics['seconds']:,.1f} s: "
        f"{metrics['samples_per_second']:,.0f} samples/s, {metrics['hot_share']:.1%} hot, "
        f"placement {metrics['placement']} on {metrics['device']}"
    )
    lines += [f"{name:<12} {path}" for name, path in files.items()]
    return "\n".join(lines)


def _format_metric(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.5f}"
