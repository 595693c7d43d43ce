"""Counting: merge the dictionaries of a table's parts, and rank its values by their accesses.

Dictionaries are sorted, so an interval of values is a slice of each. The slices of one interval are
merged at a time, a chunk, so that what is worked on lies in the processor's caches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fae.arrays.arrow import Int64Array, shrink_dtype, to_numpy
from fae.arrays.stable_argsort import stable_argsort
from fae.ingestion.dictionaries import encode_dictionary
from fae.ingestion.part import IntegerArray
from fae.profiling.histogram import AccessHistogram, Ranks, expand_ranks, merge_histograms

#: The entries of dictionaries in a chunk, about; each takes some 100 bytes while it is counted.
ENTRIES_PER_CHUNK = 1 << 19
#: The rows of a row group in the file of accesses.
ROWS_PER_GROUP = 1 << 20
#: The values that are looked at to place the bounds of chunks, about.
_VALUES_FOR_BOUNDS = 1 << 14


@dataclass(frozen=True)
class DictionaryCounts:
    """A part's dictionary in one column, or a slice of it, with how often each entry occurs.

    `values` (entries,) ascend, a null first. `counts` has, for each kind of count, an array
    (entries,). The kinds are the splits that have rows of the part, and the sample if there is one.
    """

    values: pa.Array
    counts: dict[int, IntegerArray]

    def take(self, chosen: slice) -> DictionaryCounts:
        """Return some neighbouring entries."""
        counts = {kind: numbers[chosen] for kind, numbers in self.counts.items()}
        return DictionaryCounts(self.values[chosen], counts)

    def copy(self) -> DictionaryCounts:
        """Return a copy, which no longer needs the part's files."""
        counts = {kind: numbers.copy() for kind, numbers in self.counts.items()}
        return DictionaryCounts(pa.concat_arrays([self.values, self.values[:0]]), counts)


#: A column's dictionary in each part, or slices of them.
Parts = Sequence[DictionaryCounts]


@dataclass(frozen=True)
class RankedValues:
    """The values of a table with their accesses and ranks, in chunks of ascending values.

    Each chunk has the columns `value`, `accesses` and, if there is a sample, `sampled`; its lines
    are by rank, which `ranks` (lines,) gives from 1 over all chunks.
    """

    chunks: tuple[pa.Table, ...]
    ranks: tuple[Ranks, ...]

    def sort(self, first: int, stop: int) -> pl.DataFrame:
        """Return the values of the ranks [first, stop), by rank."""
        slices, slice_ranks = [], []
        for chunk, ranks in zip(self.chunks, self.ranks, strict=True):
            begin, end = np.searchsorted(ranks, [first, stop]).tolist()
            slices.append(chunk.slice(begin, end - begin))
            slice_ranks.append(ranks[begin:end])
        # Ranks are a permutation of [first, stop), so they can be inverted instead of sorted.
        lines = np.empty(stop - first, dtype=np.uint32)
        lines[np.concatenate(slice_ranks) - first] = np.arange(lines.size)
        values = pl.DataFrame(pa.concat_tables(slices, promote_options="permissive"))[lines]
        if "sampled" not in values.columns:
            values = values.with_columns(sampled=pl.col("accesses"))
        return values.cast({"accesses": pl.Int64(), "sampled": pl.Int64()})

    def write(self, path: Path, count: int) -> None:
        """Write the values of the first `count` ranks as Parquet, by rank."""
        schema = self.sort(1, 1).to_arrow().schema
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for first in range(1, count + 1, ROWS_PER_GROUP):
                group = self.sort(first, min(first + ROWS_PER_GROUP, count + 1))
                writer.write_table(group.to_arrow(), row_group_size=ROWS_PER_GROUP)


@dataclass(frozen=True)
class ValueCounts:
    """The values of a table that have accesses, and the rank of every entry.

    `entry_ranks` gives for each part the rank of each entry (entries,), from 1; 0 is a value
    without accesses.
    """

    ranked: RankedValues
    histogram: AccessHistogram
    entry_ranks: tuple[Ranks, ...]


