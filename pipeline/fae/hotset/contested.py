"""Contested samples: those that a core of rows, hot in any case, does not make hot by itself.

The rows of most accesses are hot under any rule, and most accesses are to them. What is left of the
samples without them is a small part, which is read part by part, wherever tasks run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fae.arrays.arrow import Int32Array, Int64Array
from fae.arrays.buffers import return_free_memory
from fae.arrays.jit import kernel
from fae.arrays.run_length import RowRanges
from fae.execution.executor import Executor
from fae.hotset.problem import ContestedSamples, Problem, StackedRows, StackedSamples
from fae.hotset.problem_data import stack_part
from fae.ingestion.staging import Staging
from fae.profiling.frequencies import Frequencies
from fae.storage.folder import Folder
from fae.storage.raw_arrays import create_numbers, read_numbers, write_numbers

#: The level of rows outside the core; in the core, the coldest rows have level 1.
_CONTESTED = 0
_CORE_LEVELS = 255
_LEVELS_FILE = "levels.partial/core.uint8"
#: What a task writes, one after the other: rows, lengths, and the charged rows with their charges.
_PART_FILE = "contested.partial/{part:05}.int32"
#: What it returns: how many rows, samples and charged rows these are.
_PartSizes = tuple[int, int, int]

Levels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Task:
    """A staged part to read; `scratch` has the level of each stacked row."""

    staging: Folder
    frequencies: Folder
    scratch: Folder
    part: int


def find_contested(problem: Problem, core: RowRanges) -> ContestedSamples:
    """Return the samples of a problem that `core`, rows in descending order, leaves open."""
    if problem.read_contested is not None:
        return problem.read_contested(core)
    levels = np.zeros(problem.rows.count, dtype=np.uint8)
    _assign_levels(core, levels)
    return _set_core_aside(problem.read_samples(), levels)


def read_contested(
    staging: Staging,
    frequencies: Frequencies,
    rows: StackedRows,
    core: RowRanges,
    scratch: Folder,
    executor: Executor,
) -> ContestedSamples:
    """Return what `find_contested` does, from the staged parts; tasks read a part each."""
    with create_numbers(scratch, _LEVELS_FILE, np.uint8, rows.count) as levels:
        _assign_levels(core, levels)
    folders = (staging.directory, frequencies.directory, scratch)
    tasks = [_Task(*folders, part) for part in range(len(staging.parts))]
    # Results that wait in memory for the last of them cannot be given back to the system.
    sizes = executor.run("contested", _write_part, tasks)
    return_free_memory()  # ranking is where memory is highest
    return _concat_parts(scratch, sizes)


def _concat_parts(scratch: Folder, sizes: Sequence[_PartSizes]) -> ContestedSamples:
    """Return the contested samples of all parts, whose files have so many numbers."""
    accesses, samples, _ = np.sum(sizes, axis=0).tolist()
    rows = np.empty(accesses, dtype=np.int32)
    offsets = np.zeros(samples + 1, dtype=np.int64)
    charged, charges = [], []
    row = sample = 0
    for part, (accesses, samples, _) in enumerate(sizes):
        numbers = read_numbers(scratch, _PART_FILE.format(part=part), np.int32)
        ends = np.cumsum(sizes[part])
        rows[row : row + accesses], lengths, charged_rows, of_rows = np.split(numbers, ends)
        offsets[sample + 1 : sample + 1 + samples] = row + np.cumsum(lengths)
        row, sample = row + accesses, sample + samples
        charged.append(charged_rows.copy())
        charges.append(of_rows.copy())
    charged_rows, inverse = np.unique(np.concatenate(charged), return_inverse=True)
    totals = np.bincount(inverse, weights=np.concatenate(charges), minlength=charged_rows.size)
    return ContestedSamples(StackedSamples(rows, offsets), charged_rows, totals.astype(np.int64))


def _write_part(task: _Task) -> _PartSizes:
    """Write the contested samples of a part."""
    levels = read_numbers(task.scratch, _LEVELS_FILE, np.uint8)
    staging, frequencies = Staging.read(task.staging), Frequencies.read(task.frequencies)
    contested = _set_core_aside(stack_part(staging, frequencies, task.part), levels)
    samples, charged_rows = contested.samples, contested.charged_rows
    figures = (samples.rows, np.diff(samples.offsets), charged_rows, contested.charges)
    name = _PART_FILE.format(part=task.part)
    write_numbers(task.scratch, name, (each.astype(np.int32) for each in figures))
    return samples.rows.size, samples.count, charged_rows.size


def _assign_levels(core: RowRanges, levels: Levels) -> None:
    """Set the level of each row of `core`, descending from the highest; others are _CONTESTED."""
    cuts = np.linspace(0, core.size, _CORE_LEVELS + 1).astype(np.int64)[1:]
    core.fill(cuts, np.arange(_CORE_LEVELS, -1, -1, dtype=np.uint8), levels)


def _set_core_aside(samples: StackedSamples, levels: Levels) -> ContestedSamples:
    """Return the samples that rows with a level leave open."""
    kept, lengths, coldest = _split_by_level(samples.rows, samples.offsets, levels)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    charged_rows, charges = np.unique(coldest, return_counts=True)
    return ContestedSamples(StackedSamples(kept, offsets), charged_rows, charges)


@kernel
def _split_by_level(
    rows: Int32Array, offsets: Int64Array, levels: Levels
) -> tuple[Int32Array, Int32Array, Int32Array]:
    """Return the contested rows of samples that have some, how many, and the others' coldest row.

    A sample without rows is hot by any row that is: its coldest row is row 0, out of vocabulary.
    """
    kept = np.empty(rows.size, np.int32)
    lengths = np.empty(offsets.size - 1, np.int32)
    coldest = np.empty(offsets.size - 1, np.int32)
    end = contested = 0
    for sample in range(offsets.size - 1):
        begin, coldest_level, coldest_row = end, _CORE_LEVELS + 1, 0
        for access in range(offsets[sample], offsets[sample + 1]):
            row = rows[access]
            level = levels[row]
            if level == _CONTESTED:
                kept[end] = row
                end += 1
            elif level < coldest_level:
                coldest_level, coldest_row = level, row
        if end > begin:
            lengths[contested] = end - begin
            contested += 1
        else:
            coldest[sample - contested] = coldest_row
    hot = offsets.size - 1 - contested
    return kept[:end].copy(), lengths[:contested].copy(), coldest[:hot].copy()
