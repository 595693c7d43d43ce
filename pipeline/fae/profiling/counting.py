"""Counting: the distinct values of a table's dictionaries, with their accesses, by access rank.

Dictionaries ascend, so they are counted range by range of values, where a range is a slice of each:
what is worked on lies in the caches, and takes a few bytes an entry beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fae.arrays.arrow import Int64Array, to_numpy
from fae.arrays.stable_argsort import stable_argsort
from fae.ingestion.dictionaries import encode_dictionary
from fae.ingestion.part import Numbers

Ranks = npt.NDArray[np.uint32]
#: The most entries of dictionaries in a range, about: 100 bytes are worked on for each.
ENTRIES_PER_CHUNK = 1 << 19
#: Values from which the bounds of ranges are drawn.
_DRAWN = 1 << 14
#: The rows of a row group in the file of accesses.
ROWS_PER_GROUP = 1 << 20


@dataclass(frozen=True)
class DictionaryCounts:
    """A part's dictionary in one column, or a slice of it: ascending values, missing first.

    `counts` (values,) says how often each value stands in each split that has rows of the part, and
    in the sample where there is one.
    """

    values: pa.Array
    counts: dict[int, Numbers]

    def copy(self) -> DictionaryCounts:
        """The same in memory of its own."""
        counts = {kind: numbers.copy() for kind, numbers in self.counts.items()}
        return DictionaryCounts(pa.concat_arrays([self.values, self.values[:0]]), counts)


@dataclass(frozen=True)
class RankedValues:
    """Values with accesses in ranges, ascending from one range to the next.

    A range's table has `value`, `accesses` and, of a sample, `sampled`, by access rank, and `ranks`
    has the access rank of each of its lines over all tables, from 1.
    """

    ranges: tuple[pa.Table, ...]
    ranks: tuple[Ranks, ...]

    def by_rank(self, first: int, stop: int) -> pl.DataFrame:
        """The values of the ranks [first, stop)."""
        found, ranks = [], []
        for table, its in zip(self.ranges, self.ranks, strict=True):
            begin, end = np.searchsorted(its, [first, stop]).tolist()
            found.append(table.slice(begin, end - begin))
            ranks.append(its[begin:end])
        lines = np.empty(stop - first, dtype=np.uint32)
        lines[np.concatenate(ranks) - first] = np.arange(lines.size)
        ordered = pl.DataFrame(pa.concat_tables(found, promote_options="permissive"))[lines]
        if "sampled" not in ordered.columns:
            ordered = ordered.with_columns(sampled=pl.col("accesses"))
        return ordered.cast({"accesses": pl.Int64(), "sampled": pl.Int64()})

    def write(self, path: Path, count_values: int) -> None:
        """Write the values of the first so many ranks as Parquet, by rank."""
        schema = self.by_rank(1, 1).to_arrow().schema
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for first in range(1, count_values + 1, ROWS_PER_GROUP):
                group = self.by_rank(first, min(first + ROWS_PER_GROUP, count_values + 1))
                writer.write_table(group.to_arrow(), row_group_size=ROWS_PER_GROUP)


@dataclass(frozen=True)
class AccessHistogram:
    """How many `values` (levels,) have each number of `accesses` (levels,), most accesses first."""

    accesses: Int64Array
    values: Int64Array

    @property
    def seen(self) -> int:
        """The values with accesses."""
        return int(self.values.sum())

    @property
    def total(self) -> int:
        """The accesses of all values."""
        return int((self.accesses * self.values).sum())

    def of(self, fewest: int) -> AccessHistogram:
        """The values with at least so many accesses."""
        kept = self.accesses >= fewest
        return AccessHistogram(self.accesses[kept], self.values[kept])


@dataclass(frozen=True)
class ValueCounts:
    """Values with accesses, by rank, and how many have how many.

    `ranks` gives, part by part, the access rank of each entry, from 1; 0 has no access.
    """

    ranked: RankedValues
    tally: AccessHistogram
    ranks: tuple[Ranks, ...]


def count_values(parts: Sequence[DictionaryCounts], train: int, sample: int | None) -> ValueCounts:
    """Count the entries of all parts by their kinds `train` and, where there is one, `sample`."""
    bounds = draw_bounds([part.values for part in parts], ENTRIES_PER_CHUNK)
    cuts = [[0, *count_below(part.values, bounds), len(part.values)] for part in parts]
    lines = [np.empty(len(part.values), dtype=np.uint32) for part in parts]
    tables, tallies, first = [], [], 1
    for number in range(len(bounds) + 1):
        slices = [slice(cut[number], cut[number + 1]) for cut in cuts]
        taken = [part.values[mine] for part, mine in zip(parts, slices, strict=True)]
        codes, values = _encoded(pa.concat_arrays(taken))
        accesses = _summed(parts, slices, train, codes, len(values))
        sampled = None if sample is None else _summed(parts, slices, sample, codes, len(values))
        seen = rank_by_accesses(values, accesses, sampled)
        line_of = np.zeros(len(values), dtype=np.uint32)
        line_of[seen["code"]] = np.arange(first, first + seen.height)
        begin = 0
        for line, mine in zip(lines, slices, strict=True):
            end = begin + mine.stop - mine.start
            line[mine] = line_of[codes[begin:end]]
            begin = end
        tables.append(seen.drop("code").to_arrow())
        tallies.append(_tally(seen["accesses"].to_numpy()))
        first += seen.height
    together, starts = merge_histograms(tallies)
    ranks = [
        expand_ranks(tally.values, start) for tally, start in zip(tallies, starts, strict=True)
    ]
    of_line = np.concatenate([np.zeros(1, dtype=np.uint32), *ranks])
    of_entries = tuple(of_line[line] for line in lines)
    return ValueCounts(RankedValues(tuple(tables), tuple(ranks)), together, of_entries)


def merge_histograms(ranges: Sequence[AccessHistogram]) -> tuple[AccessHistogram, list[Int64Array]]:
    """The tally of all ranges, and the rank of the first value of each range's levels, from 1.

    Most accesses come first; values of as many follow each other range by range.
    """
    levels = np.unique(np.concatenate([one.accesses for one in ranges]))
    sizes = np.zeros(levels.size, dtype=np.int64)
    for one in ranges:
        sizes[np.searchsorted(levels, one.accesses)] += one.values
    following = 1 + np.cumsum(sizes[::-1])[::-1] - sizes
    starts = []
    for one in ranges:
        level = np.searchsorted(levels, one.accesses)
        starts.append(following[level])
        following[level] += one.values
    return AccessHistogram(levels[::-1], sizes[::-1]), starts


def expand_ranks(values: Int64Array, starts: Int64Array) -> Ranks:
    """The rank of each value of a range, in its own order.

    Its levels have `values` each, of which the first has the rank in `starts`.
    """
    begins = np.cumsum(values) - values
    ranks = np.repeat((starts - begins).astype(np.uint32), values)
    ranks += np.arange(ranks.size, dtype=np.uint32)
    return ranks


def rank_by_accesses(
    values: pl.Series, accesses: npt.NDArray[np.int64], sampled: npt.NDArray[np.int64] | None
) -> pl.DataFrame:
    """`value`, `accesses`, `sampled` and `code` of ascending values with accesses, by access rank.

    That is most accesses first, then by value. `code` is the value's position, and `sampled` is
    there where it is given.
    """
    seen = np.flatnonzero(accesses)
    most = int(accesses.max(initial=0))
    kind = np.uint32 if most < 2**32 else np.int64
    code = seen[stable_argsort((most - accesses[seen]).astype(kind))]
    counts = {"accesses": accesses[code].astype(kind)}
    if sampled is not None:
        counts["sampled"] = sampled[code].astype(kind)
    return pl.DataFrame({"value": values.gather(code), **counts, "code": code})


def draw_bounds(values: Sequence[pa.Array], most: int) -> pl.Series:
    """The values at which all but the first range begin, so that each has about `most` at most.

    By a regular sample of the values.
    """
    entries = sum(map(len, values))
    ranges = math.ceil(entries / most)
    if ranges < 2:
        return pl.Series(values[0][:0])
    step = max(entries // _DRAWN, 1)
    drawn = pl.concat([pl.Series(one).gather_every(step) for one in values]).drop_nulls().sort()
    at = np.arange(1, ranges) * len(drawn) // ranges
    return drawn.gather(at[: len(drawn)]).unique(maintain_order=True)


def count_below(values: pa.Array, bounds: pl.Series) -> list[int]:
    """How many of a dictionary's values are below each bound; a missing one is below all."""
    given = values[values.null_count :]
    if pa.types.is_integer(values.type):
        found = np.searchsorted(to_numpy(given), bounds.to_numpy())
    else:
        found = pl.Series(given).search_sorted(bounds, side="left").to_numpy()
    below: list[int] = (values.null_count + found.astype(np.int64)).tolist()
    return below


