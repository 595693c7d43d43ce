"""Score a split: compute the logits of all its samples, and metrics from them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fae.format.errors import ParameterError
from fae.format.manifest import SPLITS, Manifest
from fae_trainer.data.loader import HotColdLoader
from fae_trainer.data.sharing import WindowSharing
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import TrainParameters, resolve_parameters
from fae_trainer.run import checkpoint
from fae_trainer.run.metrics import Vector, compute_metrics

#: Samples scored at a time; it affects the speed, not the results.
BATCH_SIZE = 8192

#: Batches read ahead.
PREFETCH_DEPTH = 4


def open_split(
    data: Path, split: str, p: TrainParameters, sharing: WindowSharing | None = None
) -> HotColdLoader:
    """Return a loader of a split's rows in file order, the hot leaf first."""
    return HotColdLoader(
        data, split, BATCH_SIZE, shuffle=False, cache=p.cache, device=p.batch_device,
        threads=p.threads, verify=p.verify, sharing=sharing,
    )  # fmt: skip


def score_split(recommender: Recommender, loader: HotColdLoader) -> tuple[Vector, Vector]:
    """Return the labels and logits of a split's samples, in the loader's order."""
    labels, logits = [np.empty(0)], [np.empty(0)]
    batches = loader.batches(0, loader.order(0))
    with recommender.prefetch(batches, PREFETCH_DEPTH) as ahead:
        for batch, plan in ahead:
            labels.append(batch.label.double().cpu().numpy())
            logits.append(recommender.logits(batch, plan).double().cpu().numpy())
    return np.concatenate(labels), np.concatenate(logits)


def measure_split(recommender: Recommender, loader: HotColdLoader) -> dict[str, float | None]:
    """Return log loss, AUC and accuracy; raise ParameterError where a score is not finite."""
    label, logit = score_split(recommender, loader)
    if not np.isfinite(logit).all():
        raise ParameterError(
            f"The model's scores on {loader.split} are not finite. Lower --lr or --dense-lr."
        )
    return compute_metrics(label, logit)


def predict(data: Path, run: Path, split: str, **changes: Any) -> tuple[Vector, Vector]:
    """Return a split's labels and the probabilities that a run's checkpoint predicts.

    `changes` replace parameters that do not change the model, such as device and placement.
    """
    recommender, p = load_recommender(data, Manifest.read(data), run, changes)
    label, logit = score_split(recommender, open_split(data, split, p))
    return label, 1 / (1 + np.exp(-logit))


def evaluate(data: Path, run: Path, split: str, **changes: Any) -> dict[str, Any]:
    """Return the metrics of a run's checkpoint on a split; `changes` are those of `predict`.

    Raises ParameterError where `split` is not a split, and DatasetError where the checkpoint or the
    data set is damaged, or the run was trained on another data set.
    """
    if split not in SPLITS:
        raise ParameterError(f"--split is {split}; it must be one of {', '.join(SPLITS)}.")
    manifest = Manifest.read(data)
    recommender, p = load_recommender(data, manifest, run, changes)
    metrics = measure_split(recommender, open_split(data, split, p))
    rows = sum(leaf.rows for leaf in manifest.splits[split].values())
    return {f"{split}_{name}": m for name, m in metrics.items()} | {f"{split}_samples": rows}


def load_recommender(
    data: Path, manifest: Manifest, run: Path, changes: dict[str, Any]
) -> tuple[Recommender, TrainParameters]:
    """Return the recommender of a run's checkpoint and its parameters, with `changes`."""
    saved = checkpoint.load(run)
    saved.check_data(manifest, run)
    chosen = {"data": str(data), "out": str(run), "cache": "none", **changes}
    p = resolve_device(resolve_parameters(chosen, manifest, saved.parameters))
    recommender = Recommender(manifest, p)
    saved.restore(recommender)
    return recommender, p


def resolve_device(chosen: TrainParameters) -> TrainParameters:
    """Return the parameters with an existing device, and set torch's threads and TF32.

    Placement `cpu` uses no GPU; otherwise `auto` is CUDA if there is one. Raises ParameterError
    where the device is absent or contradicts the placement.
    """
    cuda = torch.cuda.is_available()
    if chosen.device == "cuda" and not cuda:
        raise ParameterError("--device cuda: torch finds no CUDA device. Use --device cpu.")
    if chosen.device == "cuda" and chosen.placement == "cpu":
        raise ParameterError("--placement cpu keeps everything on the host; omit --device cuda.")
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    torch.backends.cuda.matmul.allow_tf32 = chosen.tf32
    on_host = chosen.placement == "cpu" or not cuda or chosen.device == "cpu"
    return dataclasses.replace(chosen, device="cpu" if on_host else "cuda")
