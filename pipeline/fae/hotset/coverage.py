"""Reach: how far in a placement each input's coldest access lies, so how many rows make it hot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from fae.arrays.arrow import Int64Array
from fae.arrays.jit import kernel
from fae.arrays.run_length import RowRanges, RunLengthArray
from fae.execution.executor import Executor
from fae.format.manifest import SPLITS
from fae.hotset.rules.problem import StackedRows
from fae.hotset.stacking import counted_rows
from fae.ingestion.part import Codes
from fae.ingestion.staging import Staging
from fae.profiling.frequencies import Frequencies
from fae.profiling.splits import TRAIN
from fae.storage.folder import Folder
from fae.storage.raw_arrays import read_numbers, write_numbers

#: Beside the splits: the train inputs that were counted, and those that the sample left out.
COUNTED, UNCOUNTED = "counted", "uncounted"
#: How many cuts a search looks at together.
_CUTS = 1 << 12
_FOLDER = "reach.partial"
_CELL = np.dtype("<u2")

Cells = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Reach:
    """Inputs by the number of placed rows that make them hot.

    `cuts`, ascending, are numbers of placed rows. Entry k of `inputs` (cuts + 1,) counts the inputs
    that are hot once `cuts[k]` rows are and not at the cut before; the last, those hot at none.
    """

    cuts: Int64Array
    inputs: npt.NDArray[np.int64]

    @property
    def total(self) -> int:
        """All inputs."""
        return int(self.inputs.sum())

    def hot(self, rows: Int64Array) -> npt.NDArray[np.int64]:
        """The number of hot inputs once the first `rows` rows, each one of the cuts, are hot."""
        places = np.searchsorted(self.cuts, rows)
        if not np.array_equal(self.cuts[places], rows):
            raise ValueError("reach is known at its cuts alone")
        hot: npt.NDArray[np.int64] = np.cumsum(self.inputs)[places]
        return hot


def rows_for(share: float, placed: int, measure: Callable[[Int64Array], Reach]) -> int | None:
    """The fewest of `placed` rows that make this share of the inputs hot; None where none do.

    `measure` gives the reach at some cuts.
    """
    first, last = 0, placed
    while True:
        cuts = np.unique(np.linspace(first, last, min(last - first + 1, _CUTS)).astype(np.int64))
        found = measure(cuts)
        enough = np.cumsum(found.inputs[:-1]) >= share * found.total
        if not enough.any():
            return None
        best = int(enough.argmax())
        last = int(cuts[best])
        if best == 0 or cuts[best - 1] == last - 1:
            return last
        first = int(cuts[best - 1]) + 1


@dataclass(frozen=True)
class _Task:
    """The inputs of one staged part; the file `cells` of `scratch` has each stacked row's cell."""

    staging: str
    frequencies: str
    part: int
    starts: dict[str, int]
    scratch: str
    cells: str
    count: int


def reach(
    staging: Staging,
    frequencies: Frequencies,
    rows: StackedRows,
    placed: RowRanges,
    cuts: Int64Array,
    scratch: Folder,
    executor: Executor,
) -> dict[str, Reach]:
    """The reach of `placed` over each split, and over the counted and uncounted train inputs.

    It is known at `cuts`, fewer than 2^16 - 1 of them. Between two cuts lies a cell of rows.
    """
    found_cells = _cells(placed, cuts, rows.count)
    digest = xxhash.xxh3_64(found_cells.begins.data)
    digest.update(found_cells.values.data)
    cells = f"{_FOLDER}/{digest.hexdigest()}.uint16"
    write_numbers(scratch, cells, (some.astype(_CELL) for _, some in found_cells.chunks()))
    starts = dict(zip(rows.tables, rows.first.tolist(), strict=False))
    tasks = [
        _Task(
            str(staging.directory),
            str(frequencies.directory),
            part,
            starts,
            str(scratch),
            cells,
            cuts.size + 1,
        )
        for part in range(len(staging.parts))
    ]
    found = executor.run("calibrate", _inputs_by_cell, tasks, task_log=scratch)
    counts = np.array(found).sum(axis=0)
    names = (*SPLITS, COUNTED, UNCOUNTED)
    return {name: Reach(cuts, counts[group]) for group, name in enumerate(names)}


def _cells(placed: RowRanges, cuts: Int64Array, rows: int) -> RunLengthArray:
    """The cell of each of `rows` rows; those that are not placed are in the last."""
    pieces, rest = placed.split_at(cuts), placed.complement(rows)
    cell = np.searchsorted(cuts, pieces.ends - pieces.lengths, side="right")
    numbers = np.append(cell, np.full(rest.lengths.size, cuts.size))
    return RunLengthArray.from_ranges(RowRanges.concat(pieces, rest), numbers)


def _inputs_by_cell(task: _Task) -> list[list[int]]:
    """The inputs of each split, and those counted and not, by the cell of their coldest access."""
    staging = Staging.read(task.staging)
    frequencies = Frequencies.read(task.frequencies)
    cell = read_numbers(Folder.of(task.scratch), task.cells, _CELL)
    staged, rows = staging.open_part(task.part, passing=True), staging.parts[task.part].rows
    coldest = np.zeros(rows, dtype=np.uint16)
    for column in staging.schema.sparse:
        ranks = frequencies.read_ranks(column.name, task.part)
        cells = cell[ranks.astype(np.int64) + task.starts[column.table_name]]
        _raise_to(coldest, cells, staged.read_codes(column.name))
    splits = frequencies.assign_splits(staging, task.part)
    counted = counted_rows(frequencies, splits, staging.first_row(task.part))
    groups = [splits == code for code in range(len(SPLITS))]
    groups += [counted, groups[TRAIN] & ~counted]
    return [np.bincount(coldest[group], minlength=task.count).tolist() for group in groups]


def _raise_to(coldest: Cells, cells: Cells, found: Codes) -> None:
    """Raise each input's coldest cell to the cells of its accesses, given by their codes."""
    if found.lengths is None:
        _raise_each(coldest, cells, found.codes)
    else:
        np.maximum.at(coldest, found.expand_rows(coldest.size), cells[found.codes])


@kernel
def _raise_each(coldest: Cells, cells: Cells, codes: npt.NDArray[np.unsignedinteger[Any]]) -> None:
    for row in range(codes.size):
        coldest[row] = max(coldest[row], cells[codes[row]])
