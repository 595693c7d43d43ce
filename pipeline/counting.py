"""Counting: the distinct values of a table's dictionaries, with their accesses, by access rank.

Values are counted range by range, so that a range's dictionary lies in the caches and what counting
takes beside the values hardly grows with them: a few bytes for each entry, where a range has many.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.arrays import arrow, numbers_of
from pipeline.manifest import OOV_ID
from pipeline.parts import Numbers
from pipeline.sorting import ascending

Ranks = npt.NDArray[np.uint32]
#: The most entries of dictionaries in a range, about: 100 bytes are worked on for each.
RANGE = 1 << 19
#: Values from which the bounds of the ranges are drawn.
_DRAWN = 1 << 14
#: The rows of a row group in the file of accesses.
_GROUP = 1 << 20


@dataclass(frozen=True)
class Entries:
    """A part's dictionary in one column.

    `counts` (values,) says how often each value stands in each split that has rows of the part, and
    in the sample where there is one.
    """

    values: pa.Array
    counts: dict[int, Numbers]


@dataclass(frozen=True)
class Counted:
    """Values with accesses in ranges, ascending from one range to the next.

    A range's frame has `value`, `accesses` and, of a sample, `sampled`, by access rank, and `ranks`
    has the access rank of each of its lines over all frames, from 1. `lines` gives, part by part,
    the line of each entry over all frames, from 1; 0 has no access.
    """

    ranges: tuple[pl.DataFrame, ...]
    ranks: tuple[Ranks, ...]
    lines: tuple[Ranks, ...]

    @property
    def seen(self) -> int:
        """The values with accesses."""
        return sum(frame.height for frame in self.ranges)

    @property
    def accesses(self) -> int:
        """The accesses of all values."""
        return sum(int(accesses.sum(dtype=np.int64)) for accesses in _accesses(self.ranges))

    def kept(self, fewest: int) -> int:
        """The values with at least so many accesses."""
        return sum(int((accesses >= fewest).sum()) for accesses in _accesses(self.ranges))

    def of_entries(self, fewest: int) -> Iterator[Ranks]:
        """The rank of each part's entries; 0 for values with fewer accesses."""
        of_line = np.concatenate([np.array([OOV_ID], dtype=np.uint32), *self.ranks])
        of_line[of_line > self.kept(fewest)] = OOV_ID
        for lines in self.lines:
            yield of_line[lines]

    def write(self, path: Path, fewest: int) -> int:
        """Write the values with at least so many accesses, by rank; return their accesses."""
        kept, total = self.kept(fewest), 0
        schema = self.by_rank(1, 1).to_arrow().schema
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for first in range(1, kept + 1, _GROUP):
                group = self.by_rank(first, min(first + _GROUP, kept + 1))
                writer.write_table(group.to_arrow(), row_group_size=_GROUP)
                total += int(group["accesses"].sum())
        return total

    def by_rank(self, first: int, stop: int) -> pl.DataFrame:
        """The values of the ranks [first, stop)."""
        found, ranks = [], []
        for frame, its in zip(self.ranges, self.ranks, strict=True):
            begin, end = np.searchsorted(its, [first, stop]).tolist()
            found.append(frame.slice(begin, end - begin))
            ranks.append(its[begin:end])
        lines = np.empty(stop - first, dtype=np.uint32)
        lines[np.concatenate(ranks) - first] = np.arange(lines.size)
        ordered = pl.concat(found)[lines]
        if "sampled" not in ordered.columns:
            ordered = ordered.with_columns(sampled=pl.col("accesses"))
        return ordered.cast({"accesses": pl.Int64(), "sampled": pl.Int64()})


def count(parts: Sequence[Entries], train: int, sample: int | None) -> Counted:
    """Count the entries of all parts by their kinds `train` and, where there is one, `sample`."""
    bounds = _bounds([part.values for part in parts])
    owners = [_owners(part.values, bounds) for part in parts]
    lines = [np.zeros(len(part.values), dtype=np.uint32) for part in parts]
    frames, first = [], 1
    for number in range(len(bounds) + 1):
        mine = [np.flatnonzero(owner == number) for owner in owners]
        taken = [part.values.take(arrow(at)) for part, at in zip(parts, mine, strict=True)]
        codes, values = encoded(pa.concat_arrays(taken))
        accesses = _summed(parts, mine, train, codes, len(values))
        sampled = None if sample is None else _summed(parts, mine, sample, codes, len(values))
        seen = access_counts(values, accesses, sampled)
        line_of = np.zeros(len(values), dtype=np.uint32)
        line_of[seen["code"]] = np.arange(first, first + seen.height)
        begin = 0
        for line, at in zip(lines, mine, strict=True):
            line[at] = line_of[codes[begin : begin + at.size]]
            begin += at.size
        frames.append(seen.drop("code"))
        first += seen.height
    return Counted(tuple(frames), _ranks(frames), tuple(lines))


def encoded(values: pa.Array) -> tuple[npt.NDArray[np.int32], pl.Series]:
    """Each value's place among the distinct values, and these, ascending, missing first."""
    if pa.types.is_integer(values.type):
        return _encoded_integers(values)
    found = pc.dictionary_encode(values, null_encoding="encode")
    distinct = pl.Series(found.dictionary)
    order = distinct.arg_sort(nulls_last=False).to_numpy()
    place = np.empty(order.size, dtype=np.int32)
    place[order] = np.arange(order.size)
    return place[numbers_of(found.indices)], distinct.gather(order)


