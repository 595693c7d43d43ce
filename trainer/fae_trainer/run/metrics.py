"""Compute log loss, AUC and accuracy from the labels and logits of all samples of a split."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


def log_loss(label: Vector, logit: Vector) -> float:
    """Return the mean binary cross-entropy in nats, exact for large logits too."""
    return float(np.mean(np.logaddexp(0.0, logit) - label * logit))


def accuracy(label: Vector, logit: Vector) -> float:
    """Return the share of samples whose logit has the label's sign; a logit of 0 means label 0."""
    return float(np.mean((logit > 0) == (label > 0)))


def area_under_curve(label: Vector, score: Vector) -> float | None:
    """Return the probability that a positive sample scores above a negative one; ties count half.

    It is exact, by the Mann-Whitney statistic on average ranks. It is None if all labels are equal,
    since there is no such pair.
    """
    positives = int(np.count_nonzero(label > 0))
    negatives = len(label) - positives
    if positives == 0 or negatives == 0:
        return None
    _, group, sizes = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    rank = (last - (sizes - 1) / 2)[group]  # (samples,), from 1, ties averaged
    above = float(rank[label > 0].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def compute_metrics(label: Vector, logit: Vector) -> dict[str, float | None]:
    """Return log loss, AUC and accuracy: all None without samples, and the AUC for one class."""
    if not len(label):
        return {"logloss": None, "auc": None, "accuracy": None}
    return {
        "logloss": log_loss(label, logit),
        "auc": area_under_curve(label, logit),
        "accuracy": accuracy(label, logit),
    }
