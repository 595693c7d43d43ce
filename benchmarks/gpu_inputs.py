"""Make the tables and inputs that benchmarks/gpu.py trains on; it says what they are like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from fae.format.manifest import Manifest
from fae_trainer.data.batches import Batch
from fae_trainer.data.schedule import make_schedule
from fae_trainer.run.bench_device import make_manifest

#: The published cardinalities of Criteo Kaggle.
KAGGLE = (
    1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992,
    5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572,
)  # fmt: skip
DENSE = 13
DIMS = {"kaggle": 16, "terabyte": 64}


@dataclass(frozen=True)
class Workload:
    """A model's tables and its inputs: ids (inputs, tables), hottest ids smallest in each table."""

    rows: tuple[int, ...]
    dim: int
    ids: np.ndarray
    dense: np.ndarray
    label: np.ndarray


def make_workload(scale: float, dim: int, inputs: int, seed: int) -> Workload:
    """Draw ids whose log-rank is a common factor of the input plus one of the access."""
    rng = np.random.default_rng(seed)
    rows = tuple(max(3, int(size * scale)) for size in KAGGLE)
    common = rng.random((inputs, 1), dtype=np.float32)
    ids = np.empty((inputs, len(rows)), dtype=np.int32)
    for table, size in enumerate(rows):
        own = rng.random((inputs, 1), dtype=np.float32)
        quantile = np.where(rng.random((inputs, 1), dtype=np.float32) < 0.6, common, own)
        ids[:, table] = np.minimum((size ** quantile[:, 0].astype(np.float64)), size - 1)
    label = rng.integers(0, 2, inputs).astype(np.float32)
    return Workload(rows, dim, ids, rng.random((inputs, DENSE), dtype=np.float32), label)


def choose_by_accesses(work: Workload, share: float) -> list[int]:
    """Return the hot rows of each table: the likeliest `share` of all rows.

    Id k of a table of n rows has probability 1/(k ln n), so the rows above a probability are the
    first 1/(probability ln n) of each table.
    """
    rows = np.array(work.rows, dtype=np.float64)
    if not 0 < share < 1:
        return (rows * share).astype(np.int64).tolist()
    low, high = 1e-12, 1.0
    for _ in range(100):
        middle = (low * high) ** 0.5
        hot = np.clip(1 / (middle * np.log(rows)), 1, rows)
        low, high = (middle, high) if hot.sum() > share * rows.sum() else (low, middle)
    return hot.astype(np.int64).tolist()


def choose_manifest(work: Workload, share: float) -> Manifest:
    """Return a manifest without files, with the hot rows of a share."""
    return make_manifest(work.rows, choose_by_accesses(work, share), work.dim, DENSE)


def make_batches(work: Workload, manifest: Manifest, size: int, mixed: bool = False) -> list[Batch]:
    """Return whole batches, page-locked: hot and cold apart and interleaved, or mixed."""
    limits = np.array([table.hot_rows for table in manifest.tables])
    is_hot = (work.ids < limits).all(axis=1) & (not mixed)
    leaves = {hot: np.flatnonzero(is_hot == hot) for hot in (True, False)}
    count = {hot: len(rows) // size for hot, rows in leaves.items()}
    order = make_schedule(count[True], count[False], 0, 0)
    taken = {True: 0, False: 0}
    found = []
    for position in range(order.batches):
        hot = order.is_hot(position)
        at = leaves[hot][taken[hot] * size : (taken[hot] + 1) * size]
        taken[hot] += 1
        arrays = (work.label[at], work.dense[at], work.ids[at].ravel())
        batch = Batch(*map(torch.from_numpy, arrays), offsets=None, hot=hot)
        found.append(batch.pin_memory() if torch.cuda.is_available() else batch)
    return found