def count_values(parts: Parts, train: int, sample: int | None) -> ValueCounts:
    """Count and rank the values of all parts by the counts of the kind `train`.

    The counts of the kind `sample`, if there is one, are added up beside them.
    """
    # Ranks are known once all chunks are counted. Until then an entry has the line that its value
    # has among the lines of all chunks, from 1, or 0 where it has no accesses.
    entry_lines = _make_entry_numbers(parts)
    chunks: list[pa.Table] = []
    histograms, first_line = [], 1
    for entries, lines in _cut(parts, entry_lines):
        chunk = _count_chunk(entries, train, sample, lines, first_line)
        chunks.append(chunk.drop("code").to_arrow())
        histograms.append(AccessHistogram.from_descending(chunk["accesses"].to_numpy()))
        first_line += chunk.height
    histogram, first_ranks = merge_histograms(histograms)
    pairs = zip(histograms, first_ranks, strict=True)
    ranks = [expand_ranks(chunk.values, firsts) for chunk, firsts in pairs]
    rank_of_line = np.concatenate([np.zeros(1, dtype=np.uint32), *ranks])
    entry_ranks = tuple(rank_of_line[lines] for lines in entry_lines)
    return ValueCounts(RankedValues(tuple(chunks), tuple(ranks)), histogram, entry_ranks)


def merge_counts(parts: Parts) -> tuple[DictionaryCounts, list[Ranks]]:
    """Return one dictionary of all parts with the sums of their counts.

    Also returns for each part the position of each of its entries (entries,) in that dictionary.
    """
    positions = _make_entry_numbers(parts)
    totals: dict[int, list[IntegerArray]] = {kind: [] for part in parts for kind in part.counts}
    values, size = [], 0
    for entries, chunk_positions in _cut(parts, positions):
        codes, distinct = _encode(pa.concat_arrays([part.values for part in entries]))
        for kind, counts in totals.items():
            counts.append(shrink_dtype(_add_counts(entries, kind, codes, len(distinct))))
        _hand_out(codes + np.uint32(size), chunk_positions)
        values.append(distinct.to_arrow().cast(parts[0].values.type))
        size += len(distinct)
    sums = {kind: np.concatenate(counts) for kind, counts in totals.items()}
    return DictionaryCounts(pa.concat_arrays(values), sums), positions


def _make_entry_numbers(parts: Parts) -> list[Ranks]:
    """Return an array for each part with room for a number for each entry."""
    return [np.empty(len(part.values), dtype=np.uint32) for part in parts]


def _cut(
    parts: Parts, entry_numbers: Sequence[Ranks]
) -> Iterator[tuple[list[DictionaryCounts], list[Ranks]]]:
    """Yield the slices of all parts in each chunk of values, and those of the entries' numbers."""
    bounds = draw_bounds([part.values for part in parts], ENTRIES_PER_CHUNK)
    cuts = [[0, *count_below(part.values, bounds), len(part.values)] for part in parts]
    for number in range(len(bounds) + 1):
        slices = [slice(cut[number], cut[number + 1]) for cut in cuts]
        yield (
            [part.take(chosen) for part, chosen in zip(parts, slices, strict=True)],
            [array[chosen] for array, chosen in zip(entry_numbers, slices, strict=True)],
        )


def _hand_out(numbers: IntegerArray, entry_numbers: Sequence[Ranks]) -> None:
    """Write numbers, one for each entry of all parts, to the arrays of the parts."""
    begin = 0
    for own in entry_numbers:
        own[:] = numbers[begin : begin + own.size]
        begin += own.size


