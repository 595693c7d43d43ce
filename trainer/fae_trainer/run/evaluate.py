"""Scoring a split: the logits of all its inputs, and what they measure."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fae.format.errors import ParameterError
from fae.format.manifest import SPLITS, Manifest
from fae_trainer.data.loader import HotColdLoader
from fae_trainer.data.prefetch import prefetch
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import TrainParameters, resolve_parameters
from fae_trainer.run import checkpoint
from fae_trainer.run.metrics import Vector, compute_metrics

#: Inputs scored at a time, whatever the training's batch; a speed, not a result.
BATCH_SIZE = 8192

#: Batches read ahead.
AHEAD = 4


def open_split(data: Path, split: str, p: TrainParameters) -> HotColdLoader:
    """A loader of a split to score: the hot leaf's inputs in its order, then the cold's."""
    return HotColdLoader(
        data, split, BATCH_SIZE, shuffle=False, cache=p.cache, device=p.device, threads=p.threads,
        verify=p.verify,
    )  # fmt: skip


def score_split(recommender: Recommender, loader: HotColdLoader) -> tuple[Vector, Vector]:
    """The labels and logits of a split's inputs, in the loader's order."""
    labels, logits = [np.empty(0)], [np.empty(0)]
    batches = loader.batches(0, loader.order(0))
    with prefetch(recommender.plan_scores(batches), AHEAD) as ahead:
        for batch, lookup in ahead:
            labels.append(batch.label.double().cpu().numpy())
            logits.append(recommender.logits(batch, lookup).double().cpu().numpy())
    return np.concatenate(labels), np.concatenate(logits)


def measure_split(recommender: Recommender, loader: HotColdLoader) -> dict[str, float | None]:
    """The log loss, AUC and accuracy of a loader's split."""
    label, logit = score_split(recommender, loader)
    if not np.isfinite(logit).all():
        raise ParameterError(
            f"The model's scores on {loader.split} are not finite. Lower the rates."
        )
    return compute_metrics(label, logit)


def predict(data: Path, run: Path, split: str, **changes: Any) -> tuple[Vector, Vector]:
    """The labels and the predicted probabilities of a split, as a run's checkpoint has it.

    `changes` replace parameters that do not change the model: device, placement, threads.
    """
    recommender, p = load_recommender(data, Manifest.read(data), run, changes)
    label, logit = score_split(recommender, open_split(data, split, p))
    return label, 1 / (1 + np.exp(-logit))


def evaluate(data: Path, run: Path, split: str, **changes: Any) -> dict[str, Any]:
    """What a run's checkpoint measures on a split, a flat document; `changes` as in `predict`."""
    if split not in SPLITS:
        raise ParameterError(f"--split is {split}; it must be one of {', '.join(SPLITS)}.")
    manifest = Manifest.read(data)
    recommender, p = load_recommender(data, manifest, run, changes)
    found = measure_split(recommender, open_split(data, split, p))
    rows = sum(leaf.rows for leaf in manifest.splits[split].values())
    return {f"{split}_{name}": value for name, value in found.items()} | {f"{split}_samples": rows}


def load_recommender(
    data: Path, manifest: Manifest, run: Path, changes: dict[str, Any]
) -> tuple[Recommender, TrainParameters]:
    """The recommender of a run's checkpoint, as `changes` place it, and its parameters."""
    saved = checkpoint.load(run)
    saved.check_data(manifest, run)
    given = {"data": str(data), "out": str(run), "cache": "none", **changes}
    p = resolve_device(resolve_parameters(given, manifest, saved.parameters))
    recommender = Recommender(manifest, p)
    saved.restore(recommender)
    return recommender, p


def resolve_device(chosen: TrainParameters) -> TrainParameters:
    """The parameters with a device that exists, and torch told of threads and TF32.

    Placement cpu means the CPU for all; otherwise `auto` is CUDA where there is one.
    """
    cuda = torch.cuda.is_available()
    if chosen.device == "cuda" and not cuda:
        raise ParameterError("--device cuda: torch finds no CUDA device here. Use --device cpu.")
    if chosen.device == "cuda" and chosen.placement == "cpu":
        raise ParameterError("--placement cpu keeps all on the host; leave out --device cuda.")
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    torch.backends.cuda.matmul.allow_tf32 = chosen.tf32
    on_host = chosen.placement == "cpu" or not cuda or chosen.device == "cpu"
    return dataclasses.replace(chosen, device="cpu" if on_host else "cuda")
