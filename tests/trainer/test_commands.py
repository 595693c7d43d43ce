"""The trainer's commands: where a run goes that was not told where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fae_trainer.__main__ import main
from tests.support.trainer_data import RAGGED, write_dataset
from tests.support.trainer_runs import OPTIONS


def test_a_run_without_out_is_a_new_one_named_by_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path / "data", RAGGED)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["train", "data", *OPTIONS]) == 0
        told = capsys.readouterr().err
        (run,) = re.findall(r"^run in (runs/\d{8}-\d{6}(?:-\d+)?)$", told, re.MULTILINE)
        assert (tmp_path / run / "metrics.json").exists()
    assert len(list((tmp_path / "runs").iterdir())) == 2
