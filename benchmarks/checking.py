"""Whether what a tool wrote is the log with its values renamed, so that no idle run is measured.

A renaming keeps how often each value occurs, so the sum of the squared counts of a column's ids is
that of the log's values. Merging two values, or losing or changing rows, changes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

SPARSE = [f"C{i}" for i in range(1, 27)]
#: Ids that tools keep for padding, missing and out-of-vocabulary values.
RESERVED = 3

#: Labels (rows) and ids (rows, 26).
Rows = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Reading:
    """How to read a tool's output, which share of the log it holds, and what it folds.

    `folded_below` is the count below which all values of a column share one id.
    """

    rows: Callable[[Path], Rows]
    share: float = 1.0
    folded_below: int = 0


def parquet(pattern: str) -> Callable[[Path], Rows]:
    """Return a reader of Parquet files with the columns label and C1 to C26."""

    def read(out: Path) -> Rows:
        frame = pl.read_parquet([str(one) for one in sorted(out.glob(pattern))])
        labels = frame["label"].cast(pl.Int64).to_numpy()
        return labels, frame.select(pl.col(SPARSE).cast(pl.Int64)).to_numpy()

    return read


def torchrec(out: Path) -> Rows:
    """Return a reader of the shuffled days of TorchRec's scripts."""
    found = [
        np.concatenate([np.load(one) for one in sorted(out.glob(f"shuffled/*_{part}.npy"))])
        for part in ("labels", "sparse")
    ]
    return found[0].ravel().astype(np.int64), found[1].astype(np.int64)


def fault(reading: Reading, out: Path, log: Path) -> str | None:
    """Return what is wrong with a tool's output `out` for `log`, or None."""
    names = ["label", *(f"I{i}" for i in range(1, 14)), *SPARSE]
    text = dict.fromkeys(names, pl.String)
    given = pl.read_csv(log, separator="\t", has_header=False, quote_char=None, schema=text)
    try:
        labels, ids = reading.rows(out)
    except Exception as error:
        return f"output cannot be read: {error}"
    if abs(labels.size - reading.share * given.height) >= 1 or ids.shape != (labels.size, 26):
        return f"{labels.size} rows of {given.height}, ids {ids.shape}"
    given = given.head(labels.size)
    if int(labels.sum()) != int(given["label"].cast(pl.Int64).sum()):
        return "the labels are not the log's"
    for name, mine in zip(SPARSE, ids.T, strict=True):
        counts = given[name].value_counts()["count"].to_numpy().astype(np.int64)
        alone = counts[counts < reading.folded_below].sum()
        squares = int((counts[counts >= reading.folded_below] ** 2).sum() + alone**2)
        if mine.min() < 0 or mine.max() >= counts.size + RESERVED:
            return f"{name}: ids {mine.min()} to {mine.max()} for {counts.size} values"
        if int((np.unique(mine, return_counts=True)[1].astype(np.int64) ** 2).sum()) != squares:
            return f"{name}: the ids are no renaming of the values"
    return None
