"""Faulty input: every kind of it has a stated outcome, and nothing is lost without a word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from fae.execution.executor import Executor
from fae.format.errors import FaeError
from fae.format.manifest import Manifest
from fae.ingestion.staging import Staging
from fae.logs.files import find_logs
from fae.preparation import prepare
from tests.support.command_line import fae
from tests.support.hostile_logs import CORPUS, Hostile, table
from tests.support.oracle import Options
from tests.support.project import ROOT
from tests.support.small_logs import parameters_of, rejects_of, staged_rows

DOCS = ROOT / "docs" / "faulty-input.md"


def told(case: Hostile, place: Path) -> str:
    """What the user is told when the logs of a case are prepared, all rejects borne."""
    patterns = case.write(place / "logs")
    if case.then is None:
        schema = place / "schema.yaml"
        schema.write_text(yaml.safe_dump(case.schema.document()), encoding="utf-8")
        command = ["prepare", *patterns, "--schema", str(schema), "--out", str(place / "out")]
        command += ["--max-reject-share", "1", "--rule", "accesses", "--hot-budget", "1MiB"]
        result = fae(*command, "--keep-work")
        assert result.exit_code == (0 if case.rows is not None else 1), result.output
        assert "Traceback" not in result.output
        return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", result.output).split())
    logs = find_logs(patterns, case.schema)
    case.then(place / "logs")
    with pytest.raises(FaeError) as caught:
        prepare(logs, case.schema, place / "out", Executor(1), parameters_of(Options(10**6)))
    return str(caught.value)


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_it_comes_to_what_is_stated(case: Hostile, tmp_path: Path) -> None:
    said = told(case, tmp_path)
    out, work = tmp_path / "out", tmp_path / "out.work"
    if case.rows is None:
        assert case.refused in said
        assert not out.exists()
        return
    staging = Staging.read(work / "staging")
    assert staged_rows(staging) == case.rows
    found = rejects_of(out / "rejects")
    assert [(r["file"], r["line"], r["column"], r["reason"]) for r in found] == list(case.rejects)
    leaves = Manifest.read(out).splits.values()
    assert sum(leaf.rows for split in leaves for leaf in split.values()) == len(case.rows)


def test_the_documentation_states_the_outcomes() -> None:
    assert table() in DOCS.read_text(encoding="utf-8")
