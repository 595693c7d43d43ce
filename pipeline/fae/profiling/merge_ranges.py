"""Merging ranges: give the values of a table that was counted in several ranges one order.

The histograms of the ranges say which ranks each range's values have in the table. Tasks rewrite
the ranks of one range each; then tasks write the values of one table each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fae.execution.executor import Executor
from fae.format.manifest import OOV_ID
from fae.ingestion.staging import Staging
from fae.profiling.counting import RankedValues
from fae.profiling.dictionary_tree import DictionaryTree
from fae.profiling.frequencies import OFFSET_DTYPE, RANK_DTYPE, accesses_file, ranks_file
from fae.profiling.histogram import expand_ranks
from fae.profiling.value_ranges import ValueRange, range_file, range_values_file
from fae.storage.folder import Folder
from fae.storage.raw_arrays import read_numbers, write_numbers

_RANKS_PER_CHUNK = 1 << 20


def merge_ranges(moves: Sequence[Move], executor: Executor) -> None:
    """Write the files of accesses and of ranks of tables that were counted in several ranges."""
    if not moves:
        return
    directory = moves[0].tree.counts.directory
    executor.run("ranks", _move, moves, task_log=directory)
    ranges = Counter((move.range.table, move.kept) for move in moves)
    merges = [_Merge(directory, table, count, kept) for (table, kept), count in ranges.items()]
    executor.run("ranks", _merge, merges, task_log=directory)


@dataclass(frozen=True)
class Move:
    """A range whose ranks become ranks in the table; those above `kept` have no row.

    Level i of the range has `values[i]` values, whose ranks ascend from `starts[i]`.
    """

    tree: DictionaryTree
    range: ValueRange
    values: list[int]
    starts: list[int]
    kept: int


def _move(task: Move) -> int:
    """Write the table's ranks of a range's values and of its entries; return the values."""
    counts = task.tree.counts
    directory, staging = counts.directory, Staging.read(counts.staging)
    values = np.array(task.values, dtype=np.int64)
    table_ranks = expand_ranks(values, np.array(task.starts, dtype=np.int64))
    write_numbers(directory, _ranks_file(task.range.table, task.range.number), [table_ranks])
    # Index 0 is the rank in the range of entries without accesses: they are out of vocabulary.
    table_ranks = np.append(np.uint32(OOV_ID), table_ranks)
    table_ranks[table_ranks > task.kept] = OOV_ID
    offsets = (task.tree.size + 1) * OFFSET_DTYPE.itemsize // RANK_DTYPE.itemsize
    for column in staging.schema.tables[task.range.table]:
        name = ranks_file(column.name, task.range.number)
        words = read_numbers(directory, range_file(name), RANK_DTYPE)
        ranks = words[offsets:]
        begins = range(0, ranks.size, _RANKS_PER_CHUNK)
        chunks = (table_ranks[ranks[begin : begin + _RANKS_PER_CHUNK]] for begin in begins)
        write_numbers(directory, task.tree.name_ranks(name), [words[:offsets], *chunks])
    return table_ranks.size - 1


@dataclass(frozen=True)
class _Merge:
    """A table whose ranges to merge; `kept` of its values have rows."""

    directory: Folder
    table: str
    ranges: int
    kept: int


def _merge(task: _Merge) -> int:
    """Write a table's values by rank; return how many have rows."""
    chunks, ranks = [], []
    for number in range(task.ranges):
        name = range_values_file(task.table, number)
        with task.directory.read(name) as path, pa.memory_map(str(path)) as file:
            chunks.append(pa.ipc.open_file(file).read_all())
        ranks.append(read_numbers(task.directory, _ranks_file(task.table, number), RANK_DTYPE))
    with task.directory.write(accesses_file(task.table)) as path:
        RankedValues(tuple(chunks), tuple(ranks)).write(path, task.kept)
    return task.kept


def _ranks_file(table: str, number: int) -> str:
    return range_file(f"values/{table}-{number:05d}.uint32")
