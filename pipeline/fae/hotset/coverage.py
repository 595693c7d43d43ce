"""Coverage: how many samples of each split are hot, for any number of hot rows of a ranking.

A sample becomes hot with the last of its rows. Its coldest row, the one ranked last, therefore
says from how many hot rows on the sample is hot, and one pass over the log answers for all budgets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash

from fae.arrays.arrow import BoolArray, Int64Array
from fae.arrays.jit import kernel
from fae.arrays.run_length import RowRanges
from fae.execution.executor import Executor
from fae.format.manifest import OOV_ID, SPLITS
from fae.hotset.hot_set import HotShares
from fae.hotset.problem import RowNumbers
from fae.hotset.problem_data import locate_tables, mask_counted_rows
from fae.ingestion.part import Codes, IntegerArray
from fae.ingestion.staging import Staging
from fae.profiling.frequencies import Frequencies
from fae.profiling.splits import TRAIN
from fae.storage.folder import Folder
from fae.storage.raw_arrays import create_numbers, read_numbers

#: Groups beside the splits: the train samples in the sample of train, and those outside it.
COUNTED, UNCOUNTED = "counted", "uncounted"
HELD_OUT = SPLITS[1:]
#: Further groups: of each held-out split, the samples whose values all have a row of their own.
KNOWN = {split: f"{split}, known" for split in HELD_OUT}
_CUTS_PER_SEARCH_STEP = 1 << 12
_CELL_FOLDER = "reach.partial"
_CELL_DTYPE = np.dtype("<u2")

Cells = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Coverage:
    """Samples of one group by the number of hot rows from which on they are hot.

    `cuts`, ascending, are numbers of hot rows. Entry k of `samples` (cuts + 1,) counts the samples
    that are hot with `cuts[k]` hot rows but not with `cuts[k - 1]`; the last entry, those that are
    hot at no cut.
    """

    cuts: Int64Array
    samples: Int64Array

    @property
    def total(self) -> int:
        """The number of samples."""
        return int(self.samples.sum())

    def count_hot(self, hot_rows: Int64Array) -> Int64Array:
        """Return how many samples are hot with each number of hot rows, all of which are cuts."""
        positions = np.searchsorted(self.cuts, hot_rows)
        if not np.array_equal(self.cuts[positions], hot_rows):
            raise ValueError("coverage is known only at its cuts")
        hot: Int64Array = np.cumsum(self.samples)[positions]
        return hot


#: Returns the coverage of a ranking at some cuts.
Measure = Callable[[Int64Array], Coverage]


def find_row_count(share: float, rows: int, measure: Measure) -> int | None:
    """Return the fewest hot rows with which this share of the samples is hot; None if none do.

    There are `rows` in the ranking; `measure` returns its coverage at the given cuts.
    """
    first, last = 0, rows
    while True:
        # Measuring is a pass over the log, so split the range in thousands rather than in two.
        step_cuts = min(last - first + 1, _CUTS_PER_SEARCH_STEP)
        cuts = np.unique(np.linspace(first, last, step_cuts).astype(np.int64))
        coverage = measure(cuts)
        suffices = np.cumsum(coverage.samples[:-1]) >= share * coverage.total
        if not suffices.any():
            return None
        best = int(suffices.argmax())
        last = int(cuts[best])
        if best == 0 or cuts[best - 1] == last - 1:
            return last
        first = int(cuts[best - 1]) + 1


@dataclass(frozen=True)
class Cuts:
    """A ranking, and the numbers of its hot rows, ascending, at which to measure its coverage.

    There may be no more than 2^16 - 2 numbers.
    """

    ranked_rows: RowRanges
    hot_rows: Int64Array


@dataclass(frozen=True)
class _Task:
    """A staged part whose samples to count by cell, for each ranking.

    For each, `cells` names the file with each stacked row's cell, and the number of cells.
    """

    staging: Folder
    frequencies: Folder
    scratch: Folder
    cells: tuple[tuple[str, int], ...]
    part: int


def measure_coverage(
    staging: Staging,
    frequencies: Frequencies,
    rankings: Sequence[Cuts],
    scratch: Folder,
    executor: Executor,
) -> list[dict[str, Coverage]]:
    """Return the coverage of each ranking for each split, COUNTED, UNCOUNTED and those of KNOWN.

    Between two cuts lies a cell of rows: cell k has the ranked rows from cut k - 1 to cut k. A
    sample's cell is the highest of its rows' cells. One pass over the log serves all rankings.
    """
    row_count = sum(table.rows for table in frequencies.tables)
    cells = []
    with executor.track("cells", len(rankings)) as end_step:
        for cuts in rankings:
            cells.append(_write_cells(cuts, row_count, scratch))
            end_step()
    folders = (staging.directory, frequencies.directory, scratch)
    tasks = [_Task(*folders, tuple(cells), part) for part in range(len(staging.parts))]
    by_part = executor.run("calibrate", _count_samples_by_cell, tasks, task_log=scratch)
    groups = (*SPLITS, COUNTED, UNCOUNTED, *KNOWN.values())
    measured = []
    for cuts, counts_by_part in zip(rankings, zip(*by_part, strict=True), strict=True):
        counts = np.array(counts_by_part).sum(axis=0)
        covered = [Coverage(cuts.hot_rows, counts[number]) for number in range(len(groups))]
        measured.append(dict(zip(groups, covered, strict=True)))
    return measured


def compute_shares(rule: str, coverage: Mapping[str, Coverage], hot_count: int) -> HotShares:
    """Return the shares of train, held-out and known samples that `hot_count` rows make hot.

    `coverage` is that of the ranking of `rule`, by group.
    """
    shares: list[float | None] = []
    for groups in (SPLITS[:1], HELD_OUT, tuple(KNOWN.values())):
        hot = sum(int(coverage[group].count_hot(np.array(hot_count))) for group in groups)
        total = sum(coverage[group].total for group in groups)
        shares.append(hot / total if total else None)
    train, held_out, known = shares
    return HotShares(rule, train or 0.0, held_out, known)


def _write_cells(cuts: Cuts, row_count: int, scratch: Folder) -> tuple[str, int]:
    """Write the cell of each of `row_count` rows; return the file and the number of cells."""
    ranked_rows, cell_count = cuts.ranked_rows, cuts.hot_rows.size + 1
    # A file named by its content serves tasks on other machines, and those of a resumed run.
    digest = xxhash.xxh3_64(ranked_rows.begins.data)
    for numbers in (ranked_rows.lengths, cuts.hot_rows):
        digest.update(numbers.data)
    name = f"{_CELL_FOLDER}/{digest.hexdigest()}.uint16"
    with create_numbers(scratch, name, _CELL_DTYPE, row_count) as cells:
        cells[:] = cell_count - 1  # unless they are ranked
        ranked_rows.fill(cuts.hot_rows, np.arange(cell_count, dtype=_CELL_DTYPE), cells)
    return name, cell_count


def _count_samples_by_cell(task: _Task) -> list[list[list[int]]]:
    """Return the samples by ranking, by group of `measure_coverage`, and by cell."""
    staging = Staging.read(task.staging)
    frequencies = Frequencies.read(task.frequencies)
    cells_of_row = [read_numbers(task.scratch, name, _CELL_DTYPE) for name, _ in task.cells]
    first_rows = locate_tables(frequencies)
    staged, rows = staging.open_part(task.part, buffered=True), staging.parts[task.part].rows
    splits = frequencies.assign_splits(staging, task.part)
    held_out = np.flatnonzero(splits != TRAIN)
    coldest = np.zeros((len(task.cells), rows), dtype=np.uint16)
    is_known = np.ones(rows, dtype=np.bool_)
    for column in staging.schema.sparse:
        ranks = frequencies.read_ranks(column.name, task.part)
        codes = staged.read_codes(column.name)
        stacked = ranks.astype(np.int64) + first_rows[column.table_name]
        for number, cell_of_row in enumerate(cells_of_row):
            _raise_cells(coldest[number], cell_of_row[stacked], codes)
        if held_out.size:
            _exclude_unknown(is_known, ranks == OOV_ID, codes, held_out)
    is_counted = mask_counted_rows(frequencies, splits, staging.first_row(task.part))
    groups = [splits == code for code in range(len(SPLITS))]
    groups += [is_counted, groups[TRAIN] & ~is_counted]
    groups += [groups[SPLITS.index(split)] & is_known for split in KNOWN]
    return [
        [np.bincount(cells[group], minlength=count).tolist() for group in groups]
        for cells, (_, count) in zip(coldest, task.cells, strict=True)
    ]


def _exclude_unknown(
    is_known: BoolArray, is_unknown: BoolArray, codes: Codes, samples: RowNumbers
) -> None:
    """Clear `is_known` of samples with an access that is unknown; `is_unknown` is by code.

    Only those of `samples` need be right.
    """
    if not is_unknown.any():
        return
    if codes.lengths is None:
        is_known[samples] &= ~is_unknown[codes.codes[samples]]
    else:
        unknown = is_unknown[codes.codes]
        is_known[codes.expand_rows(is_known.size)[unknown]] = False


def _raise_cells(coldest: Cells, cells: Cells, codes: Codes) -> None:
    """Raise each sample's `coldest` cell to those of its accesses; `cells` are by code."""
    if codes.lengths is None:
        _raise_cells_in_loop(coldest, cells, codes.codes)
    else:
        np.maximum.at(coldest, codes.expand_rows(coldest.size), cells[codes.codes])


@kernel
def _raise_cells_in_loop(coldest: Cells, cells: Cells, codes: IntegerArray) -> None:
    """Raise as `_raise_cells` where each sample has one access: gather and compare in one pass."""
    for row in range(codes.size):
        coldest[row] = max(coldest[row], cells[codes[row]])
