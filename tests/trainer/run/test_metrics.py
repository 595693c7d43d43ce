"""Measures against their definitions."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae_trainer.run.evaluate import evaluate, predict
from fae_trainer.run.metrics import area_under_curve, compute_metrics, log_loss
from tests.support.trainer_data import Shape, write_dataset
from tests.support.trainer_runs import run

pairs = st.lists(st.tuples(st.integers(0, 1), st.integers(-4, 4)), min_size=1, max_size=60)


@given(pairs)
def test_auc_counts_pairs(inputs: list[tuple[int, int]]) -> None:
    label, score = (np.array(values, dtype=np.float64) for values in zip(*inputs, strict=True))
    ahead = [
        0.5 if p == n else float(p > n)
        for p, n in itertools.product(score[label == 1], score[label == 0])
    ]
    found = area_under_curve(label, score)
    assert found == (pytest.approx(np.mean(ahead)) if ahead else None)


def test_log_loss_and_accuracy_by_hand() -> None:
    label, logit = np.array([1.0, 0.0, 1.0, 0.0]), np.array([math.log(3), 0.0, -1000.0, 5.0])
    expected = (-math.log(0.75) - math.log(0.5) + 1000 + math.log1p(math.exp(5))) / 4
    assert log_loss(label, logit) == pytest.approx(expected)
    assert compute_metrics(label, logit)["accuracy"] == 0.5


def test_what_is_undefined_is_none() -> None:
    nothing = np.empty(0)
    assert compute_metrics(nothing, nothing) == {"logloss": None, "auc": None, "accuracy": None}
    one_class = compute_metrics(np.ones(3), np.zeros(3))
    assert one_class["auc"] is None
    assert one_class["logloss"] == pytest.approx(math.log(2))


def test_rows_of_weight_0_and_without_a_label_are_not_counted(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", Shape(weighted=True))
    run(tmp_path / "data", tmp_path / "run")
    label, score = predict(tmp_path / "data", tmp_path / "run", "test", device="cpu")
    rows = [
        row
        for kind in ("hot", "cold")
        for file in sorted((tmp_path / f"data/split=test/temperature={kind}").iterdir())
        for row in pq.ParquetFile(file).read().to_pylist()
    ]
    counted = [row["label"] >= 0 and row["weight"] > 0 for row in rows]
    assert 0 < sum(counted) < len(rows)
    assert np.isfinite(score).all()
    assert (~np.isnan(label)).tolist() == counted
    expected = compute_metrics(
        np.array([row["label"] for row in rows], dtype=float)[counted],
        np.log(score[counted] / (1 - score[counted])),
    )
    found = evaluate(tmp_path / "data", tmp_path / "run", "test", device="cpu")
    assert found["test_auc"] == pytest.approx(expected["auc"])
    assert found["test_logloss"] == pytest.approx(expected["logloss"], rel=1e-5)
