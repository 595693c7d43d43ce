"""Reach: how far in a placement each input's coldest access lies, so how many rows make it hot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.cluster import Cluster
from pipeline.frequencies import SPLIT, Frequencies
from pipeline.manifest import SPLITS
from pipeline.rules.problem import Order, StackedRows
from pipeline.schema import Schema
from pipeline.splits import TRAIN
from pipeline.stacking import counted_inputs

#: Beside the splits: the train inputs that were counted, and those that the sample left out.
COUNTED, UNCOUNTED = "counted", "uncounted"


@dataclass(frozen=True)
class Reach:
    """Inputs by the number of placed rows that make them hot.

    `inputs` (placed + 2,): entry p counts the inputs that are hot once p rows are hot and not
    before; the last entry those that never are.
    """

    inputs: npt.NDArray[np.int64]

    @property
    def total(self) -> int:
        """All inputs."""
        return int(self.inputs.sum())

    def hot(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The number of hot inputs once the first `rows` rows are hot."""
        hot: npt.NDArray[np.int64] = np.cumsum(self.inputs)[rows]
        return hot

    def rows_for(self, share: float) -> int | None:
        """The fewest rows that make this share of the inputs hot; None where none do."""
        hot = np.cumsum(self.inputs[:-1])
        rows = int(np.searchsorted(hot, share * self.total, side="left"))
        return rows if rows < hot.size else None


@dataclass(frozen=True)
class _Task:
    """The inputs of one staged part; `places` names the file with the place of each stacked row."""

    frequencies: str
    part: int
    columns: tuple[tuple[str, int], ...]
    places: str


def reach(
    frequencies: Frequencies,
    schema: Schema,
    rows: StackedRows,
    placed: Order,
    scratch: Path,
    cluster: Cluster,
) -> dict[str, Reach]:
    """The reach of `placed` over each split, and over the counted and uncounted train inputs."""
    place = np.full(rows.accesses.size, placed.size, dtype=np.int64)
    place[placed] = np.arange(placed.size)
    places = scratch / "places.npy"
    np.save(places, place, allow_pickle=False)
    first = dict(zip(rows.tables, rows.first.tolist(), strict=False))
    columns = tuple((column.name, first[column.table_name]) for column in schema.sparse)
    tasks = [
        _Task(str(frequencies.directory), part, columns, str(places))
        for part in range(frequencies.splits().num_row_groups)
    ]
    found = cluster.run("calibrate", _coldest_places, tasks)
    places.unlink()
    codes, counted, coldest = (np.concatenate(part) for part in zip(*found, strict=True))
    chosen = {split: codes == code for code, split in enumerate(SPLITS)}
    chosen |= {COUNTED: counted, UNCOUNTED: chosen[SPLITS[TRAIN]] & ~counted}
    return {
        name: Reach(np.bincount(coldest[mask] + 1, minlength=placed.size + 2))
        for name, mask in chosen.items()
    }


Places = tuple[npt.NDArray[np.int8], npt.NDArray[np.bool_], npt.NDArray[np.int64]]


def _coldest_places(task: _Task) -> Places:
    """Each input's split, whether it is counted, and its coldest access's place (-1 for none)."""
    frequencies = Frequencies.read(Path(task.frequencies))
    place = np.load(task.places, mmap_mode="r")
    codes = frequencies.splits().read_row_group(task.part)[SPLIT].to_numpy()
    coldest = np.full(codes.size, -1, dtype=np.int64)
    for column, first in task.columns:
        ids = frequencies.inputs(column).read_row_group(task.part)[column].combine_chunks()
        if pa.types.is_large_list(ids.type):
            owner = np.repeat(np.arange(codes.size), np.diff(ids.offsets.to_numpy()))
            np.maximum.at(coldest, owner, place[first + ids.flatten().to_numpy().astype(np.int64)])
        else:
            np.maximum(coldest, place[first + ids.to_numpy().astype(np.int64)], out=coldest)
    return codes, counted_inputs(frequencies, task.part), coldest
