"""Fuzzing: feed hostile logs, schemas, options and documents to their readers.

Each property says what must hold of every example of a Hypothesis strategy. A failure is reported
with the smallest example that Hypothesis finds, and the campaign's seed draws the same examples
again.
"""

from __future__ import annotations

import faulthandler
import itertools
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis.strategies import SearchStrategy

from fae.execution.progress import console
from faults.outcome import Outcome

#: No example takes a hundredth of that; if one does, the process ends with its stack.
_HANG_SECONDS = 120
_EXAMPLES_PER_ROUND = 50
_MAX_MESSAGE = 2000


class WrongError(AssertionError):
    """The program succeeded with a wrong result, which lacks `lost_rows` rows."""

    def __init__(self, message: str, lost_rows: int = 0) -> None:
        super().__init__(message)
        self.lost_rows = lost_rows


@dataclass(frozen=True)
class Property:
    """What must hold of every example: `check` gets one and an empty folder, and raises otherwise.

    `damaged` says that no example may be accepted as good.
    """

    examples: SearchStrategy[Any]
    check: Callable[[Any, Path], None]
    damaged: bool = False


def campaign(seed: int, amount: int, folder: Path) -> Outcome:
    """Fuzz for `amount` seconds, in rounds over all properties."""
    outcome, end = Outcome(), time.monotonic() + amount
    properties = make_properties(folder / "prepared")
    for number in itertools.count():
        for name, one in properties.items():
            outcome += fuzz(
                name, one, seed + number, folder / "case", _EXAMPLES_PER_ROUND, until=end
            )
        if time.monotonic() >= end:
            break
    outcome.notes["fuzzing"] = f"{outcome.faults:,} examples in {amount:,} s"
    return outcome


def make_properties(folder: Path) -> Mapping[str, Property]:
    """Return all properties by name; those of documents read data sets prepared in `folder`."""
    from faults.fuzzed_documents import document_properties
    from faults.fuzzed_logs import LOG_PROPERTIES

    return {**LOG_PROPERTIES, **document_properties(folder)}


def fuzz(
    name: str, tested: Property, seed: int, folder: Path, examples: int, until: float = float("inf")
) -> Outcome:
    """Check a property on as many examples, in an empty `folder` each, until time is up."""
    outcome = Outcome()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(example=tested.examples)
    def check(example: Any) -> None:
        if time.monotonic() >= until:
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        faulthandler.dump_traceback_later(
            _HANG_SECONDS, exit=True, file=sys.__stderr__ or sys.stderr
        )
        try:
            tested.check(example, folder)
        finally:
            faulthandler.cancel_dump_traceback_later()
        outcome.survive()

    try:
        with _silence():
            check()
    except Exception as error:
        lost = getattr(error, "lost_rows", 0)
        what = f"{type(error).__name__}: {error}; {' '.join(getattr(error, '__notes__', ()))}"
        outcome.fail(
            f"fuzzing, seed {seed}, {name}: {what:.{_MAX_MESSAGE}}",
            lost_rows=lost,
            undetected=int(tested.damaged and not lost),
        )
    return outcome


@contextmanager
def _silence() -> Iterator[None]:
    """Print no progress during the block."""
    usual, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = usual
