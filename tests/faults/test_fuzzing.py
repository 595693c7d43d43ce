"""Fuzzing: some cases in each run of the tests, and proof that it finds what is planted."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from fae.execution.progress import console
from fae.ingestion import casting
from faults.fuzzing import run

SEED = 7


def test_no_case_of_faulty_input_ends_badly(tmp_path: Path) -> None:
    outcome = run(SEED, tmp_path, lambda found: found.faults < 60)
    assert outcome.failures == []
    assert outcome.survived == outcome.faults == 60
    assert not console.quiet


def test_a_planted_defect_is_found_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is no number counts as missing.
    monkeypatch.setattr(casting, "_given", lambda raw, _: raw.is_null() & pl.lit(False))
    outcome = run(SEED, tmp_path, lambda found: found.good and found.faults < 40)
    assert outcome.failures
    assert all(f"seed {SEED}, case" in failure for failure in outcome.failures)
