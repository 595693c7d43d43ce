"""The dictionary tree: dictionaries of neighbouring parts, merged until a task can open all.

A task that counts a range of values opens the dictionaries of the last level: those of the parts
themselves, where these are few. `part_ranks` takes the ranks of their entries to the parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pyarrow as pa

from fae.arrays.arrow import to_arrow, to_numpy, wrap_in_list, write_table
from fae.execution.executor import Executor
from fae.ingestion.staging import Staging
from fae.profiling.counting import DictionaryCounts, Parts, merge_counts
from fae.profiling.frequencies import read_all_ranks, write_ranks
from fae.profiling.histogram import Ranks
from fae.profiling.split_counts import SplitCounts

#: The dictionaries of a column that a task opens, at most.
MAX_FAN_IN = 1 << 10
#: Ranges or columns of so many entries together share a task, however small the largest is.
MAX_ENTRIES_PER_SMALL_GROUP = 1 << 13
#: What a task that merges takes in memory: so much, and so much for each entry that it reads.
_BYTES_PER_TASK, _BYTES_PER_ENTRY = 100 << 20, 16
#: The folder, in the unfinished output, for merged dictionaries and the ranks of their entries.
_FOLDER_NAME = "dictionaries.partial"

Named = TypeVar("Named", bound=Hashable)


@dataclass(frozen=True)
class DictionaryTree:
    """The dictionaries of all parts and levels of merged ones, each of `fan_in` of the level below.

    `sizes` has the number of dictionaries of a column in each level, that of the parts first;
    `entries` those of each table in the last level.
    """

    counts: SplitCounts
    fan_in: int
    sizes: tuple[int, ...]
    entries: dict[str, int]

    @property
    def top(self) -> int:
        """The last level; that of the parts is 0."""
        return len(self.sizes) - 1

    @property
    def merged(self) -> bool:
        """Whether the last level is not that of the parts."""
        return self.top > 0

    @property
    def size(self) -> int:
        """The number of a column's dictionaries in the last level."""
        return self.sizes[-1]

    def read(self, staging: Staging, number: int, columns: Sequence[str]) -> list[DictionaryCounts]:
        """Return the dictionary with this number, in the last level, of each column."""
        if self.merged:
            return [self._read_merged(_name(column, self.top, number)) for column in columns]
        staged = staging.open_part(number)
        counts = self.counts.read(staging, number, staged, columns)
        values = [staged.read_values(column) for column in columns]
        return [DictionaryCounts(*pair) for pair in zip(values, counts, strict=True)]

    def _read_merged(self, name: str) -> DictionaryCounts:
        with self.counts.directory.open(f"{name}.arrow") as source:
            batch = pa.ipc.open_file(source).get_batch(0)
        values, *kinds = batch.schema.names
        counts = {int(kind): to_numpy(batch[kind].values) for kind in kinds}
        return DictionaryCounts(batch[values].values, counts)

    def name_ranks(self, name: str) -> str:
        """Return where to write ranks of the last level's entries, given the name of the file."""
        return f"{_FOLDER_NAME}/{name}" if self.merged else name

    def descend(
        self, column: str, level: int, number: int, begin: int, ranks: Ranks
    ) -> Iterator[Ranks]:
        """Yield each part's share of the ranks of neighbouring entries of a dictionary.

        `ranks` are those of the entries from `begin` on of the dictionary with this number in its
        level.
        """
        if level == 0:
            yield ranks
            return
        first = number * self.fan_in
        children = min(self.fan_in, self.sizes[level - 1] - first)
        name = f"{_name(column, level, number)}.uint32"
        children_positions = read_all_ranks(self.counts.directory, name, children)
        bounds = np.array([begin, begin + ranks.size], dtype=np.uint32)  # else all would be cast
        for child, positions in enumerate(children_positions, start=first):
            own, end = np.searchsorted(positions, bounds).tolist()
            child_ranks = ranks[positions[own:end] - bounds[0]]
            yield from self.descend(column, level - 1, child, own, child_ranks)


