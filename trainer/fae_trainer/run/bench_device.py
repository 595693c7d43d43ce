"""Measure what hot samples, cold samples and cold accesses cost on this machine.

A sample takes a time, a cold one takes more, and each access to a cold row takes a time. Where the
device reads cold rows itself it does so beside the network, so that a part of their time is hidden:
only what exceeds that part counts. `fae calibrate` weighs hot sets by these times.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fae.format.budget import Budget, Embedding
from fae.format.integrity import DataFile
from fae.format.manifest import (
    LABEL,
    SPLITS,
    TEMPERATURES,
    VERSION,
    Features,
    Leaf,
    Manifest,
    SparseFeature,
    Table,
)
from fae_trainer.data.batches import Batch
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import resolve_parameters
from fae_trainer.run.evaluate import resolve_device

#: The model that is timed: Criteo's features, and tables too large for the caches.
TABLES, DENSE, DIM = 26, 13, 16
TABLE_ROWS, HOT_ROWS = 200_000, 20_000
#: The cold features of a sample in the kinds of batches that are timed.
KINDS = NONE, FEW, MANY, ALL = (0, 1, 13, 26)
WARM_UP_ROUNDS, ROUNDS = 2, 8
#: Batches of a kind that are timed together, so that the device reads ahead as in training.
BATCHES = 4


def measure_device(options: dict[str, Any]) -> dict[str, Any]:
    """Return the device profile of this machine, as `fit_profile` describes it.

    `options` has `device`, `batch_size` and `threads` if the user chose them. Kinds of batches
    alternate, and the median of each is used.
    """
    manifest = make_manifest([TABLE_ROWS] * TABLES, [HOT_ROWS] * TABLES, DIM, DENSE)
    p = resolve_device(resolve_parameters({"data": "", "out": "", **options}, manifest))
    recommender = Recommender(manifest, p)
    recommender.initialise(p.seed)
    rng = np.random.default_rng(p.seed)
    kinds = {cold: [_make_batch(rng, p.batch_size, cold) for _ in range(BATCHES)] for cold in KINDS}
    if p.device == "cuda":
        kinds = {cold: [batch.pin_memory() for batch in made] for cold, made in kinds.items()}
    times: dict[int, list[float]] = {cold: [] for cold in kinds}
    for round_number in range(WARM_UP_ROUNDS + ROUNDS):
        for cold, batches in kinds.items():
            seconds = _time_steps(recommender, batches)
            if round_number >= WARM_UP_ROUNDS:
                times[cold].append(seconds)
    medians = {cold: statistics.median(found) / p.batch_size for cold, found in times.items()}
    return {
        "device": torch.cuda.get_device_name() if p.device == "cuda" else "cpu",
        "batch_size": p.batch_size,
        **fit_profile(medians),
    }


def fit_profile(seconds: dict[int, float]) -> dict[str, float]:
    """Return the costs of samples and of cold accesses that explain the seconds of a sample.

    `seconds` are those with NONE, FEW, MANY and ALL of the features cold. Many accesses give the
    time of one. The line through them says what a sample without any would take: if that is less
    than a hot sample takes, the difference is hidden behind it.
    """
    hot = seconds[NONE]
    access = max((seconds[ALL] - seconds[MANY]) / (ALL - MANY), 0.0)
    hidden = max(hot - (seconds[MANY] - MANY * access), 0.0)
    exposed = max(FEW * access - hidden, 0.0)
    return {
        "seconds_per_hot_input": hot,
        "seconds_per_cold_input": max(seconds[FEW] - exposed, hot),
        "seconds_per_cold_access": access,
        "seconds_hidden_per_input": hidden,
    }


def _time_steps(recommender: Recommender, batches: Sequence[Batch]) -> float:
    """Return the seconds of a training step on one of the batches, with the device's work."""
    planned = list(recommender.plan(batches))
    if recommender.device.type == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    for batch, plan in planned:
        recommender.step(batch, plan)
    if recommender.device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - begin) / len(batches)


def _make_batch(rng: np.random.Generator, samples: int, cold_features: int) -> Batch:
    """Return random samples whose first `cold_features` ids are cold rows, the others hot."""
    ids = rng.integers(0, HOT_ROWS, (samples, TABLES), dtype=np.int32)
    ids[:, :cold_features] = rng.integers(HOT_ROWS, TABLE_ROWS, (samples, cold_features))
    label = torch.from_numpy(rng.integers(0, 2, samples).astype(np.float32))
    dense = torch.from_numpy(rng.random((samples, DENSE), dtype=np.float32))
    return Batch(label, dense, torch.from_numpy(ids.ravel()), None, cold_features == 0)


def make_manifest(rows: Sequence[int], hot_rows: Sequence[int], dim: int, dense: int) -> Manifest:
    """Return a data set without files: a sparse feature for each table, and `dense` dense ones."""
    names = [f"C{number}" for number in range(1, len(rows) + 1)]
    vocabulary = DataFile("vocabulary/none.parquet", max(rows), 0, "")  # as many values as rows
    sizes = zip(names, rows, hot_rows, strict=True)
    return Manifest(
        version=VERSION,
        fingerprint="benchmark",
        seed=0,
        embedding=Embedding("float32", "rowwise_adagrad"),
        budget=Budget(0, 0, "none"),
        features=Features(
            LABEL,
            tuple(f"I{number}" for number in range(1, dense + 1)),
            tuple(SparseFeature(name, name, False) for name in names),
        ),
        tables=tuple(Table(name, size, hot, dim, vocabulary) for name, size, hot in sizes),
        splits={
            split: {temperature: Leaf(0, ()) for temperature in TEMPERATURES} for split in SPLITS
        },
        schema={},
        preparation={},
    )
