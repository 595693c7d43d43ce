"""Value ranges: intervals of a table's values, which tasks count each by itself.

A range is a slice of the dictionary of each part, so no task's memory grows with the rows. A table
of few values is one range. `merge_ranges` puts the values of several ranges in one order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import polars as pl
import pyarrow as pa

from fae.arrays.arrow import write_table
from fae.execution.executor import Executor
from fae.format.manifest import OOV_ID, SPLITS
from fae.ingestion.staging import Staging
from fae.profiling.counting import DictionaryCounts, Parts, count_below, count_values, draw_bounds
from fae.profiling.dictionary_tree import DictionaryTree, group_by_size
from fae.profiling.frequencies import OutOfVocabulary, accesses_file, ranks_file, write_ranks
from fae.profiling.histogram import AccessHistogram, Ranks
from fae.profiling.split_counts import SAMPLED
from fae.profiling.splits import TRAIN

#: The entries of the parts' dictionaries in a range, at most. A range has as many for each part at
#: least, because later stages look each part up in the ranks of each range.
MAX_ENTRIES_PER_RANGE, MIN_ENTRIES_PER_PART = 1 << 21, 1 << 10
#: The files that may stay mapped: a process has 65,530 maps for all of its threads.
MAX_MAPPED_FILES = 1 << 11
#: The parts that are looked at to place the bounds of ranges.
_PARTS_FOR_BOUNDS = 64
#: What a task takes in memory: so much, and so much for each of its entries. Opening a
#: dictionary takes as much as so many entries.
_BYTES_PER_TASK, _BYTES_PER_ENTRY, _ENTRIES_PER_SLICE = 100 << 20, 40, 1 << 6
#: The folder, in the unfinished output, for what each of several ranges of a table writes.
_FOLDER_NAME = "ranges.partial"

Bound = int | str | None
ColumnCounts = dict[str, dict[str, OutOfVocabulary]]


@dataclass(frozen=True)
class ValueRange:
    """A table's values from `least` on and below `end`; None is no bound.

    A null is below all other values. `number` counts the ranges of the table from 0.
    """

    table: str
    number: int
    least: Bound
    end: Bound

    @property
    def whole(self) -> bool:
        """Whether the range has all values of the table."""
        return self.least is None and self.end is None

    def slice_of(self, values: pa.Array) -> slice:
        """Return where the values of the range lie in a dictionary."""
        if self.whole:
            return slice(0, len(values))
        bounds = [bound for bound in (self.least, self.end) if bound is not None]
        below = count_below(values, pl.Series(bounds, dtype=pl.Series(values[:0]).dtype))
        begin = 0 if self.least is None else below[0]
        return slice(begin, len(values) if self.end is None else below[-1])


#: The ranges of each table.
Ranges = Mapping[str, Sequence[ValueRange]]


def plan_ranges(staging: Staging, table: str) -> list[ValueRange]:
    """Return the ranges in which to count a table; they affect memory and time alone."""
    entries = staging.count_values(table)
    max_entries = max(MAX_ENTRIES_PER_RANGE, MIN_ENTRIES_PER_PART * len(staging.parts))
    if entries <= max_entries:
        return [ValueRange(table, 0, None, None)]
    columns = [column.name for column in staging.schema.tables[table]]
    parts = range(0, len(staging.parts), -(-len(staging.parts) // _PARTS_FOR_BOUNDS))
    values = [staging.open_part(part).read_values(column) for part in parts for column in columns]
    ranges = -(-entries // max_entries)
    bounds = draw_bounds(values, -(-sum(map(len, values)) // ranges)).to_list()
    pairs = zip([None, *bounds], [*bounds, None], strict=True)
    return [ValueRange(table, number, least, end) for number, (least, end) in enumerate(pairs)]


@dataclass(frozen=True)
class RangeCounts:
    """What is known of a range: its histogram, and its out-of-vocabulary accesses by column."""

    accesses: list[int]
    values: list[int]
    columns: ColumnCounts

    @property
    def histogram(self) -> AccessHistogram:
        """The range's values by their accesses."""
        accesses = np.array(self.accesses, dtype=np.int64)
        return AccessHistogram(accesses, np.array(self.values, dtype=np.int64))


