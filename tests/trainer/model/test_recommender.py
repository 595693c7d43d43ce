"""Partitioned training equals training plain tables, step by step and row by row.

The reference below shares nothing with the trainer but the order of batches and the first weights:
it reads the files by itself, keeps one whole tensor a table, and lets autograd make dense
gradients.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from fae.format.errors import ParameterError
from fae.format.manifest import Manifest
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import PLACEMENTS, TrainParameters, resolve_parameters
from fae_trainer.run.train import schedule_epoch
from tests.support.trainer_batches import epoch_batches
from tests.support.trainer_data import RAGGED, SEVERAL_DIMS, Column, Shape, write_dataset
from tests.support.trainer_runs import assert_same, chosen, run, state, three_tables

BATCH = 16
EDGES = {
    "plain": Shape(wide_ids=True),
    "ragged": RAGGED,
    "no dense": Shape(dense=0),
    "ragged, no dense": Shape(tables=RAGGED.tables, columns=RAGGED.columns, dense=0),
    "all hot": Shape(tables={"a": (50, 50), "b": (7, 7), "c": (30, 30), "d": (40, 40)}, cold=0),
    "none hot": Shape(tables={"a": (50, 0), "b": (7, 0), "c": (30, 0), "d": (40, 0)}, hot=0),
    "one row, one feature": Shape(tables={"a": (1, 1)}, columns=(Column("a"),)),
    "weights, no label": Shape(weighted=True),
    "ragged, weights": Shape(tables=RAGGED.tables, columns=RAGGED.columns, weighted=True),
    "three dims": Shape(dims={"a": 8, "c": 2}),
    "three dims, no dense": Shape(dims={"a": 8, "c": 2}, dense=0),
    "three dims, ragged": SEVERAL_DIMS,
    "only lists": Shape(tables={"a": (20, 5)}, columns=(Column("a", multi=True),), dense=0),
}


def run_parameters(data: Path, manifest: Manifest, **given: object) -> TrainParameters:
    small = {"top_mlp": (8, 1), "batch_size": BATCH, "device": "cpu", "seed": 3, "epochs": 2}
    if manifest.features.dense:
        small["bottom_mlp"] = (8, 4)
    return resolve_parameters({"data": str(data), "out": "unused", **small, **given}, manifest)


def trained(data: Path, manifest: Manifest, p: TrainParameters) -> tuple[list[float], Recommender]:
    recommender = Recommender(manifest, p)
    recommender.initialise(p.seed)
    losses = []
    for epoch in range(p.epochs):
        order = schedule_epoch(manifest, p, epoch)
        batches = epoch_batches(data, manifest, p.batch_size, order, 0)
        with recommender.prefetch(batches, 4) as ahead:
            losses += [recommender.step(*pair).item() for pair in ahead]
    return losses, recommender


class Reference:
    """Plain tables, a plain network, and both optimisers spelt out."""

    def __init__(self, data: Path, manifest: Manifest, p: TrainParameters) -> None:
        start = Recommender(manifest, p)
        start.initialise(p.seed)
        self.data, self.manifest, self.p = data, manifest, p
        self.dtype = start.dtype
        self.tables = {k: v.clone().requires_grad_() for k, v in start.tables.rows().items()}
        self.row_sums = {k: torch.zeros(len(v), dtype=v.dtype) for k, v in self.tables.items()}
        weights = start.network.state_dict().items()
        self.weights = {k: v.clone().requires_grad_() for k, v in weights}
        self.sums = {k: torch.zeros_like(v) for k, v in self.weights.items()}

    def layers(self, name: str, x: torch.Tensor, last_relu: bool) -> torch.Tensor:
        indices = sorted({int(k.split(".")[1]) for k in self.weights if k.startswith(name)})
        for index in indices:
            x = x @ self.weights[f"{name}.{index}.weight"].T + self.weights[f"{name}.{index}.bias"]
            if last_relu or index != indices[-1]:
                x = x.clamp(min=0)
        return x

    def logit(self, rows: list[dict[str, object]]) -> torch.Tensor:
        features = self.manifest.features
        vectors = []
        dims = list(dict.fromkeys(table.dim for table in self.manifest.tables))
        for feature in sorted(
            features.sparse, key=lambda f: dims.index(self.manifest.table(f.table).dim)
        ):
            table = self.tables[feature.table]
            pools = []
            for row in rows:
                ids = row[feature.name] if feature.multi else [row[feature.name]]
                pool = torch.zeros(table.shape[1], dtype=self.dtype)
                for one in ids:
                    pool = pool + table[one]
                pools.append(pool)
            pooled = torch.stack(pools)
            projection = self.weights.get(f"projections.{table.shape[1]}.weight")
            vectors.append(pooled if projection is None else pooled @ projection.T)
        if features.dense:
            dense = torch.tensor([[row[n] for n in features.dense] for row in rows])
            straight = self.layers("bottom", dense.to(self.dtype), last_relu=True)
            vectors.insert(0, straight)
        else:
            straight = sum(vectors)
        dots = [(vectors[i] * vectors[j]).sum(1) for i in range(len(vectors)) for j in range(i)]
        return self.layers("top", torch.cat([straight, *(d[:, None] for d in dots)], 1), False)[
            :, 0
        ]

    def step(self, rows: list[dict[str, object]]) -> float:
        label = torch.tensor([max(row["label"], 0) for row in rows], dtype=self.dtype)
        weight = torch.tensor([row.get("weight", 1.0) * (row["label"] >= 0) for row in rows])
        chance = torch.sigmoid(self.logit(rows))
        each = -(label * chance.log() + (1 - label) * (1 - chance).log())
        loss = (weight * each).mean()
        loss.backward()
        adagrad = self.p.optimizer == "rowwise_adagrad"
        with torch.no_grad():
            for name, table in self.tables.items():
                gradient = torch.zeros_like(table) if table.grad is None else table.grad
                step = gradient
                if adagrad:
                    touched = (gradient != 0).any(1)
                    self.row_sums[name] += (gradient**2).mean(1)
                    root = self.row_sums[name].sqrt() + 1e-8
                    step = torch.where(touched[:, None], gradient / root[:, None], 0)
                table -= self.p.lr * step
                table.grad = None
            for name, weight in self.weights.items():
                step = weight.grad
                if adagrad:
                    self.sums[name] += weight.grad**2
                    step = weight.grad / (self.sums[name].sqrt() + 1e-10)
                weight -= self.p.dense_lr * step
                weight.grad = None
        return loss.item()

    def train(self) -> list[float]:
        batches = {}
        for kind, leaf in self.manifest.splits["train"].items():
            rows = [
                row
                for file in leaf.files
                for row in pq.ParquetFile(self.data / file.path).read().to_pylist()
            ]
            batches[kind] = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
        losses = []
        for epoch in range(self.p.epochs):
            order = schedule_epoch(self.manifest, self.p, epoch)
            taken = {"hot": 0, "cold": 0}
            for position in range(order.batches):
                kind = "hot" if order.is_hot(position) else "cold"
                losses.append(self.step(batches[kind][taken[kind]]))
                taken[kind] += 1
        return losses


def test_a_network_of_another_dim_than_any_table_equals_plain_tables(tmp_path: Path) -> None:
    data = tmp_path / "data"
    manifest = write_dataset(data, SEVERAL_DIMS)
    p = run_parameters(data, manifest, bottom_mlp=(8, 5), dtype="float64")
    losses, recommender = trained(data, manifest, p)
    assert recommender.network.state_dict()["projections.4.weight"].shape == (5, 4)
    np.testing.assert_allclose(losses, Reference(data, manifest, p).train(), rtol=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "rowwise_adagrad"])
@pytest.mark.parametrize("edge", EDGES)
def test_training_equals_plain_tables(tmp_path: Path, edge: str, optimizer: str) -> None:
    manifest = write_dataset(tmp_path / "data", EDGES[edge])
    tolerances = {"float64": 1e-12}
    if edge == "ragged":
        tolerances["float32"] = 1e-5
    for dtype, tolerance in tolerances.items():
        p = run_parameters(tmp_path / "data", manifest, optimizer=optimizer, dtype=dtype)
        losses, recommender = trained(tmp_path / "data", manifest, p)
        reference = Reference(tmp_path / "data", manifest, p)
        np.testing.assert_allclose(losses, reference.train(), rtol=tolerance)
        for name, rows in recommender.tables.rows().items():
            expected = reference.tables[name].detach()
            torch.testing.assert_close(rows, expected, rtol=tolerance * 50, atol=tolerance * 5)
            if optimizer == "rowwise_adagrad":
                state = recommender.tables.states()[name][:, 0]
                torch.testing.assert_close(
                    state, reference.row_sums[name], rtol=tolerance * 50, atol=tolerance
                )


@pytest.mark.parametrize(
    ("edge", "optimizer"),
    [
        ("plain", "sgd"),
        ("plain", "rowwise_adagrad"),
        ("ragged", "rowwise_adagrad"),
        ("none hot", "rowwise_adagrad"),
        ("all hot", "rowwise_adagrad"),
        ("three dims, ragged", "rowwise_adagrad"),
    ],
)
def test_placements_give_the_same_bits(tmp_path: Path, edge: str, optimizer: str) -> None:
    manifest = write_dataset(tmp_path / "data", EDGES[edge])
    runs = {
        placement: trained(
            tmp_path / "data",
            manifest,
            run_parameters(tmp_path / "data", manifest, optimizer=optimizer, placement=placement),
        )
        for placement in PLACEMENTS
    }
    losses, recommender = runs["gpu"]
    for other_losses, other in runs.values():
        assert other_losses == losses
        for name, rows in recommender.tables.rows().items():
            assert torch.equal(other.tables.rows()[name], rows)
            assert torch.equal(other.tables.states()[name], recommender.tables.states()[name])


def test_a_hot_batch_needs_no_cold_row(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", RAGGED)
    p = run_parameters(tmp_path / "data", manifest)
    recommender = Recommender(manifest, p)
    recommender.initialise(0)
    (tables,) = recommender.tables.groups
    before = tables.cold.rows.clone()
    batches = epoch_batches(tmp_path / "data", manifest, BATCH, schedule_epoch(manifest, p, 0), 0)
    for batch, plan in recommender.plan(batches):
        if batch.hot:
            assert plan.lookups is not None
            assert not any(len(lookup.distinct.cold) for lookup in plan.lookups)
            recommender.step(batch, plan)
    assert torch.equal(tables.cold.rows, before)


@pytest.mark.parametrize("shape", [RAGGED, SEVERAL_DIMS], ids=["one dim", "three dims"])
def test_mixed_precision_is_near_and_the_same_under_every_placement(
    tmp_path: Path, shape: Shape
) -> None:
    data = tmp_path / "data"
    write_dataset(data, shape)
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


def test_mixed_precision_needs_float32(tmp_path: Path) -> None:
    data = three_tables(tmp_path / "data")
    with pytest.raises(ParameterError, match="--dtype is float64; it must be float32 with --amp"):
        chosen(data, amp="bf16", dtype="float64")
    with pytest.raises(ParameterError, match="--clip-norm is -1"):
        chosen(data, clip_norm=-1.0)


def test_clipping_bounds_the_networks_gradient_and_no_rows(tmp_path: Path) -> None:
    data = three_tables(tmp_path / "data")
    manifest = Manifest.read(data)
    given = {"optimizer": "sgd", "dense_lr": 0.5}
    ends = {}
    for norm in (0.0, 1e-3, 1e3):
        p = chosen(data, clip_norm=norm, **given)
        recommender = Recommender(manifest, p)
        recommender.initialise(0)
        before = torch.cat([w.detach().flatten() for w in recommender.network.parameters()])
        batches = epoch_batches(data, manifest, 16, schedule_epoch(manifest, p, 0), 0)
        recommender.step(*next(iter(recommender.plan(batches))))
        after = torch.cat([w.detach().flatten() for w in recommender.network.parameters()])
        ends[norm] = (float((after - before).norm()), recommender.tables.rows(), after)
    assert ends[0.0][0] > 0.5e-3
    assert ends[1e-3][0] == pytest.approx(0.5e-3, rel=1e-2)
    assert torch.equal(ends[1e3][2], ends[0.0][2])
    assert_same(ends[1e-3][1], ends[0.0][1])


@pytest.mark.parametrize("placement", ["gpu", "uva", "hot-cold", "fae"])
def test_a_gpu_without_triton_is_told_what_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, placement: str
) -> None:
    monkeypatch.setattr("fae_trainer.model.recommender.runs_kernels", lambda _: False)
    p = chosen(three_tables(tmp_path / "data"), placement=placement)
    there = dataclasses.replace(p, device="cuda")
    with pytest.raises(ParameterError, match=f"{placement} needs Triton.* --placement hybrid"):
        Recommender(Manifest.read(tmp_path / "data"), there)
