"""Stacking: the rows and samples of a Problem, built from the frequencies and the staged parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fae.arrays.arrow import BoolArray, Int32Array, Int64Array
from fae.arrays.jit import kernel
from fae.arrays.row_keys import draw_sample
from fae.arrays.run_length import RunLengthArray
from fae.format.budget import Embedding
from fae.format.errors import ParameterError
from fae.format.manifest import OOV_ID
from fae.hotset.problem import StackedRows, StackedSamples
from fae.ingestion.part import Codes
from fae.ingestion.staging import Staging
from fae.logs.schema import Schema
from fae.profiling.frequencies import Frequencies
from fae.profiling.histogram import Ranks
from fae.profiling.splits import TRAIN, SplitCodes

#: Stacked rows are numbered by int32.
_MAX_ROWS = 2**31 - 1
#: Marks an access to id 0, which samples leave out.
OOV_ACCESS = -1

#: The accesses of one column, and how many each sample makes; None where each makes one.
Column = tuple[Int32Array, Int64Array | None]


def stack_rows(frequencies: Frequencies, schema: Schema, embedding: Embedding) -> StackedRows:
    """Return the rows of all tables with their costs and their accesses in the sample of train.

    Raises ParameterError where there are more rows than an int32 can number.
    """
    table_offsets = _compute_table_offsets(frequencies)
    if table_offsets[-1] > _MAX_ROWS:
        raise ParameterError(
            f"the tables have {table_offsets[-1]:,} rows in total; the limit is {_MAX_ROWS:,}. "
            "Fold rare ids with --min-count."
        )
    dims = [schema.dim(columns[0]) for columns in schema.tables.values()]
    row_bytes = np.array([embedding.row_bytes(dim) for dim in dims], dtype=np.int64)
    counts = _stack_counts(frequencies, "sampled", is_exact=frequencies.sample >= 1)
    return StackedRows(tuple(schema.tables), table_offsets, counts, row_bytes)


def stack_train_accesses(frequencies: Frequencies) -> RunLengthArray:
    """Return the accesses of the stacked rows in all of train, whether sampled or not."""
    return _stack_counts(frequencies, "accesses", is_exact=True)


def _compute_table_offsets(frequencies: Frequencies) -> Int64Array:
    """Return the first stacked row of each table, and the number of rows, shape (tables + 1,)."""
    return np.cumsum([0, *(table.rows for table in frequencies.tables)], dtype=np.int64)


def locate_tables(frequencies: Frequencies) -> dict[str, int]:
    """Return the first stacked row of each table, by name."""
    names = [table.name for table in frequencies.tables]
    return dict(zip(names, _compute_table_offsets(frequencies).tolist(), strict=False))


def _stack_counts(frequencies: Frequencies, counts: str, is_exact: bool) -> RunLengthArray:
    """Return a count for each stacked row; exact counts of id 0 include the accesses folded in."""
    table_offsets = _compute_table_offsets(frequencies)
    begins: list[npt.ArrayLike] = []
    numbers: list[npt.ArrayLike] = []
    for table, offset in zip(frequencies.tables, table_offsets, strict=False):
        levels = frequencies.read_run_lengths(table.name, counts)
        begins += [[offset], offset + 1 + levels.begins]
        numbers += [[table.folded_accesses if is_exact else 0], levels.values]
    return RunLengthArray(np.concatenate(begins), np.concatenate(numbers), int(table_offsets[-1]))


def mask_counted_rows(frequencies: Frequencies, splits: SplitCodes, first_row: int) -> BoolArray:
    """Return which rows are counted: those of train, and in the sample if there is one.

    `splits` has the split of each row of the log from `first_row` on.
    """
    in_sample = draw_sample(first_row, splits.size, frequencies.sample, frequencies.seed)
    counted: BoolArray = (splits == TRAIN) & in_sample
    return counted


def stack_samples(staging: Staging, frequencies: Frequencies) -> StackedSamples:
    """Return the counted samples as sets of stacked rows, in the order of the log."""
    parts = [stack_part(staging, frequencies, part) for part in range(len(staging.parts))]
    return StackedSamples.concat(parts)


def stack_part(staging: Staging, frequencies: Frequencies, part: int) -> StackedSamples:
    """Return the counted samples of a part as sets of stacked rows, in the order of the log."""
    sparse, first_rows = staging.schema.sparse, locate_tables(frequencies)
    # Only lists, and columns that share a table, can access a row twice in one sample.
    may_repeat = len(staging.schema.tables) < len(sparse) or any(column.multi for column in sparse)
    staged = staging.open_part(part, buffered=True)
    splits = frequencies.assign_splits(staging, part)
    is_counted = mask_counted_rows(frequencies, splits, staging.first_row(part))
    columns = []
    for column in sparse:
        codes = staged.read_codes(column.name)
        ranks = frequencies.read_ranks(column.name, part)
        columns.append(_stack_column(codes, ranks, first_rows[column.table_name], is_counted))
    values, lengths = interleave(columns)
    if may_repeat:
        values, lengths = remove_repeats(values, lengths)
    return StackedSamples(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def _stack_column(codes: Codes, ranks: Ranks, first_row: int, is_counted: BoolArray) -> Column:
    """Return the stacked rows that the counted samples access in one column.

    `ranks` has the access rank of each code. An access out of vocabulary becomes OOV_ACCESS.
    """
    rows = ranks.astype(np.int64) + first_row
    row_of_code = np.where(ranks == OOV_ID, OOV_ACCESS, rows).astype(np.int32)
    if codes.lengths is None:
        return row_of_code[codes.codes[is_counted]], None
    in_counted = np.repeat(is_counted, codes.lengths)
    return row_of_code[codes.codes[in_counted]], codes.lengths[is_counted]


def interleave(columns: Sequence[Column]) -> tuple[Int32Array, Int64Array]:
    """Return the accesses of all columns sample by sample, without those out of vocabulary.

    The second array, shape (samples,), counts them.
    """
    if all(lengths is None for _, lengths in columns):
        return _transpose(np.stack([values for values, _ in columns]))
    samples = next(values.size if lengths is None else lengths.size for values, lengths in columns)
    one_each = np.ones(samples, dtype=np.int64)
    total = np.zeros(samples, dtype=np.int64)
    for _, lengths in columns:
        total += one_each if lengths is None else lengths
    positions = np.cumsum(total) - total
    interleaved = np.empty(int(total.sum()), dtype=np.int32)
    for values, lengths in columns:
        _scatter_column(interleaved, positions, values, one_each if lengths is None else lengths)
    return _drop_oov(interleaved, total)


@kernel
def _transpose(matrix: npt.NDArray[np.int32]) -> tuple[Int32Array, Int64Array]:
    """Return the values of each sample in a matrix (columns, samples), and their number.

    Values that are OOV_ACCESS are left out.
    """
    columns, samples = matrix.shape
    values = np.empty(matrix.size, np.int32)
    lengths = np.empty(samples, np.int64)
    end = 0
    for sample in range(samples):
        begin = end
        for column in range(columns):
            value = matrix[column, sample]
            if value != OOV_ACCESS:
                values[end] = value
                end += 1
        lengths[sample] = end - begin
    return values[:end], lengths


@kernel
def _drop_oov(values: Int32Array, lengths: Int64Array) -> tuple[Int32Array, Int64Array]:
    """Return the values of each sample that are not OOV_ACCESS, and their number."""
    known_lengths = np.zeros_like(lengths)
    begin = end = 0  # of the sample in `values`, and of what is kept of them
    for sample in range(lengths.size):
        for access in range(begin, begin + lengths[sample]):
            if values[access] != OOV_ACCESS:
                values[end] = values[access]
                end += 1
                known_lengths[sample] += 1
        begin += lengths[sample]
    return values[:end], known_lengths


@kernel
def _scatter_column(
    interleaved: Int32Array, positions: Int64Array, values: Int32Array, lengths: Int64Array
) -> None:
    """Write each sample's values at its position, and advance the position past them."""
    source = 0
    for sample in range(lengths.size):
        for _ in range(lengths[sample]):
            interleaved[positions[sample]] = values[source]
            positions[sample] += 1
            source += 1


@kernel
def remove_repeats(values: Int32Array, lengths: Int64Array) -> tuple[Int32Array, Int64Array]:
    """Return the distinct values of each sample, ascending, and their number."""
    distinct = np.empty_like(values)
    distinct_lengths = np.zeros_like(lengths)
    begin = end = 0  # of the sample in `values`, and of what is written of `distinct`
    for sample in range(lengths.size):
        ordered = np.sort(values[begin : begin + lengths[sample]])
        begin += lengths[sample]
        for i in range(ordered.size):
            if i == 0 or ordered[i] != ordered[i - 1]:
                distinct[end] = ordered[i]
                end += 1
                distinct_lengths[sample] += 1
    return distinct[:end], distinct_lengths
