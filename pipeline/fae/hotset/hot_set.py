"""The hot set: the output of `fae calibrate`, and its files."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
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
#: The paper's rule, whose shares stand beside those of any other.
COMPARED_RULE = "accesses"
#: Shares that differ by no more than this are taken to be equal.
SHARE_TOLERANCE = 0.01
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
        return self.sampled > self.high + SHARE_TOLERANCE


@dataclass(frozen=True)
class HotShares:
    """The share of the samples that the ranking of `rule` makes hot for one budget.

    `train` says what training gains, since it passes over these samples. `held_out` is that of
    valid and test, and says what new samples gain; a value that train has not seen has id 0, which
    is hot. `known` is that of the held-out samples whose values all have a row of their own. None
    stands for a share of no samples.
    """

    rule: str
    train: float
    held_out: float | None
    known: float | None

    def is_reversed(self, other: HotShares) -> bool:
        """Whether this is better than `other` on train samples, but worse on held-out ones."""
        if self.held_out is None or other.held_out is None:
            return False
        return self.train > other.train and self.held_out < other.held_out - SHARE_TOLERANCE


@dataclass(frozen=True)
class HotSet:
    """A finished hot set. `inputs` counts the hot and cold samples of each split.

    `known_inputs` counts, in each held-out split, those whose values all have a row of their own.
    `shares` are those of the rule, and of the rule `accesses` for the same budget.

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
    known_inputs: dict[str, dict[str, int]] = field(default_factory=dict)
    shares: tuple[HotShares, ...] = ()

    @classmethod
    def read(cls, directory: FolderLike) -> HotSet:
        """Read the hot set in a finished directory; raises DatasetError where there is none."""
        return outputs.read_dataclass(cls, Folder.of(directory), FILE_NAME)

    def read_ids(self) -> dict[str, npt.NDArray[np.uint32]]:
        """Return the id in the data set of each access rank of each table, rank 0 included."""
        all_ids = read_numbers(self.directory, IDS, ID_DTYPE)
        return {table: all_ids[ranks] for table, ranks in self._ranks_by_table.items()}

    def read_table_ids(self, table: str) -> npt.NDArray[np.uint32]:
        """Return the id of each access rank of one table, as `read_ids`."""
        return read_numbers(self.directory, IDS, ID_DTYPE)[self._ranks_by_table[table]]

    @cached_property
    def _ranks_by_table(self) -> dict[str, slice]:
        ends = accumulate(table.ranks for table in self.tables)
        tables = zip(self.tables, ends, strict=True)
        return {table.name: slice(end - table.ranks, end) for table, end in tables}

    def read_curve(self) -> pl.DataFrame:
        """Return hot and access shares by budget, as `draw_curve` made them."""
        with self.directory.read(CURVE) as path:
            return pl.read_csv(path, glob=False)

    def hot_share(self, split: str) -> float | None:
        """Return the share of a split's samples that are hot; None for an empty split."""
        return _divide(self.inputs[split])

    def known_hot_share(self, split: str) -> float | None:
        """Return the hot share of a held-out split's samples whose values all have a row."""
        return _divide(self.known_inputs[split]) if split in self.known_inputs else None


def _divide(counts: dict[str, int]) -> float | None:
    """Return the share of samples that are hot, or None of no samples."""
    total = counts["hot"] + counts["cold"]
    return counts["hot"] / total if total else None


def compute_wilson_interval(hits: int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval (1927) of a share, of which `hits` of `total` were observed."""
    share, weight = hits / total, _Z_95**2 / total
    centre = (share + weight / 2) / (1 + weight)
    half = _Z_95 / (1 + weight) * float(np.sqrt(share * (1 - share) / total + weight / (4 * total)))
    return max(centre - half, 0.0), min(centre + half, 1.0)