def count_ranges(
    tree: DictionaryTree, ranges: Ranges, min_counts: Mapping[str, int], executor: Executor
) -> dict[ValueRange, RangeCounts]:
    """Count the ranges of each table, given the `min_count` of each table.

    Writes their values and the ranks of their entries, in the tree's last level, to the directory
    of its counts: as they stay for a whole table, else in a folder of their own, with ranks in the
    range.
    """
    staging = Staging.read(tree.counts.staging)
    sizes: dict[ValueRange, int] = {}
    for table, in_table in ranges.items():
        min_entries = _ENTRIES_PER_SLICE * tree.size * len(staging.schema.tables[table])
        entries = tree.entries[table] // len(in_table)
        sizes |= dict.fromkeys(in_table, max(entries, min_entries))
    groups = group_by_size(sizes)
    tasks = [
        _Task(tree, tuple(group), {own.table: min_counts[own.table] for own in group})
        for group in groups
    ]
    needs = _BYTES_PER_ENTRY * max(sizes.values()) + _BYTES_PER_TASK
    log = tree.counts.directory
    results = executor.run("profile", _count_group, tasks, task_log=log, needs=needs)
    return dict(zip(chain(*groups), chain(*results), strict=True))


@dataclass(frozen=True)
class _Task:
    """Ranges to count; `min_counts` has the fewest accesses that earn a value of a table a row."""

    tree: DictionaryTree
    ranges: tuple[ValueRange, ...]
    min_counts: dict[str, int]


def _count_group(task: _Task) -> list[RangeCounts]:
    """Count a group of ranges, and write their values and the ranks of their entries."""
    tree, staging = task.tree, Staging.read(task.tree.counts.staging)
    entries: dict[ValueRange, dict[str, list[DictionaryCounts]]] = {
        value_range: {column.name: [] for column in staging.schema.tables[value_range.table]}
        for value_range in task.ranges
    }
    names = list(dict.fromkeys(chain(*entries.values())))
    files = tree.size * (len(names) if tree.merged else 1)
    for number in range(tree.size):
        dictionaries = dict(zip(names, tree.read(staging, number, names), strict=True))
        for value_range, columns in entries.items():
            for column, in_range in columns.items():
                values = dictionaries[column].values
                own = dictionaries[column].take(value_range.slice_of(values))
                in_range.append(own if files <= MAX_MAPPED_FILES else own.copy())
    # Each range's entries are let go as soon as it is counted.
    return [_count_range(task, own, entries.pop(own)) for own in task.ranges]


def _count_range(task: _Task, value_range: ValueRange, entries: Mapping[str, Parts]) -> RangeCounts:
    """Count a range, given the entries of each part by column, and write its files.

    The files of a whole table are final. Those of one range of several have ranks in the range, of
    all its values, for which rank earns a row is known only once all ranges are counted.
    """
    tree, directory = task.tree, task.tree.counts.directory
    sample = SAMPLED if tree.counts.sample < 1 else None
    counted = count_values(list(chain(*entries.values())), TRAIN, sample)
    kept = counted.histogram.filter(task.min_counts[value_range.table]).value_count
    if value_range.whole:
        with directory.write(accesses_file(value_range.table)) as path:
            counted.ranked.write(path, kept)
    else:
        values = counted.ranked.sort(1, counted.histogram.value_count + 1).to_arrow()
        name = range_values_file(value_range.table, value_range.number)
        with directory.write(name) as path:
            write_table(values, path)
    columns, entry_ranks = {}, iter(counted.entry_ranks)
    for column, column_parts in entries.items():
        ranks = list(islice(entry_ranks, len(column_parts)))
        folded = [np.where(part > kept, np.uint32(OOV_ID), part) for part in ranks]
        name = ranks_file(column, value_range.number)
        if value_range.whole:
            write_ranks(folded, tree.size, directory, tree.name_ranks(name))
        else:
            write_ranks(ranks, tree.size, directory, range_file(name))
        columns[column] = _count_out_of_vocabulary(column_parts, folded)
    histogram = counted.histogram
    return RangeCounts(histogram.accesses.tolist(), histogram.values.tolist(), columns)


def _count_out_of_vocabulary(parts: Parts, ranks: Sequence[Ranks]) -> dict[str, OutOfVocabulary]:
    """Count the accesses in each split, and those of them whose rank is that of id 0."""
    accesses, to_oov = np.zeros((2, len(SPLITS)), dtype=np.int64)
    for part, part_ranks in zip(parts, ranks, strict=True):
        for code in range(len(SPLITS)):
            if code in part.counts:
                accesses[code] += part.counts[code].sum(dtype=np.int64)
                to_oov[code] += part.counts[code][part_ranks == OOV_ID].sum(dtype=np.int64)
    pairs = zip(accesses.tolist(), to_oov.tolist(), strict=True)
    return {split: OutOfVocabulary(*pair) for split, pair in zip(SPLITS, pairs, strict=True)}


def range_file(name: str) -> str:
    """Return the name, in the folder of ranges, of a file of one range of several."""
    return f"{_FOLDER_NAME}/{name}"


def range_values_file(table: str, number: int) -> str:
    """Return the name of the file of a range's values with their accesses, by rank in the range."""
    return range_file(f"values/{table}-{number:05d}.arrow")
