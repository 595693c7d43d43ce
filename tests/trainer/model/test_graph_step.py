"""Steps in fixed shapes equal plain ones; mixed precision and clipping do what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fae.format.errors import ParameterError
from fae.format.manifest import Manifest
from fae_trainer.data.loader import HotColdLoader
from fae_trainer.embedding.planner import Slots
from fae_trainer.model import graph_step
from fae_trainer.model.graph_step import GraphStep, StepResult
from fae_trainer.model.recommender import Recommender
from fae_trainer.run.train import schedule_epoch
from tests.support.trainer_batches import epoch_batches
from tests.support.trainer_data import RAGGED, write_dataset
from tests.support.trainer_runs import FITS, assert_same, chosen, run, state, three_tables, trained


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return three_tables(tmp_path / "data")


@pytest.mark.parametrize("placement", FITS)
@pytest.mark.parametrize("optimizer", ["sgd", "rowwise_adagrad"])
def test_fixed_shapes_give_the_same_bits(data: Path, optimizer: str, placement: str) -> None:
    p = chosen(data, optimizer=optimizer, placement=placement, clip_norm=0.05)
    found, fits = trained(p, fixed=True)
    assert_same(found, trained(p)[0])
    assert sum(fits) == FITS[placement]


def test_cold_rows_use_the_smallest_buffer_that_fits(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_step, "_MIN_COLD_ROWS", 2)
    monkeypatch.setattr(graph_step, "_SIZE_RATIO", 2)
    sizes: set[int] = set()

    class Noting(GraphStep):
        """Notes the sizes of its arrays."""

        def _run(self, cold: Tensor) -> StepResult:
            sizes.add(len(cold))
            return super()._run(cold)

    monkeypatch.setattr("fae_trainer.model.recommender.GraphStep", Noting)
    p = chosen(data, batch_size=3, optimizer="rowwise_adagrad")
    assert_same(trained(p, fixed=True)[0], trained(p)[0])
    assert {0, 2, 4} <= sizes <= {0, 2, 4, 8, 16}


@pytest.mark.parametrize("placement", ["gpu", "hot-cold", "hybrid", "cpu"])
def test_samples_score_alike_by_slots_and_by_lookups(data: Path, placement: str) -> None:
    p = chosen(data, placement=placement)
    model = Recommender(Manifest.read(data), p)
    model.initialise(1)
    given = list(HotColdLoader(data, "valid", 16, shuffle=False))
    assert {batch.hot for batch in given} == {True, False}
    scores = []
    for model.scores_by_slots in (True, False):
        plans = list(model.plan_scores(given))
        assert {isinstance(plan, Slots) for _, plan in plans} == {model.scores_by_slots}
        scores.append(torch.cat([model.logits(batch, plan) for batch, plan in plans]))
    assert torch.equal(*scores)
    assert len(scores[0].unique()) > 30


def test_batches_of_lists_take_plain_steps(tmp_path: Path) -> None:
    write_dataset(tmp_path / "ragged", RAGGED)
    p = chosen(tmp_path / "ragged")
    found, fits = trained(p, fixed=True)
    assert_same(found, trained(p)[0])
    assert not any(fits)


def test_mixed_precision_is_near_and_the_same_under_every_placement(
    data: Path, tmp_path: Path
) -> None:
    for placement in ("gpu", "hot-cold", "fae"):
        run(data, tmp_path / placement, placement=placement, amp="bf16")
    mixed = state(tmp_path / "gpu")
    for placement in ("hot-cold", "fae"):
        assert_same(state(tmp_path / placement), mixed)
    run(data, tmp_path / "plain")
    plain = state(tmp_path / "plain")
    for kind in ("rows", "network"):
        for name, values in plain[kind].items():
            assert mixed[kind][name].dtype == torch.float32
            torch.testing.assert_close(mixed[kind][name], values, rtol=0.1, atol=0.02)
    assert not torch.equal(mixed["rows"]["a"], plain["rows"]["a"])
    p = chosen(data, amp="bf16")
    assert_same(trained(p, fixed=True)[0], trained(p)[0])


def test_mixed_precision_needs_float32(data: Path) -> None:
    with pytest.raises(ParameterError, match="--dtype is float64; it must be float32 with --amp"):
        chosen(data, amp="bf16", dtype="float64")
    with pytest.raises(ParameterError, match="--clip-norm is -1"):
        chosen(data, clip_norm=-1.0)


def test_clipping_bounds_the_networks_gradient_and_no_rows(data: Path) -> None:
    manifest = Manifest.read(data)
    given = {"optimizer": "sgd", "dense_lr": 0.5}
    ends = {}
    for norm in (0.0, 1e-3, 1e3):
        p = chosen(data, clip_norm=norm, **given)
        recommender = Recommender(manifest, p)
        recommender.initialise(0)
        before = torch.cat([w.detach().flatten() for w in recommender.network.parameters()])
        batches = epoch_batches(data, manifest, 16, schedule_epoch(manifest, p, 0), 0)
        recommender.step(*next(iter(recommender.plan_steps(batches))))
        after = torch.cat([w.detach().flatten() for w in recommender.network.parameters()])
        ends[norm] = (float((after - before).norm()), recommender.tables.rows(), after)
    assert ends[0.0][0] > 0.5e-3
    assert ends[1e-3][0] == pytest.approx(0.5e-3, rel=1e-2)
    assert torch.equal(ends[1e3][2], ends[0.0][2])
    assert_same(ends[1e-3][1], ends[0.0][1])


@pytest.mark.parametrize("placement", FITS)
@pytest.mark.usefixtures("cuda")
def test_the_graph_equals_launching_one_by_one(data: Path, placement: str) -> None:
    given = {"device": "cuda", "placement": placement, "optimizer": "rowwise_adagrad"}
    graph, fits = trained(chosen(data, **given))
    plain, _ = trained(chosen(data, **given, cuda_graph=False))
    assert any(fits)
    np.testing.assert_allclose(graph["losses"].cpu(), plain["losses"].cpu(), rtol=1e-6)
