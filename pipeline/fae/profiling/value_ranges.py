"""Ranges: a table's values counted by several tasks, each a slice of every part's dictionary.

So no task's memory grows with the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from fae.execution.executor import Executor
from fae.format.manifest import OOV_ID, SPLITS
from fae.ingestion.staging import Staging
from fae.profiling.counting import (
    AccessHistogram,
    DictionaryCounts,
    Ranks,
    count_below,
    count_values,
    draw_bounds,
)
from fae.profiling.frequencies import (
    OFFSET,
    RANK,
    OutOfVocabulary,
    accesses_file,
    ranks_file,
)
from fae.profiling.split_counts import SAMPLED, SplitCounts
from fae.profiling.splits import TRAIN
from fae.storage.folder import Folder
from fae.storage.raw_arrays import write_numbers

#: The most entries of dictionaries that a task counts, and for each part, which must be opened.
MAX_ENTRIES_PER_RANGE, MIN_ENTRIES_PER_PART = 1 << 21, 1 << 10
#: What counting takes for each of a task's entries, and beside them; a slice of a part's dictionary
#: takes as much as so many entries.
_BYTES_AN_ENTRY, _BYTES, _SLICE = 40, 100 << 20, 1 << 6
#: So many parts may stay mapped: a process has 65,530 maps for all of its threads.
MAX_MAPPED_PARTS = 1 << 11
#: So many parts are looked at for where ranges begin.
_DRAWN = 64
#: In the unfinished output: ranges of tables that have several.
_FOLDER = "ranges.partial"

Bound = int | str | None


@dataclass(frozen=True)
class ValueRange:
    """A table's values from `least` on and below `end`: all of them where neither is given.

    A missing value is below all others. `number` counts the ranges of the table.
    """

    table: str
    number: int
    least: Bound
    end: Bound

    @property
    def whole(self) -> bool:
        """Whether these are all values of the table."""
        return self.least is None and self.end is None

    def of(self, values: pa.Array) -> slice:
        """Where these values lie in a dictionary."""
        if self.whole:
            return slice(0, len(values))
        bounds = [bound for bound in (self.least, self.end) if bound is not None]
        found = count_below(values, pl.Series(bounds, dtype=pl.Series(values[:0]).dtype))
        begin = 0 if self.least is None else found[0]
        return slice(begin, len(values) if self.end is None else found[-1])


def plan_ranges(staging: Staging, table: str) -> list[ValueRange]:
    """The ranges of a table; which they are shows in nothing but memory and time."""
    entries = staging.count_values(table)
    most = max(MAX_ENTRIES_PER_RANGE, MIN_ENTRIES_PER_PART * len(staging.parts))
    if entries <= most:
        return [ValueRange(table, 0, None, None)]
    columns = [column.name for column in staging.schema.tables[table]]
    drawn = range(0, len(staging.parts), -(-len(staging.parts) // _DRAWN))
    values = [staging.open_part(part).read_values(column) for part in drawn for column in columns]
    ranges = -(-entries // most)
    bounds = draw_bounds(values, -(-sum(map(len, values)) // ranges)).to_list()
    pairs = zip([None, *bounds], [*bounds, None], strict=True)
    return [ValueRange(table, number, least, end) for number, (least, end) in enumerate(pairs)]


def group_ranges(sizes: Mapping[ValueRange, int]) -> list[list[ValueRange]]:
    """Ranges in groups, the largest first: opening parts for each small one costs more than it.

    A group has at most a quarter of the entries of the largest range, unless it is one range.
    """
    groups: list[list[ValueRange]] = []
    room = 0
    for one in sorted(sizes, key=lambda one: -sizes[one]):
        if not groups or sizes[one] > room:
            groups.append([])
            room = max(sizes.values()) // 4
        groups[-1].append(one)
        room -= sizes[one]
    return groups


ColumnCounts = dict[str, dict[str, OutOfVocabulary]]


def count_ranges(
    counts: SplitCounts, fewest: Mapping[ValueRange, int], executor: Executor
) -> dict[ValueRange, RangeCounts]:
    """Count ranges, each with the fewest accesses that a value with a row has.

    Writes their values and the ranks of the entries in them to the directory of `counts`: those of
    a whole table as they are wanted, others as ranks in the range, in a folder of their own.
    """
    staging = Staging.read(counts.staging)
    numbers = Counter(one.table for one in fewest)
    least = _SLICE * len(staging.parts)
    entries = {
        table: max(staging.count_values(table) // number, least * len(staging.schema.tables[table]))
        for table, number in numbers.items()
    }
    sizes = {one: entries[one.table] for one in fewest}
    groups = group_ranges(sizes)
    done = executor.run(
        "profile",
        _count,
        [_Task(counts, tuple((one, fewest[one]) for one in some)) for some in groups],
        task_log=counts.directory,
        needs=_BYTES_AN_ENTRY * max(sizes.values()) + _BYTES,
    )
    return {
        one: result
        for some, results in zip(groups, done, strict=True)
        for one, result in zip(some, results, strict=True)
    }


@dataclass(frozen=True)
class _Task:
    """Ranges to count, each with the fewest accesses that a value with a row has."""

    counts: SplitCounts
    ranges: tuple[tuple[ValueRange, int], ...]


@dataclass(frozen=True)
class RangeCounts:
    """A range's tally, and what is out of vocabulary of its entries, by column and split."""

    accesses: list[int]
    values: list[int]
    columns: ColumnCounts

    @property
    def tally(self) -> AccessHistogram:
        """The range's values by their accesses."""
        return AccessHistogram(
            np.array(self.accesses, dtype=np.int64), np.array(self.values, dtype=np.int64)
        )


