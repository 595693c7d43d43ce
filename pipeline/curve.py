"""The curve of hot share against budget: what every other budget would have bought."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.rules import Order, StackedRows

_POINTS = 60


@dataclass(frozen=True)
class Reach:
    """How far an input's coldest access lies in a placement, counted over the inputs of a split.

    `inputs` (placed + 2,): entry p counts the inputs that are hot once p rows are hot and not
    before; the last entry those that never are.
    """

    inputs: npt.NDArray[np.int64]

    @property
    def total(self) -> int:
        """Inputs in the split."""
        return int(self.inputs.sum())

    def hot(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The number of hot inputs once the first `rows` rows are hot."""
        hot: npt.NDArray[np.int64] = np.cumsum(self.inputs)[rows]
        return hot


def curve(
    rows: StackedRows, placed: Order, reach: dict[str, Reach], budget_bytes: int
) -> pl.DataFrame:
    """Hot share by split and access share, at budgets from a thousandth of all bytes to all.

    Shares are exact, not interpolated. `budget_bytes` is one of the points.
    """
    spent = np.cumsum(rows.row_bytes[rows.table_of[placed]])
    everything = int(spent[-1])
    budgets = np.geomspace(max(everything / 1000, 1), everything, _POINTS).astype(np.int64)
    budgets = np.unique(np.append(budgets, [budget_bytes, everything]))
    count = np.searchsorted(spent, budgets, side="right")
    gained = np.concatenate([[0], np.cumsum(rows.accesses[placed])])
    columns = {
        "budget_bytes": budgets,
        "hot_rows": count,
        "access_share": gained[count] / max(int(rows.accesses.sum()), 1),
    }
    for split, found in reach.items():
        if found.total:
            columns[f"{split}_hot_share"] = found.hot(count) / found.total
    return pl.DataFrame(columns)
