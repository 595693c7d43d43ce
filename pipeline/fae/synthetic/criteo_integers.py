"""Criteo's 13 integers: heavy-tailed counts, missing in blocks, moved together by two causes."""

import numpy as np
import numpy.typing as npt
import polars as pl

from fae.synthetic import criteo_tables as tables
from fae.synthetic.hashing import Floats

# Log-odds per unit of log(1 + value), about the typical logarithm of 1 + value.
EFFECTS = {
    "I1": (0.25, 0.8),
    "I3": (0.06, 2.0),
    "I5": (-0.08, 7.5),
    "I6": (-0.12, 3.6),
    "I7": (0.15, 1.3),
    "I11": (0.15, 0.9),
    "I13": (0.08, 1.9),
}


def _values(column: str, positions: Floats) -> npt.NDArray[np.int64]:
    """The value at each quantile: exact for the smallest, log-linear between the points."""
    points = tables.INTEGERS[column]
    lowest = points[0][0]
    heights = np.log([1.0, *(value - lowest + 2.0 for value, _ in points)])
    shares = np.array([0.0, *(share for _, share in points)])
    drawn = np.exp(np.interp(positions, shares, heights)) + 1e-9
    return drawn.astype(np.int64) - 1 + lowest


def _missing(rng: np.random.Generator, rows: int) -> dict[str, npt.NDArray[np.bool_]]:
    """Masks by column; the columns of a block share one."""
    masks: dict[str, npt.NDArray[np.bool_]] = {}
    for block, share in tables.MISSING.items():
        if block.startswith("I"):
            masks |= dict.fromkeys(block.split(), rng.random(rows) < share)
    for column, (block, there, elsewhere) in tables.MISSING_WITH.items():
        beside = masks[block.split()[0]]
        masks[column] = rng.random(rows) < np.where(beside, there, elsewhere)
    return masks


def integers(rng: np.random.Generator, rows: int) -> tuple[dict[str, pl.Series], Floats]:
    """I1 to I13, null where missing, and what they add to the log-odds."""
    hidden = (rng.random(rows), rng.random(rows))
    masks = _missing(rng, rows)
    columns, total = {}, np.zeros(rows)
    for column in tables.INTEGERS:
        quantity, share = tables.SHARED.get(column, (0, 0.0))
        shared = hidden[quantity] if share >= 0 else 1.0 - 1e-12 - hidden[quantity]
        positions = np.where(rng.random(rows) < abs(share), shared, rng.random(rows))
        values = _values(column, positions)
        mask = masks.get(column)
        if column in EFFECTS:
            slope, centre = EFFECTS[column]
            added = slope * (np.log1p(values) - centre)
            total += added if mask is None else np.where(mask, 0.0, added)
        columns[column] = pl.Series(values)
        if mask is not None:
            columns[column] = columns[column].set(pl.Series(mask), None)
    return columns, total
