"""Recommend a budget for hot rows from the curve of what each budget buys."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from fae.hotset.curve import find_knee

#: Of the best expected speed-up, what the smallest budget that is worth its bytes reaches.
_ENOUGH_SPEEDUP = 0.99
#: Where twice the bytes make fewer further train samples hot than this share, they gain little.
_LITTLE_GAIN = 0.02

Reason = Literal["speedup", "saturation", "knee", "everything"]


@dataclass(frozen=True)
class Recommendation:
    """A budget of the curve, and why.

    `speedup`: the smallest with nearly all of the speed-up that the device profile expects;
    `saturation`: twice the bytes would gain little; `knee`: beyond it, bytes buy less than on
    average; `everything`: no smaller budget buys more than on average.
    """

    budget_bytes: int
    reason: Reason


def recommend_budget(curve: pl.DataFrame) -> Recommendation:
    """Return the recommended budget of a curve, whose budgets ascend.

    A device profile decides where the curve has its speed-up; otherwise, the first point where
    further bytes gain little: the knee, or a smaller budget where twice the bytes gain little.
    """
    curve = curve.sort("budget_bytes")
    budgets = curve["budget_bytes"]
    if "speedup" in curve.columns:
        speedup = curve["speedup"]
        # A speed-up counts from 1, that of no hot rows at all.
        best = float(speedup.to_numpy().max())
        enough = 1 + (best - 1) * _ENOUGH_SPEEDUP
        return Recommendation(int(budgets.filter(speedup >= enough)[0]), "speedup")
    knee = find_knee(curve)
    saturated = _find_saturation(curve)
    if saturated < knee:
        return Recommendation(saturated, "saturation")
    return Recommendation(knee, "knee" if knee < budgets[-1] else "everything")


def _find_saturation(curve: pl.DataFrame) -> int:
    """Return the smallest budget from which on twice the bytes never gain much."""
    points = list(zip(curve["budget_bytes"], curve["train_hot_share"], strict=True))
    smallest = points[-1][0]
    for budget, share in reversed(points):
        twice = next((later for bytes_, later in points if bytes_ >= 2 * budget), points[-1][1])
        if twice - share >= _LITTLE_GAIN:
            break
        smallest = budget
    return int(smallest)