def _count_chunk(
    parts: Parts, train: int, sample: int | None, entry_lines: Sequence[Ranks], first_line: int
) -> pl.DataFrame:
    """Count the values of one slice of each part; return them by accesses, with their `code`.

    Writes the line of each entry's value, counted from `first_line`, to `entry_lines`.
    """
    codes, values = _encode(pa.concat_arrays([part.values for part in parts]))
    accesses = _add_counts(parts, train, codes, len(values))
    sampled = None if sample is None else _add_counts(parts, sample, codes, len(values))
    chunk = sort_by_accesses(values, accesses, sampled)
    line_of_code = np.zeros(len(values), dtype=np.uint32)
    line_of_code[chunk["code"]] = np.arange(first_line, first_line + chunk.height)
    _hand_out(line_of_code[codes], entry_lines)
    return chunk


def sort_by_accesses(
    values: pl.Series, accesses: Int64Array, sampled: Int64Array | None
) -> pl.DataFrame:
    """Return the values that have accesses, most accesses first, then in the order given.

    The columns are `value`, `accesses`, `sampled` (unless it is None) and `code`, the position in
    `values`.
    """
    accessed = np.flatnonzero(accesses)
    most = int(accesses.max(initial=0))
    dtype = np.uint32 if most < 2**32 else np.int64
    code = accessed[stable_argsort((most - accesses[accessed]).astype(dtype))]
    counts = {"accesses": accesses[code].astype(dtype)}
    if sampled is not None:
        counts["sampled"] = sampled[code].astype(dtype)
    return pl.DataFrame({"value": values.gather(code), **counts, "code": code})


def draw_bounds(values: Sequence[pa.Array], max_entries: int) -> pl.Series:
    """Return the values at which to cut sorted arrays into intervals of about `max_entries`.

    They are the quantiles of a regular sample of all arrays; all intervals but the first begin at
    one.
    """
    entries = sum(map(len, values))
    intervals = math.ceil(entries / max_entries)
    if intervals < 2:
        return pl.Series(values[0][:0])
    step = max(entries // _VALUES_FOR_BOUNDS, 1)
    drawn = pl.concat([pl.Series(array).gather_every(step) for array in values])
    drawn = drawn.drop_nulls().sort()
    positions = np.arange(1, intervals) * len(drawn) // intervals
    return drawn.gather(positions[: len(drawn)]).unique(maintain_order=True)


def count_below(values: pa.Array, bounds: pl.Series) -> list[int]:
    """Count a dictionary's values below each bound; a null is below all."""
    valid = values[values.null_count :]
    if pa.types.is_integer(values.type):
        positions = np.searchsorted(to_numpy(valid), bounds.to_numpy())
    else:
        positions = pl.Series(valid).search_sorted(bounds, side="left").to_numpy()
    below: list[int] = (values.null_count + positions.astype(np.int64)).tolist()
    return below


def _encode(values: pa.Array) -> tuple[IntegerArray, pl.Series]:
    """Return the code of each value, and the distinct values by code: ascending, a null first.

    Integers are sorted rather than hashed, because hardly any comes twice.
    """
    if not pa.types.is_integer(values.type):
        codes, dictionary = encode_dictionary(values)
        return codes, pl.Series(dictionary)
    nulls = min(values.null_count, 1)  # the code 0 if there are any
    valid = np.flatnonzero(pl.Series(values).is_not_null().to_numpy()) if nulls else slice(None)
    distinct, valid_codes = np.unique(to_numpy(values.drop_null()), return_inverse=True)
    codes = np.zeros(len(values), dtype=np.int32)
    codes[valid] = valid_codes + nulls
    sorted_values = pl.Series(distinct)
    return codes, pl.Series([None] * nulls, dtype=sorted_values.dtype).append(sorted_values)


def _add_counts(parts: Parts, kind: int, codes: IntegerArray, size: int) -> Int64Array:
    """Add up the counts of one kind by code, shape (size,); `codes` has one for each entry."""
    counts = [part.counts.get(kind, np.zeros(len(part.values), np.uint8)) for part in parts]
    total = np.zeros(size, dtype=np.int64)
    np.add.at(total, codes, np.concatenate(counts, dtype=np.int64))  # slow across dtypes
    return total
