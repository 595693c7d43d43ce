"""Fuzzing: mutated logs, schemas, options and documents, against slow and obvious references.

A case is a function of the campaign's seed and its own number, so that a failure can be repeated:

    python -c "from faults.fuzzing import repeat; repeat(SEED, NUMBER)"
"""

from __future__ import annotations

import faulthandler
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random

from fae.execution.progress import console
from faults.fuzzed_documents import Documents
from faults.fuzzed_logs import Logs
from faults.outcome import Outcome
from faults.trials import Trial, WrongError

#: No case takes a hundredth of that; where one does, the process ends with its stack.
_HANGS = 120
_TRIES = 150
_SHOWN = 1000


def campaign(seed: int, amount: int, folder: Path) -> Outcome:
    """Fuzz for `amount` seconds."""
    until = time.monotonic() + amount
    outcome = run(seed, folder, lambda _: time.monotonic() < until)
    outcome.notes["fuzzing"] = f"{outcome.faults:,} cases in {amount:,} s"
    return outcome


def run(seed: int, folder: Path, goes_on: Callable[[Outcome], bool]) -> Outcome:
    """The cases 0, 1, … as long as `goes_on` says so of what was found."""
    outcome = Outcome()
    with _silent():
        _fuzz(seed, folder, goes_on, outcome)
    return outcome


@contextmanager
def _silent() -> Iterator[None]:
    """Let the pipeline say nothing of its progress."""
    usual, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = usual


def _fuzz(seed: int, folder: Path, goes_on: Callable[[Outcome], bool], outcome: Outcome) -> None:
    for number, trial in enumerate(_trials(seed, folder)):
        if not goes_on(outcome):
            break
        failure = _failure(trial, trial.data, folder)
        if failure is None:
            outcome.survive()
            continue
        small = _minimised(trial, failure, folder)
        failure = _failure(trial, small, folder) or failure
        lost = failure.lost_rows if isinstance(failure, WrongError) else 0
        found = f"{type(failure).__name__}: {failure}"
        told = f"fuzzing, seed {seed}, case {number}: {trial.what} of {_shown(small)}: {found:.500}"
        outcome.fail(told, lost_rows=lost, undetected=int(trial.damaged and not lost))


def repeat(seed: int, number: int) -> None:
    """Run one case again, with the traceback of what it fails with."""
    with tempfile.TemporaryDirectory() as place:
        for at, trial in enumerate(_trials(seed, Path(place))):
            if at == number:
                print(trial.what, trial.data)
                _fresh(Path(place))
                trial.check(trial.data, Path(place) / "case")
                return


def _trials(seed: int, folder: Path) -> Iterator[Trial]:
    """The cases of a seed, without end; each depends on the seed and its number alone."""
    makers = (Logs(seed), Documents(folder / "prepared"))
    number = 0
    while True:
        random = Random(f"{seed}:{number}")
        yield makers[0 if random.random() < 0.7 else 1].trial(random)
        number += 1


def _failure(trial: Trial, data: bytes, folder: Path) -> Exception | None:
    """What a trial of `data` fails with."""
    place = _fresh(folder)
    faulthandler.dump_traceback_later(_HANGS, exit=True, file=sys.__stderr__ or sys.stderr)
    try:
        trial.check(data, place)
    except Exception as error:
        return error
    finally:
        faulthandler.cancel_dump_traceback_later()
    return None


def _fresh(folder: Path) -> Path:
    place = folder / "case"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place


def _minimised(trial: Trial, failure: Exception, folder: Path) -> bytes:
    """Some smaller input that fails alike: pieces are left out while that goes (Zeller's ddmin)."""
    data, size, tries = trial.data, len(trial.data) // 2, 0
    while size and tries < _TRIES:
        at = 0
        while at < len(data) and tries < _TRIES:
            less, tries = data[:at] + data[at + size :], tries + 1
            with suppress(Exception):
                if _alike(_failure(trial, less, folder), failure):
                    data = less
                    continue
            at += size
        size //= 2
    return data


def _alike(one: Exception | None, other: Exception) -> bool:
    """Whether two failures are of one kind: their type and the beginning of their message."""
    return type(one) is type(other) and str(one)[:12] == str(other)[:12]


def _shown(data: bytes) -> str:
    return repr(data) if len(data) <= _SHOWN else f"{data[:_SHOWN]!r}… ({len(data):,} bytes)"
