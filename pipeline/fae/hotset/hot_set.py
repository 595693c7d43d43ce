"""The hot set: the output of `fae calibrate`, and its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fae.commit import outputs
from fae.format.budget import Budget, Embedding
from fae.hotset.cold_hash import Sharing
from fae.storage.folder import Folder, FolderLike
from fae.storage.raw_arrays import read_numbers

FILE_NAME = "hot_set.json"
CURVE = "curve.csv"
#: The id in the data set of each access rank, table by table.
IDS = "ids.uint32"
ID_DTYPE = np.dtype("<u4")
#: z of a two-sided 95 % interval.
_Z_95 = 1.96


@dataclass(frozen=True)
class HotTable:
    """One table: its size, hashed cold rows included, the bytes of a row, and its hot rows.

    `ranks` counts the values that have an exact id, and id 0.
    """

    name: str
    ranks: int
    rows: int
    hot_rows: int
    dim: int
    row_bytes: int


@dataclass(frozen=True)
class SampleCheck:
    """The hot share of the sampled train samples, and that of the others with its 95 % interval.

    A hot set fits the samples that it was chosen for best; the others say what it is worth.
    """

    sampled: float
    others: float
    low: float
    high: float

    @classmethod
    def of(cls, sampled: float, hot: int, total: int) -> SampleCheck:
        """Return the check of a hot share, given how many of the `total` other samples are hot."""
        return cls(sampled, hot / total, *compute_wilson_interval(hot, total))

    @property
    def too_small(self) -> bool:
        """Whether the sample promises more than the other samples reach."""
        return self.sampled > self.high + 0.01


@dataclass(frozen=True)
class HotSet:
    """A finished hot set. `inputs` counts the hot and cold samples of each split.

    `notes` are figures of the rule, which maximised `objective`; `bound`, where known, is a share
    of the counted samples that no hot set of this budget can exceed; `knee_bytes` is the budget
    beyond which bytes buy little; `sharing` describes the tables with hashed ids. It was made with
    `parameters` from the frequencies with the fingerprint `frequencies`.
    """

    directory: Folder
    embedding: Embedding
    budget: Budget
    tables: tuple[HotTable, ...]
    inputs: dict[str, dict[str, int]]
    access_share: float
    bound: float | None
    knee_bytes: int
    sample: SampleCheck | None
    notes: dict[str, int]
    objective: str
    sharing: tuple[Sharing, ...]
    parameters: dict[str, Any]
    frequencies: str

    @classmethod
    def read(cls, directory: FolderLike) -> HotSet:
        """Read the hot set in a finished directory; raises DatasetError where there is none."""
        return outputs.read_dataclass(cls, Folder.of(directory), FILE_NAME)

    def read_ids(self) -> dict[str, npt.NDArray[np.uint32]]:
        """Return the id in the data set of each access rank of each table, rank 0 included."""
        all_ids = read_numbers(self.directory, IDS, ID_DTYPE)
        ids_by_table = np.split(all_ids, np.cumsum([table.ranks for table in self.tables]))
        return {table.name: ids for table, ids in zip(self.tables, ids_by_table, strict=False)}

    def read_curve(self) -> pl.DataFrame:
        """Return hot and access shares by budget, as `draw_curve` made them."""
        with self.directory.read(CURVE) as path:
            return pl.read_csv(path)

    def hot_share(self, split: str) -> float | None:
        """Return the share of a split's samples that are hot; None for an empty split."""
        counts = self.inputs[split]
        total = counts["hot"] + counts["cold"]
        return counts["hot"] / total if total else None


def compute_wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval (1927) of a share, of which `hits` of `total` were observed."""
    share, weight = hits / total, _Z_95**2 / total
    centre = (share + weight / 2) / (1 + weight)
    half = _Z_95 / (1 + weight) * float(np.sqrt(share * (1 - share) / total + weight / (4 * total)))
    return max(centre - half, 0.0), min(centre + half, 1.0)