def _encoded(values: pa.Array) -> tuple[npt.NDArray[np.integer[Any]], pl.Series]:
    """Each value's place among the distinct values, and these, ascending, missing first.

    Integers are sorted where others are looked up, for hardly one comes twice.
    """
    if not pa.types.is_integer(values.type):
        codes, dictionary = encode_dictionary(values)
        return codes, pl.Series(dictionary)
    missing = min(values.null_count, 1)
    given = np.flatnonzero(pl.Series(values).is_not_null().to_numpy()) if missing else slice(None)
    numbers = to_numpy(values.drop_null())
    order = stable_argsort(numbers)
    ordered = numbers[order]
    new = np.diff(ordered, prepend=ordered[:1]) != 0
    of_number = np.empty(order.size, dtype=np.int32)
    of_number[order] = np.cumsum(new) + missing
    new[:1] = True
    count_below = np.zeros(len(values), dtype=np.int32)
    count_below[given] = of_number
    distinct = pl.Series(ordered[new])
    return count_below, pl.Series([None] * missing, dtype=distinct.dtype).append(distinct)


def _tally(descending: npt.NDArray[Any]) -> AccessHistogram:
    """How often each number of a descending array is there."""
    begins = np.flatnonzero(np.diff(descending, prepend=descending[:1] + 1))
    values = np.diff(begins, append=descending.size)
    return AccessHistogram(descending[begins].astype(np.int64), values)


def _summed(
    parts: Sequence[DictionaryCounts],
    chosen: Sequence[slice],
    kind: int,
    codes: npt.NDArray[np.integer[Any]],
    size: int,
) -> npt.NDArray[np.int64]:
    """The counts of one kind by code, shape (size,); `codes` are those of the chosen entries."""
    total = np.zeros(size, dtype=np.int64)
    begin = 0
    for part, mine in zip(parts, chosen, strict=True):
        end = begin + mine.stop - mine.start
        if kind in part.counts:
            counts = part.counts[kind][mine].astype(np.int64)  # quick so
            np.add.at(total, codes[begin:end], counts)
        begin = end
    return total
