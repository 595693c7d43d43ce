"""Ranking: the ranges of a table in one order, where it was counted in several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fae.arrays.arrow import Int64Array
from fae.execution.executor import Executor
from fae.format.manifest import OOV_ID
from fae.ingestion.staging import Staging
from fae.profiling.counting import RankedValues, expand_ranks
from fae.profiling.frequencies import OFFSET, RANK, accesses_file, ranks_file
from fae.profiling.split_counts import SplitCounts
from fae.profiling.value_ranges import RangeCounts, ValueRange, own, values_file
from fae.storage.folder import Folder
from fae.storage.raw_arrays import read_numbers, write_numbers

#: So many ranks are moved at a time.
_CHUNK = 1 << 20


def rank_ranges(
    counts: SplitCounts,
    starts: Mapping[ValueRange, tuple[RangeCounts, Int64Array]],
    kept: Mapping[str, int],
    executor: Executor,
) -> None:
    """Rank the values of ranges, of which a table has several, over all ranges of the table.

    `starts` gives what was found in each range, and the rank of the first value of each level;
    `kept` how many values of each table have rows. Writes the files of accesses and of ranks.
    """
    moves = [
        _Move(counts, one, found.values, its.tolist(), kept[one.table])
        for one, (found, its) in starts.items()
    ]
    executor.run("ranks", _move, moves, task_log=counts.directory)
    ranges = Counter(one.table for one in starts)
    merges = [_Merge(counts.directory, *one, kept[one[0]]) for one in ranges.items()]
    executor.run("ranks", _merge, merges, task_log=counts.directory)


@dataclass(frozen=True)
class _Move:
    """A range whose ranks are to be ranks over all ranges; ranks above `kept` have no row.

    Its levels have `values` each, of which the first has the rank in `starts`.
    """

    counts: SplitCounts
    range: ValueRange
    values: list[int]
    starts: list[int]
    kept: int


def _move(task: _Move) -> int:
    """Write the ranks over all ranges of a range's values, and of the entries in it."""
    directory, staging = Folder.of(task.counts.directory), Staging.read(task.counts.staging)
    values = np.array(task.values, dtype=np.int64)
    moved = expand_ranks(values, np.array(task.starts, dtype=np.int64))
    write_numbers(directory, _ranks(task.range.table, task.range.number), [moved])
    moved = np.append(np.uint32(OOV_ID), moved)
    moved[moved > task.kept] = OOV_ID
    offsets = (len(staging.parts) + 1) * OFFSET.itemsize // RANK.itemsize
    for column in staging.schema.tables[task.range.table]:
        name = ranks_file(column.name, task.range.number)
        words = read_numbers(directory, own(name), RANK)
        ranks = words[offsets:]
        pieces = (moved[ranks[at : at + _CHUNK]] for at in range(0, ranks.size, _CHUNK))
        write_numbers(directory, name, [words[:offsets], *pieces])
    return moved.size - 1


@dataclass(frozen=True)
class _Merge:
    """A table's ranges to put in one order, of which so many values have rows."""

    directory: str
    table: str
    ranges: int
    kept: int


def _merge(task: _Merge) -> int:
    """Write a table's values by rank."""
    directory = Folder.of(task.directory)
    tables, ranks = [], []
    for number in range(task.ranges):
        with (
            directory.read(values_file(task.table, number)) as path,
            pa.memory_map(str(path)) as file,
        ):
            tables.append(pa.ipc.open_file(file).read_all())
        ranks.append(read_numbers(directory, _ranks(task.table, number), RANK))
    with directory.write(accesses_file(task.table)) as path:
        RankedValues(tuple(tables), tuple(ranks)).write(path, task.kept)
    return task.kept


def _ranks(table: str, number: int) -> str:
    return own(f"values/{table}-{number:05d}.uint32")
