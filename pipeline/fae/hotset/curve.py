"""The curve of hot share against budget: what every other budget would buy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fae.arrays.arrow import Int64Array
from fae.arrays.run_length import RowRanges
from fae.format.manifest import SPLITS
from fae.hotset.coverage import COUNTED, HELD_OUT, KNOWN, Coverage
from fae.hotset.device_profile import DeviceProfile
from fae.hotset.problem import Objective, Ranking, StackedRows, count_affordable_each

_POINTS = 60

#: Budgets in bytes, and how many rows of a ranking each buys.
Points = tuple[Int64Array, Int64Array]


def choose_points(rows: StackedRows, ranked_rows: RowRanges, budget_bytes: int) -> Points:
    """Return budgets from a thousandth of all bytes to all of them, `budget_bytes` included."""
    total_bytes = rows.total_bytes
    budgets = np.geomspace(max(total_bytes / 1000, 1), total_bytes, _POINTS).astype(np.int64)
    budgets = np.unique(np.append(budgets, [budget_bytes, total_bytes]))
    return budgets, count_affordable_each(rows, ranked_rows, budgets)


def draw_curve(
    rows: StackedRows,
    ranking: Ranking,
    points: Points,
    coverage: dict[str, Coverage],
    objective: Objective,
    device: DeviceProfile | None,
) -> pl.DataFrame:
    """Return the hot share by split and the access share at `points`, which `coverage` knows.

    `held_out_hot_share` is that of valid and test together, `known_hot_share` that of those of
    their samples whose values all have a row of their own. Shares are
    exact for the ranking, not interpolated. `bound`, present if the rule computes loads and the
    objective is hot samples, is a share of the counted samples that no hot set can exceed.
    `speedup`, present with a device profile, is the expected gain over having no hot rows.
    """
    budgets, hot_rows = points
    pieces = ranking.ranked_rows.split_at(hot_rows)
    accesses_after = np.cumsum(np.append(0, rows.access_counts.sum_ranges(pieces)))
    accesses = accesses_after[np.searchsorted(pieces.ends, hot_rows, side="right")]
    total_accesses = rows.access_counts.total
    columns: dict[str, npt.NDArray[Any]] = {"budget_bytes": budgets, "hot_rows": hot_rows}
    columns["access_share"] = accesses / max(total_accesses, 1)
    for split in SPLITS:
        if coverage[split].total:
            hot_samples = coverage[split].count_hot(hot_rows)
            columns[f"{split}_hot_share"] = hot_samples / coverage[split].total
    for name, groups in (("held_out", HELD_OUT), ("known", tuple(KNOWN.values()))):
        if total := sum(coverage[group].total for group in groups):
            hot = np.sum([coverage[group].count_hot(hot_rows) for group in groups], axis=0)
            columns[f"{name}_hot_share"] = hot / total
    counted = coverage[COUNTED]
    if ranking.loads is not None and not objective.per_access:
        bounds = ranking.loads.bound_worth(budgets)
        columns["bound"] = np.minimum(bounds / (objective.per_sample * counted.total), 1.0)
    if device is not None:
        cold = (total_accesses - accesses).astype(np.float64)
        hot = counted.count_hot(hot_rows).astype(np.float64)
        all_cold = np.array([float(total_accesses)])
        baseline = device.estimate_seconds(counted.total, np.zeros(1), all_cold)
        columns["speedup"] = baseline / device.estimate_seconds(counted.total, hot, cold)
    return pl.DataFrame(columns)


def find_knee(curve: pl.DataFrame) -> int:
    """Return the budget where the train hot share is highest above the line from none to all bytes.

    Beyond it, a byte buys less than it does on average (Satopaa et al., "Kneedle", 2011).
    """
    budgets = curve["budget_bytes"].to_numpy()
    above_line = curve["train_hot_share"].to_numpy() - budgets / budgets[-1]
    return int(budgets[int(above_line.argmax())])
