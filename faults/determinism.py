"""Determinism: the same logs, parameters and seed give the same bytes, however they are prepared.

Each cell of a matrix prepares a case in a way of its own and is compared with the case's plain
preparation, file by file. Training is repeated likewise.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from pathlib import Path

from faults.outcome import Outcome
from faults.preparations import Case, cases
from faults.repetition import repeated
from faults.ways import FEW, LOCAL, STORED, Cell
from tests.support.object_store import object_store

_ROWS = 24_000
_FAULTS = 0.05
#: The cases that are prepared in every way.
_WHOLE = ("criteo", "visits")


def campaign(seed: int, amount: int, folder: Path) -> Outcome:  # noqa: ARG001
    """Try all cells; there is no more or less of them."""
    random.seed(seed)
    outcome = Outcome()
    for case in cases(seed, folder, _ROWS):
        place = folder / case.name / "cells"
        if case.name in _WHOLE:
            outcome += compared(seed, case, place, LOCAL)
            outcome += stored(seed, case, place)
        else:
            outcome += compared(seed, case, place, {name: LOCAL[name] for name in FEW})
        if case.name == "visits":
            outcome += repeated(seed, case.plain / "out", folder / "runs")
    outcome.notes["cells of determinism"] = f"{outcome.faults:,}, {outcome.survived:,} alike"
    return outcome


def compared(seed: int, case: Case, folder: Path, cells: Mapping[str, Cell]) -> Outcome:
    """Prepare a case in each way, in a folder of its own, and compare the bytes."""
    outcome = Outcome()
    for name, cell in cells.items():
        place = folder / name
        place.mkdir(parents=True)
        what = f"determinism, seed {seed}, {case.name}, {name}"
        try:
            found = cell(case, place)
        except Exception as error:  # a way that fails is a finding, and the others are tried
            outcome.fail(f"{what}: {error}")
            continue
        looked_at = found.keys() | ({} if name == "other packings" else case.digests.keys())
        unlike = sorted(f for f in looked_at if found.get(f) != case.digests.get(f))
        if unlike:
            lost = sum(f.startswith("split=") and f not in found for f in unlike)
            outcome.fail(f"{what}: these differ: {', '.join(unlike[:5])}", lost_rows=lost)
        else:
            outcome.survive()
    return outcome


def stored(seed: int, case: Case, folder: Path, names: Collection[str] = tuple(STORED)) -> Outcome:
    """Prepare a case from and into an object store some of whose requests fail."""
    with object_store(_FAULTS, seed):
        return compared(seed, case, folder, {name: STORED[name] for name in names})
