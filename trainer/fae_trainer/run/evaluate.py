"""Score a split: compute the logits of all its samples, and metrics from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from fae.format.errors import ParameterError
from fae.format.manifest import SPLITS, Manifest
from fae_trainer.data.batches import Batch
from fae_trainer.data.decoding import decode_table
from fae_trainer.data.loader import HotColdLoader
from fae_trainer.data.sharing import WindowSharing
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import TrainParameters, resolve_parameters
from fae_trainer.run import checkpoint
from fae_trainer.run.metrics import Vector, compute_metrics
from fae_trainer.storage.dataset_folder import open_folder

#: Samples scored at a time; it affects the speed, not the results.
BATCH_SIZE = 8192

#: Batches read ahead.
PREFETCH_DEPTH = 4


def open_split(
    data: Path | str, split: str, p: TrainParameters, sharing: WindowSharing | None = None
) -> HotColdLoader:
    """Return a loader of a split's rows in file order, the hot leaf first."""
    return HotColdLoader(
        data, split, BATCH_SIZE, shuffle=False, cache=p.cache, device=p.batch_device,
        threads=p.threads, verify=p.verify, sharing=sharing,
    )  # fmt: skip


def score_split(recommender: Recommender, loader: HotColdLoader) -> tuple[Vector, Vector]:
    """Return the labels and logits of a split's samples, in the loader's order.

    The label of a sample of weight 0, such as one without a label, is not a number.
    """
    scored = list(_score_batches(recommender, loader.batches(0, loader.order(0))))
    labels, logits = zip((np.empty(0), np.empty(0)), *scored, strict=True)
    return np.concatenate(labels), np.concatenate(logits)


def _score_batches(
    recommender: Recommender, batches: Iterable[Batch]
) -> Iterator[tuple[Vector, Vector]]:
    """Yield the labels and logits of each batch."""
    with recommender.prefetch(batches, PREFETCH_DEPTH) as ahead:
        for batch, plan in ahead:
            logits = recommender.logits(batch, plan).double().cpu().numpy()
            label = batch.label.double()
            if batch.weight is not None:
                label = label.masked_fill(batch.weight == 0, torch.nan)
            yield label.cpu().numpy(), logits


def measure_split(recommender: Recommender, loader: HotColdLoader) -> dict[str, float | None]:
    """Return log loss, AUC and accuracy; raise ParameterError where a score is not finite."""
    label, logit = score_split(recommender, loader)
    known = ~np.isnan(label)
    label, logit = label[known], logit[known]
    if not np.isfinite(logit).all():
        raise ParameterError(
            f"The model's scores on {loader.split} are not finite. Lower --lr or --dense-lr."
        )
    return compute_metrics(label, logit)


def predict(data: Path | str, run: Path, split: str, **changes: Any) -> tuple[Vector, Vector]:
    """Return a split's labels and the probabilities that a run's checkpoint predicts.

    `changes` replace parameters that do not change the model, such as device and placement.
    """
    recommender, p = load_recommender(data, open_folder(data).read_manifest(), run, changes)
    label, logit = score_split(recommender, open_split(data, split, p))
    return label, _to_probability(logit)


def open_scorer(data: Path | str, run: Path, **changes: Any) -> Callable[[pa.Table], Vector]:
    """Return a function of the probabilities that a run's checkpoint predicts for a table's rows.

    The table has the features of the data set, encoded as there, and no label. `changes` are those
    of `predict`. The function raises DatasetError where a value is not one of the data set's.
    """
    manifest = open_folder(data).read_manifest()
    recommender, _ = load_recommender(data, manifest, run, changes)

    def score(table: pa.Table) -> Vector:
        features = manifest.features
        labelled = table.append_column(features.label, pa.array(np.zeros(len(table), np.int8)))
        if features.weight:  # scores do not depend on it
            ones = pa.array(np.ones(len(table), np.float32))
            labelled = labelled.append_column(features.weight, ones)
        batches = (  # a cold batch may touch any rows
            decode_table(piece, data, manifest, hot=False, allocate=_allocate)
            for piece in _cut(labelled)
        )
        scored = [logit for _, logit in _score_batches(recommender, batches)]
        logits: Vector = np.concatenate([np.empty(0), *scored])
        return _to_probability(logits)

    return score


def _to_probability(logit: Vector) -> Vector:
    probability: Vector = 1 / (1 + np.exp(-logit))
    return probability


def _cut(table: pa.Table) -> Iterator[pa.Table]:
    """Yield a table's rows in pieces of BATCH_SIZE."""
    for start in range(0, len(table), BATCH_SIZE):
        yield table.slice(start, BATCH_SIZE).combine_chunks()


def _allocate(size: int) -> torch.Tensor:
    return torch.empty(size, dtype=torch.uint8)


def evaluate(data: Path | str, run: Path, split: str, **changes: Any) -> dict[str, Any]:
    """Return the metrics of a run's checkpoint on a split; `changes` are those of `predict`.

    Raises ParameterError where `split` is not a split, and DatasetError where the checkpoint or the
    data set is damaged, or the run was trained on another data set.
    """
    if split not in SPLITS:
        raise ParameterError(f"--split is {split}; it must be one of {', '.join(SPLITS)}.")
    manifest = open_folder(data).read_manifest()
    recommender, p = load_recommender(data, manifest, run, changes)
    metrics = measure_split(recommender, open_split(data, split, p))
    rows = sum(leaf.rows for leaf in manifest.splits[split].values())
    return {f"{split}_{name}": m for name, m in metrics.items()} | {f"{split}_samples": rows}


def load_recommender(
    data: Path | str, manifest: Manifest, run: Path, changes: dict[str, Any]
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