def _encoded_integers(values: pa.Array) -> tuple[npt.NDArray[np.int32], pl.Series]:
    """The same for integers, which are sorted where others are looked up."""
    missing = min(values.null_count, 1)
    given = np.flatnonzero(pl.Series(values).is_not_null().to_numpy()) if missing else slice(None)
    numbers = numbers_of(values.drop_null())
    order = ascending(numbers)
    ordered = numbers[order]
    new = np.diff(ordered, prepend=ordered[:1]) != 0
    places = np.empty(order.size, dtype=np.int32)
    places[order] = np.cumsum(new) + missing
    new[:1] = True
    codes = np.zeros(len(values), dtype=np.int32)
    codes[given] = places
    distinct = pl.Series(ordered[new])
    return codes, pl.Series([None] * missing, dtype=distinct.dtype).append(distinct)


def access_counts(
    values: pl.Series, accesses: npt.NDArray[np.int64], sampled: npt.NDArray[np.int64] | None
) -> pl.DataFrame:
    """`value`, `accesses`, `sampled` and `code` of ascending values with accesses, by access rank.

    That is most accesses first, then by value. `code` is the value's position, and `sampled` is
    there where it is given.
    """
    seen = np.flatnonzero(accesses)
    most = int(accesses.max(initial=0))
    kind = np.uint32 if most < 2**32 else np.int64
    code = seen[ascending((most - accesses[seen]).astype(kind))]
    counts = {"accesses": accesses[code].astype(kind)}
    if sampled is not None:
        counts["sampled"] = sampled[code].astype(kind)
    return pl.DataFrame({"value": values.gather(code), **counts, "code": code})


def _bounds(values: Sequence[pa.Array]) -> pl.Series:
    """The values at which all but the first range begin, by a regular sample of the values."""
    entries = sum(map(len, values))
    ranges = math.ceil(entries / RANGE)
    if ranges < 2:
        return pl.Series(values[0][:0])
    step = max(entries // _DRAWN, 1)
    drawn = pl.concat([pl.Series(one).gather_every(step) for one in values]).drop_nulls().sort()
    at = np.arange(1, ranges) * len(drawn) // ranges
    return drawn.gather(at[: len(drawn)]).unique(maintain_order=True)


def _owners(values: pa.Array, bounds: pl.Series) -> npt.NDArray[np.integer[Any]]:
    """The range of each value; a missing one is in the first."""
    owners: npt.NDArray[np.integer[Any]]
    kind = np.min_scalar_type(len(bounds))
    if bounds.is_empty():
        return np.zeros(len(values), dtype=kind)
    if pa.types.is_integer(values.type):
        numbers = numbers_of(values)  # anything where one is missing
        owners = np.searchsorted(bounds.to_numpy(), numbers, side="right").astype(kind)
    else:
        owners = bounds.search_sorted(pl.Series(values), side="right").to_numpy().astype(kind)
    if values.null_count:
        owners[pl.Series(values).is_null().to_numpy()] = 0
    return owners


def _accesses(frames: Sequence[pl.DataFrame]) -> list[npt.NDArray[np.unsignedinteger[Any]]]:
    return [frame["accesses"].to_numpy() for frame in frames]


def _ranks(frames: Sequence[pl.DataFrame]) -> tuple[Ranks, ...]:
    """The access rank of each line of each range's frame: most accesses first, then by value.

    Values of as many accesses follow each other range by range.
    """
    runs = [_runs(accesses) for accesses in _accesses(frames)]
    levels = np.unique(np.concatenate([accesses for accesses, _ in runs]))
    sizes = np.zeros(levels.size, dtype=np.int64)
    for accesses, size in runs:
        sizes[np.searchsorted(levels, accesses)] += size
    following = 1 + np.cumsum(sizes[::-1])[::-1] - sizes
    ranks = []
    for accesses, size in runs:
        level, begins = np.searchsorted(levels, accesses), np.cumsum(size) - size
        lines = np.arange(size.sum()) + np.repeat(following[level] - begins, size)
        ranks.append(lines.astype(np.uint32))
        following[level] += size
    return tuple(ranks)


def _runs(descending: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """The distinct numbers of a descending array, and how often each is there."""
    begins = np.flatnonzero(np.diff(descending, prepend=descending[:1] + 1))
    return descending[begins], np.diff(begins, append=descending.size)


def _summed(
    parts: Sequence[Entries],
    chosen: Sequence[npt.NDArray[np.intp]],
    kind: int,
    codes: npt.NDArray[np.int32],
    size: int,
) -> npt.NDArray[np.int64]:
    """The counts of one kind by code, shape (size,); `codes` are those of the chosen entries."""
    total = np.zeros(size, dtype=np.int64)
    begin = 0
    for part, at in zip(parts, chosen, strict=True):
        if kind in part.counts:
            counts = part.counts[kind][at]
            np.add.at(total, codes[begin : begin + at.size], counts.astype(np.int64))  # quick so
        begin += at.size
    return total
