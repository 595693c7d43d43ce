"""Stacking: the rows and samples of a Problem, built from the frequencies and the staged parts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fae.arrays.jit import kernel
from fae.arrays.row_keys import draw_sample
from fae.arrays.run_length import RunLengthArray
from fae.format.errors import ParameterError
from fae.format.manifest import OOV_ID, Embedding
from fae.hotset.problem import StackedRows, StackedSamples
from fae.ingestion.part import Codes
from fae.ingestion.staging import Staging
from fae.logs.schema import Schema
from fae.profiling.frequencies import Frequencies
from fae.profiling.splits import TRAIN, SplitCodes

#: Stacked rows are numbered by int32.
_MAX_ROWS = 2**31 - 1
#: Marks an access to id 0, which a sample leaves out.
_OOV_ACCESS = -1

Rows = npt.NDArray[np.int32]
Counts = npt.NDArray[np.int64]
#: The accesses of one column, and how many each sample makes; None where each makes one.
Column = tuple[Rows, Counts | None]


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
    return StackedRows(
        tables=tuple(table.name for table in frequencies.tables),
        table_offsets=table_offsets,
        access_counts=_stack_counts(frequencies, "sampled", is_exact=frequencies.sample >= 1),
        row_bytes=np.array([embedding.row_bytes(dim) for dim in dims], dtype=np.int64),
    )


def stack_train_accesses(frequencies: Frequencies) -> RunLengthArray:
    """Return the accesses of the stacked rows in all of train, whether sampled or not."""
    return _stack_counts(frequencies, "accesses", is_exact=True)


def _compute_table_offsets(frequencies: Frequencies) -> Counts:
    """Return the first stacked row of each table, and the number of rows, shape (tables + 1,)."""
    return np.cumsum([0, *(table.rows for table in frequencies.tables)], dtype=np.int64)


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


def mask_counted_rows(
    frequencies: Frequencies, splits: SplitCodes, first_row: int
) -> npt.NDArray[np.bool_]:
    """Return which rows are counted: those of train, and in the sample if there is one.

    `splits` has the split of each row of the log from `first_row` on.
    """
    in_sample = draw_sample(first_row, splits.size, frequencies.sample, frequencies.seed)
    counted: npt.NDArray[np.bool_] = (splits == TRAIN) & in_sample
    return counted


def stack_samples(staging: Staging, frequencies: Frequencies, rows: StackedRows) -> StackedSamples:
    """Return the counted samples as sets of stacked rows, in the order of the log."""
    schema = staging.schema
    table_offsets = dict(zip(rows.tables, rows.table_offsets.tolist(), strict=False))
    # Only lists, and columns that share a table, can access a row twice in one sample.
    may_repeat = any(column.multi for column in schema.sparse) or any(
        len(columns) > 1 for columns in schema.tables.values()
    )
    accesses: list[Rows] = []
    lengths: list[Counts] = []
    for index in range(len(staging.parts)):
        staged = staging.open_part(index, buffered=True)
        splits = frequencies.assign_splits(staging, index)
        is_counted = mask_counted_rows(frequencies, splits, staging.first_row(index))
        columns = [
            _stack_column(
                staged.read_codes(column.name),
                frequencies.read_ranks(column.name, index),
                table_offsets[column.table_name],
                is_counted,
            )
            for column in schema.sparse
        ]
        values, length = _interleave(columns)
        if may_repeat:
            values, length = _remove_repeats(values, length)
        accesses.append(values)
        lengths.append(length)
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    return StackedSamples(np.concatenate(accesses), offsets)


def _stack_column(
    codes: Codes,
    ranks: npt.NDArray[np.uint32],
    table_offset: int,
    is_counted: npt.NDArray[np.bool_],
) -> Column:
    """Return the stacked rows that the counted samples access in one column.

    `ranks` has the access rank of each code. An access out of vocabulary becomes _OOV_ACCESS.
    """
    rows = ranks.astype(np.int64) + table_offset
    row_of_code = np.where(ranks == OOV_ID, _OOV_ACCESS, rows).astype(np.int32)
    if codes.lengths is None:
        return row_of_code[codes.codes[is_counted]], None
    in_counted = np.repeat(is_counted, codes.lengths)
    return row_of_code[codes.codes[in_counted]], codes.lengths[is_counted]


def _interleave(columns: Sequence[Column]) -> tuple[Rows, Counts]:
    """Return the accesses of all columns sample by sample, without those out of vocabulary.

    The second array, shape (samples,), counts them.
    """
    if all(lengths is None for _, lengths in columns):
        matrix = np.stack([values for values, _ in columns], axis=1)  # (samples, columns)
        is_known = matrix != _OOV_ACCESS
        return matrix[is_known], is_known.sum(axis=1)
    counts = [
        np.ones(values.size, dtype=np.int64) if lengths is None else lengths
        for values, lengths in columns
    ]
    lengths = np.sum(counts, axis=0)
    positions = np.cumsum(lengths) - lengths
    interleaved = np.empty(int(lengths.sum()), dtype=np.int32)
    for (values, _), count in zip(columns, counts, strict=True):
        _scatter_column(interleaved, positions, values, count)
    is_known = interleaved != _OOV_ACCESS
    owner = np.repeat(np.arange(lengths.size), lengths)
    return interleaved[is_known], np.bincount(owner[is_known], minlength=lengths.size)


@kernel
def _scatter_column(interleaved: Rows, positions: Counts, values: Rows, lengths: Counts) -> None:
    """Write each sample's values at its position, and advance the position past them."""
    source = 0
    for sample in range(lengths.size):
        for _ in range(lengths[sample]):
            interleaved[positions[sample]] = values[source]
            positions[sample] += 1
            source += 1


@kernel
def _remove_repeats(values: Rows, lengths: Counts) -> tuple[Rows, Counts]:
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
