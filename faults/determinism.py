"""Determinism: the same logs, parameters and seed give the same bytes, however they are prepared.

Each variant prepares a case in another way and is compared with the plain preparation of the case,
file by file. Training is repeated likewise.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from pathlib import Path

from faults.outcome import Outcome
from faults.preparations import Case, make_cases
from faults.repetition import repeat_training
from faults.variants import FEW_VARIANTS, LOCAL_VARIANTS, STORE_VARIANTS, Variant
from tests.support.object_store import object_store

_ROWS = 24_000
_FAULTS = 0.05
#: The cases that are prepared in every variant.
_WHOLE = ("criteo", "visits")


def campaign(seed: int, amount: int, folder: Path) -> Outcome:  # noqa: ARG001
    """Try all variants, whatever the `amount`."""
    random.seed(seed)
    outcome = Outcome()
    for case in make_cases(seed, folder, _ROWS):
        place = folder / case.name / "variants"
        if case.name in _WHOLE:
            outcome += compare(seed, case, place, LOCAL_VARIANTS)
            outcome += compare_in_store(seed, case, place)
        else:
            outcome += compare(
                seed, case, place, {name: LOCAL_VARIANTS[name] for name in FEW_VARIANTS}
            )
        if case.name == "visits":
            outcome += repeat_training(seed, case.plain / "out", folder / "runs")
    outcome.notes["variants of determinism"] = f"{outcome.faults:,}, {outcome.survived:,} alike"
    return outcome


def compare(seed: int, case: Case, folder: Path, variants: Mapping[str, Variant]) -> Outcome:
    """Prepare a case in each variant, in a folder of its own, and compare the bytes."""
    outcome = Outcome()
    for name, variant in variants.items():
        place = folder / name
        place.mkdir(parents=True)
        what = f"determinism, seed {seed}, {case.name}, {name}"
        try:
            found = variant(case, place)
        except Exception as error:  # a variant that fails is a finding, and the others are tried
            outcome.fail(f"{what}: {error}")
            continue
        looked_at = found.keys() | ({} if name == "other compression" else case.digests.keys())
        unlike = sorted(f for f in looked_at if found.get(f) != case.digests.get(f))
        if unlike:
            lost = sum(f.startswith("split=") and f not in found for f in unlike)
            outcome.fail(f"{what}: these differ: {', '.join(unlike[:5])}", lost_rows=lost)
        else:
            outcome.survive()
    return outcome


def compare_in_store(
    seed: int, case: Case, folder: Path, names: Collection[str] = tuple(STORE_VARIANTS)
) -> Outcome:
    """Prepare a case from and into an object store of which some requests fail, and compare."""
    with object_store(_FAULTS, seed):
        return compare(seed, case, folder, {name: STORE_VARIANTS[name] for name in names})
