"""Reach: how far in a placement each input's coldest access lies, so how many rows make it hot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from pipeline.cluster import Cluster
from pipeline.frequencies import Frequencies
from pipeline.manifest import SPLITS
from pipeline.rules.problem import Order, StackedRows
from pipeline.splits import TRAIN
from pipeline.stacking import counted_rows
from pipeline.staging import Staging
from pipeline.storage import Folder

#: Beside the splits: the train inputs that were counted, and those that the sample left out.
COUNTED, UNCOUNTED = "counted", "uncounted"
_FOLDER = "reach.partial"


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
    """The inputs of one staged part; `places` in `scratch` has each stacked row's place."""

    staging: str
    frequencies: str
    part: int
    first_row: int
    starts: dict[str, int]
    scratch: str
    places: str


def reach(
    staging: Staging,
    frequencies: Frequencies,
    rows: StackedRows,
    placed: Order,
    scratch: Folder,
    cluster: Cluster,
) -> dict[str, Reach]:
    """The reach of `placed` over each split, and over the counted and uncounted train inputs."""
    place = np.full(rows.accesses.size, placed.size, dtype=np.int64)
    place[placed] = np.arange(placed.size)
    places = f"{_FOLDER}/{xxhash.xxh3_64_hexdigest(place.data)}.npy"
    with scratch.write(places) as path, path.open("wb") as file:
        np.save(file, place, allow_pickle=False)
    starts = dict(zip(rows.tables, rows.first.tolist(), strict=False))
    tasks = [
        _Task(
            str(staging.directory),
            str(frequencies.directory),
            part,
            first_row,
            starts,
            str(scratch),
            places,
        )
        for part, first_row in enumerate(staging.offsets())
    ]
    files = cluster.run("calibrate", _coldest_places, tasks, journal=scratch)
    found = [_loaded(scratch, file) for file in files]
    codes, counted, coldest = (
        np.concatenate([part[name] for part in found]) for name in ("codes", "counted", "coldest")
    )
    chosen = {split: codes == code for code, split in enumerate(SPLITS)}
    chosen |= {COUNTED: counted, UNCOUNTED: chosen[SPLITS[TRAIN]] & ~counted}
    return {
        name: Reach(np.bincount(coldest[mask] + 1, minlength=placed.size + 2))
        for name, mask in chosen.items()
    }


def _loaded(scratch: Folder, file: str) -> dict[str, npt.NDArray[Any]]:
    with scratch.read(file) as path, np.load(path) as arrays:
        return dict(arrays)


def _coldest_places(task: _Task) -> str:
    """A file of each input's split, whether it is counted, and its coldest place (-1 for none)."""
    staging = Staging.read(task.staging)
    frequencies = Frequencies.read(task.frequencies)
    scratch = Folder.of(task.scratch)
    with scratch.read(task.places) as path:
        place = np.load(path, mmap_mode="r")
    staged, count = staging.part(task.part), staging.parts[task.part].rows
    coldest = np.full(count, -1, dtype=np.int64)
    for column in staging.schema.sparse:
        ranks = frequencies.ranks(column.name, task.part).astype(np.int64)
        found = staged.codes(column.name)
        places = place[ranks + task.starts[column.table_name]][found.codes]
        if found.lengths is None:
            np.maximum(coldest, places, out=coldest)
        else:
            np.maximum.at(coldest, found.owners(count), places)
    codes = np.asarray(frequencies.splits(task.first_row, count))
    counted = counted_rows(frequencies, task.first_row, count)
    name = f"{task.places.removesuffix('.npy')}.{task.part:06d}.npz"
    with scratch.write(name) as path, path.open("wb") as file:
        np.savez(file, codes=codes, counted=counted, coldest=coldest)
    return name
