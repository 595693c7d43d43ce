"""The benchmark for a GPU runs to its end, on a CPU by Triton's interpreter."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from fae_trainer.embedding.device_rows import runs_kernels
from tests.support.project import ROOT


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU runs the whole benchmark")
@pytest.mark.skipif(not runs_kernels(torch.device("cpu")), reason="Triton is not installed")
def test_it_checks_measures_and_reports_what_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu

    check = gpu.check
    monkeypatch.setattr(gpu, "check", lambda size, steps: check(2, 1))  # the interpreter is slow
    whole = gpu.Case("kaggle", 2, "gpu")
    cases = [whole, gpu.replace(whole, placement="hybrid"), gpu.replace(whole, placement="none")]
    monkeypatch.setattr(gpu, "list_cases", lambda quick: cases)
    monkeypatch.setattr(gpu, "INPUTS", 4)
    options = ["--quick", "--seconds", "600", "--json", str(tmp_path / "gpu.json")]
    monkeypatch.setattr(sys, "argv", ["gpu.py", *options])
    gpu.main()
    found = json.loads((tmp_path / "gpu.json").read_text())
    (worst,) = found["worst"].values()
    assert set(worst) >= {"cpu", "gpu", "uva", "hot-cold", "hot-cold not ahead", "hybrid", "fae"}
    assert max(worst.values()) < 1e-15
    assert [rate["placement"] for rate in found["rates"]] == ["gpu", "hybrid"]
    assert all(rate["samples_per_second"] > 0 for rate in found["rates"])
    (failure,) = found["failed"]
    assert "--placement is none" in failure
    assert "failed: " in capsys.readouterr().out
