"""The curve of hot share against budget: what every other budget would have bought."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from fae.arrays.arrow import Int64Array
from fae.arrays.run_length import RowRanges
from fae.format.manifest import SPLITS
from fae.hotset.coverage import COUNTED, Reach
from fae.hotset.device_profile import DeviceProfile
from fae.hotset.rules.problem import Objective, Ranking, StackedRows, bound, cuts

_POINTS = 60


#: Budgets, and the number of rows that each buys from the beginning of a placement.
Points = tuple[Int64Array, Int64Array]


def points(rows: StackedRows, placed: RowRanges, budget_bytes: int) -> Points:
    """Budgets from a thousandth of all bytes to all, `budget_bytes` among them; what each buys."""
    everything = rows.total_bytes
    budgets = np.geomspace(max(everything / 1000, 1), everything, _POINTS).astype(np.int64)
    budgets = np.unique(np.append(budgets, [budget_bytes, everything]))
    return budgets, cuts(rows, placed, budgets)


def curve(
    rows: StackedRows,
    ranking: Ranking,
    at: Points,
    reach: dict[str, Reach],
    objective: Objective,
    device: DeviceProfile | None,
) -> pl.DataFrame:
    """Hot share by split and access share, `at` some budgets, at which the reach is known.

    Shares are exact for the ranking, not interpolated. Where the rule gives loads and the objective
    is wholly hot inputs, `bound` is a share of the counted inputs that no hot set can exceed; where
    there is a device profile, `speedup` is the expected gain over a hot set of nothing.
    """
    budgets, count = at
    pieces = ranking.placed.split_at(count)
    gained = np.cumsum(np.append(0, rows.levels.sum_ranges(pieces)))
    accesses = gained[np.searchsorted(pieces.ends, count, side="right")]
    total = rows.levels.total
    columns: dict[str, npt.NDArray[np.generic]] = {
        "budget_bytes": budgets,
        "hot_rows": count,
        "access_share": accesses / max(total, 1),
    }
    for split in SPLITS:
        if reach[split].total:
            columns[f"{split}_hot_share"] = reach[split].hot(count) / reach[split].total
    counted = reach[COUNTED]
    if ranking.loads is not None and not objective.per_access:
        best = bound(rows, ranking.loads, budgets) / (objective.per_input * counted.total)
        columns["bound"] = np.minimum(best, 1.0)
    if device is not None:
        cold = (total - accesses).astype(np.float64)
        hot = counted.hot(count).astype(np.float64)
        none = device.seconds(counted.total, np.zeros(1), np.array([float(total)]))
        columns["speedup"] = none / device.seconds(counted.total, hot, cold)
    return pl.DataFrame(columns)


def knee(found: pl.DataFrame) -> int:
    """The budget where the train hot share stands highest above the line from nothing to all bytes.

    Beyond it, a byte buys less than it does on average (Satopaa et al., "Kneedle", 2011).
    """
    budgets = found["budget_bytes"].to_numpy()
    above = found["train_hot_share"].to_numpy() - budgets / budgets[-1]
    return int(budgets[int(above.argmax())])
