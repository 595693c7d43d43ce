"""The benchmark for a GPU runs to its end, on a simulated one."""

from __future__ import annotations

import pytest
from tests.support.captured_graphs import REPLAYS
from tests.support.simulated_cuda import simulated

from fae_trainer.model.recommender import Recommender
from tests.support.project import ROOT

SHARE = 0.1


def test_every_placement_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu

    monkeypatch.setattr(gpu, "importable", lambda: False)
    work = gpu.workload(0.0001, 16, 1 << 9, 2)
    given = gpu.batches(work, gpu.manifest(work, SHARE), 64, False)
    assert {batch.hot for batch in given} == {True, False}
    measured = []
    with simulated():
        given = [batch.pin_memory() for batch in given]
        for placement, _, found in gpu.built("kaggle", work, "cuda", [SHARE]):
            assert isinstance(found, Recommender)
            found.use_graph_step(64)
            assert gpu.samples_per_second(found, given, 0.05) > 0
            measured.append(placement)
            if placement == "hot-cold":
                line = gpu.detail(found, given, 1.0, 1e9)
                assert "hot step: plan" in line
                assert "cold step: plan" in line
    assert measured == ["gpu", "hot-cold", "fae", "hybrid", "cpu"]
    assert REPLAYS
