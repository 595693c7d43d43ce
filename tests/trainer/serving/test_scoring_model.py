"""A run as one module scores as the trainer's own code does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import fae
from fae.api.exported import fill_inputs
from fae.format.manifest import Manifest
from fae_trainer.run import checkpoint, evaluate
from fae_trainer.serving.scoring_model import ScoringModel
from tests.support.trainer_data import RAGGED, SEVERAL_DIMS, Shape, write_dataset
from tests.support.trainer_runs import run

LISTS = replace(RAGGED, columns=RAGGED.columns[1::2], tables={"items": (60, 20), "c": (30, 4)})


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        (replace(SEVERAL_DIMS, dense=0), {"bottom_mlp": ()}),
        (Shape(weighted=True), {"dtype": "float64"}),
        (LISTS, {}),
    ],
    ids=["several dims without dense features", "float64 without lists", "lists alone"],
)
def test_it_scores_as_evaluate_does(tmp_path: Path, shape: Shape, options: dict[str, str]) -> None:
    write_dataset(tmp_path / "DIR", shape)
    run(tmp_path / "DIR", tmp_path / "RUN", epochs=1, lr=0.5, **options)
    manifest, saved = Manifest.read(tmp_path / "DIR"), checkpoint.load(tmp_path / "RUN")
    model = ScoringModel(manifest, saved)
    rows: pl.DataFrame = fae.open_dataset(tmp_path / "DIR").read("test")
    inputs = fill_inputs(rows, model.inputs).values()
    logit, score = model(*map(torch.from_numpy, inputs))
    _, expected = evaluate.predict(tmp_path / "DIR", tmp_path / "RUN", "test", device="cpu")
    assert np.allclose(torch.sigmoid(logit.double()), expected, rtol=0, atol=1e-6)
    assert np.allclose(score, expected, rtol=0, atol=1e-6)