def _count(task: _Task) -> list[RangeCounts]:
    """Count ranges, and write their values and the ranks of the entries in them."""
    staging = Staging.read(task.counts.staging)
    entries: dict[ValueRange, dict[str, list[DictionaryCounts]]] = {
        one: {column.name: [] for column in staging.schema.tables[one.table]}
        for one, _ in task.ranges
    }
    for part in range(len(staging.parts)):
        staged = staging.open_part(part)
        for one, its in entries.items():
            found = task.counts.of(staging, part, staged, list(its))
            for column, counts in zip(its, found, strict=True):
                values = staged.read_values(column)
                mine = one.of(values)
                some = {kind: numbers[mine] for kind, numbers in counts.items()}
                slices = DictionaryCounts(values[mine], some)
                its[column].append(
                    slices if len(staging.parts) <= MAX_MAPPED_PARTS else slices.copy()
                )
    directory = Folder.of(task.counts.directory)
    sampled = task.counts.sample < 1
    return [
        _count_range(one, entries.pop(one), fewest, sampled, directory)
        for one, fewest in task.ranges
    ]


def _count_range(
    one: ValueRange,
    entries: dict[str, list[DictionaryCounts]],
    fewest: int,
    sampled: bool,
    directory: Folder,
) -> RangeCounts:
    """Count a range, given the entries of each part in each column.

    Of a whole table, the files are those that are wanted in the end.
    """
    every = [entry for parts in entries.values() for entry in parts]
    counted = count_values(every, TRAIN, SAMPLED if sampled else None)
    kept = counted.tally.of(fewest).seen
    if one.whole:
        with directory.write(accesses_file(one.table)) as path:
            counted.ranked.write(path, kept)
    else:
        table = counted.ranked.by_rank(1, counted.tally.seen + 1).to_arrow()
        name = values_file(one.table, one.number)
        with directory.write(name) as path, pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    found, first = {}, 0
    for column, parts in entries.items():
        ranks = counted.ranks[first : first + len(parts)]
        first += len(parts)
        folded = [np.where(mine > kept, np.uint32(OOV_ID), mine) for mine in ranks]
        name = ranks_file(column, one.number)
        _write_ranks(folded if one.whole else ranks, directory, name if one.whole else own(name))
        found[column] = _out_of_vocabulary(parts, folded)
    return RangeCounts(counted.tally.accesses.tolist(), counted.tally.values.tolist(), found)


def _out_of_vocabulary(
    parts: Sequence[DictionaryCounts], ranks: Sequence[Ranks]
) -> dict[str, OutOfVocabulary]:
    """Per split, the accesses and those to id 0."""
    accesses, without = np.zeros((2, len(SPLITS)), dtype=np.int64)
    for part, rank in zip(parts, ranks, strict=True):
        for code in range(len(SPLITS)):
            if code in part.counts:
                accesses[code] += part.counts[code].sum(dtype=np.int64)
                without[code] += part.counts[code][rank == OOV_ID].sum(dtype=np.int64)
    pairs = zip(accesses.tolist(), without.tolist(), strict=True)
    return {split: OutOfVocabulary(*pair) for split, pair in zip(SPLITS, pairs, strict=True)}


def _write_ranks(parts: Sequence[Ranks], directory: Folder, name: str) -> None:
    """Write a file of ranks, part by part."""
    words = [part.astype(RANK, copy=False) for part in parts]
    sizes = [(len(words) + 1) * OFFSET.itemsize, *(part.nbytes for part in words)]
    write_numbers(directory, name, [np.cumsum(sizes, dtype=OFFSET), *words])


def own(name: str) -> str:
    """A file of a range by itself."""
    return f"{_FOLDER}/{name}"


def values_file(table: str, number: int) -> str:
    """The file of a range's values with their accesses, by their rank in it."""
    return own(f"values/{table}-{number:05d}.arrow")
