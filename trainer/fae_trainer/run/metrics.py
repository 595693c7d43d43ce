"""What is measured of a split: log loss, AUC and accuracy, from the logits of all its inputs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


def log_loss(label: Vector, logit: Vector) -> float:
    """Mean binary cross-entropy in nats; exact for large logits, where probabilities round."""
    return float(np.mean(np.logaddexp(0.0, logit) - label * logit))


def accuracy(label: Vector, logit: Vector) -> float:
    """The share of inputs whose logit has the label's sign; a logit of 0 says label 0."""
    return float(np.mean((logit > 0) == (label > 0)))


def area_under_curve(label: Vector, score: Vector) -> float | None:
    """The chance that a positive input scores above a negative one, ties counting half.

    Exact, by the Mann-Whitney statistic on average ranks. None where the labels are all alike,
    since no such pair exists.
    """
    positives = int(np.count_nonzero(label > 0))
    negatives = len(label) - positives
    if positives == 0 or negatives == 0:
        return None
    _, group, sizes = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    rank = (last - (sizes - 1) / 2)[group]  # (inputs,), from 1, ties averaged
    above = float(rank[label > 0].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def compute_metrics(label: Vector, logit: Vector) -> dict[str, float | None]:
    """The log loss, AUC and accuracy; each is None for no inputs, and the AUC for one class."""
    if not len(label):
        return {"logloss": None, "auc": None, "accuracy": None}
    return {
        "logloss": log_loss(label, logit),
        "auc": area_under_curve(label, logit),
        "accuracy": accuracy(label, logit),
    }