def build_tree(counts: SplitCounts, executor: Executor) -> DictionaryTree:
    """Merge dictionaries of neighbours, level by level, until each column has few enough."""
    staging = Staging.read(counts.staging)
    columns = staging.schema.sparse
    names, log = [column.name for column in columns], counts.directory
    place = {name: number for number, name in enumerate(names)}
    entries = np.array([part.values for part in staging.parts])
    tree = DictionaryTree(counts, MAX_FAN_IN, (len(staging.parts),), {})
    while tree.size > tree.fan_in:
        read = np.add.reduceat(entries, range(0, tree.size, tree.fan_in))
        sizes = dict(zip(names, read.max(axis=0).tolist(), strict=True))
        # A part is opened once for several small columns; a merged dictionary is one of a column.
        groups = [[name] for name in names] if tree.merged else group_by_size(sizes)
        tasks = [
            _Merge(tree, tuple(group), number) for group in groups for number in range(len(read))
        ]
        needs = _BYTES_PER_ENTRY * max(sizes.values()) + _BYTES_PER_TASK
        results = executor.run("merge", _merge, tasks, task_log=log, needs=needs)
        entries = np.empty(read.shape, dtype=np.int64)
        for task, found in zip(tasks, results, strict=True):
            entries[task.number, [place[column] for column in task.columns]] = found
        tree = replace(tree, sizes=(*tree.sizes, len(read)))
    in_tables: Counter[str] = Counter()
    for column, total in zip(columns, entries.sum(axis=0).tolist(), strict=True):
        in_tables[column.table_name] += total
    return replace(tree, entries=dict(in_tables))


def group_by_size(sizes: Mapping[Named, int]) -> list[list[Named]]:
    """Group ranges or columns, the largest first, to open the parts once for several small ones.

    A group of several has at most a quarter of the entries of the largest, or few entries.
    """
    room_of_several = max(max(sizes.values(), default=0) // 4, MAX_ENTRIES_PER_SMALL_GROUP)
    groups: list[list[Named]] = []
    room = 0
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        if not groups or sizes[name] > room:
            groups.append([])
            room = room_of_several
        groups[-1].append(name)
        room -= sizes[name]
    return groups


@dataclass(frozen=True)
class _Merge:
    """Dictionaries of columns, with their number in the level to come, to merge from the last."""

    tree: DictionaryTree
    columns: tuple[str, ...]
    number: int


def _merge(task: _Merge) -> list[int]:
    """Write merged dictionaries and their children's positions in them; return their entries."""
    tree = task.tree
    staging = Staging.read(tree.counts.staging)
    first = task.number * tree.fan_in
    children = range(first, min(first + tree.fan_in, tree.size))
    by_child = [tree.read(staging, child, task.columns) for child in children]
    return [
        _write_merged(tree, _name(column, tree.top + 1, task.number), dictionaries)
        for column, dictionaries in zip(task.columns, zip(*by_child, strict=True), strict=True)
    ]


def _write_merged(tree: DictionaryTree, name: str, dictionaries: Parts) -> int:
    """Merge a column's dictionaries, and write the files of this name; return the entries."""
    directory, (merged, positions) = tree.counts.directory, merge_counts(dictionaries)
    arrays = {"values": merged.values}
    arrays |= {str(kind): to_arrow(counts) for kind, counts in merged.counts.items()}
    table = pa.table({column: wrap_in_list(array) for column, array in arrays.items()})
    with directory.write(f"{name}.arrow") as path:
        write_table(table, path)
    write_ranks(positions, len(positions), directory, f"{name}.uint32")
    return len(merged.values)


def _name(column: str, level: int, number: int) -> str:
    """Return the name, without its suffix, of the files of a merged dictionary."""
    return f"{_FOLDER_NAME}/{column}-{level}-{number:06d}"
