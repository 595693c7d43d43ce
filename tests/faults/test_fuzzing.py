"""Fuzzing: a few examples of each property, and proof that a planted defect is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fae.execution.progress import console
from fae.ingestion.cast.rows import ParsedLines
from fae.ingestion.parser import parse_text
from faults import fuzzed_logs
from faults.fuzzing import Property, fuzz, make_properties

SEED = 3


@pytest.fixture(scope="module")
def properties(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Property]:
    """Return all properties, with the data sets that they need."""
    return make_properties(tmp_path_factory.mktemp("fuzzing"))


def test_hostile_input_is_refused_or_read_right(
    properties: Mapping[str, Property], tmp_path: Path
) -> None:
    for name, tested in properties.items():
        examples = 20 if name == "log" else 5
        outcome = fuzz(name, tested, SEED, tmp_path / "case", examples)
        assert outcome.failures == []
        assert outcome.survived >= examples
    assert not console.quiet


def test_a_planted_defect_is_found_with_a_small_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_a_row(*arguments: Any) -> ParsedLines:
        parsed = parse_text(*arguments)
        return dataclasses.replace(parsed, rows=parsed.rows[:-1])

    monkeypatch.setattr(fuzzed_logs, "parse_text", lose_a_row)
    outcome = fuzz("log", fuzzed_logs.LOG_PROPERTIES["log"], SEED, tmp_path / "case", 40)
    (failure,) = outcome.failures
    assert f"seed {SEED}, log: WrongError: the fast parser gives " in failure
    assert "example=LogFile(" in failure
