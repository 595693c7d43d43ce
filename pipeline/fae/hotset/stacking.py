"""Frequencies and inputs as a rule sees them: one numbering over the rows of all tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fae.arrays.jit import kernel
from fae.arrays.row_keys import draw_sample
from fae.arrays.run_length import RunLengthArray
from fae.format.errors import ParameterError
from fae.format.manifest import OOV_ID, Embedding
from fae.hotset.rules.problem import StackedInputs, StackedRows
from fae.ingestion.part import Codes
from fae.ingestion.staging import Staging
from fae.logs.schema import Schema
from fae.profiling.frequencies import Frequencies
from fae.profiling.splits import TRAIN, SplitCodes

_MOST_ROWS = 2**31 - 1


def stacked_rows(frequencies: Frequencies, schema: Schema, embedding: Embedding) -> StackedRows:
    """The rows of all tables with their accesses (in the sample, where there is one) and prices."""
    first = _first(frequencies)
    if first[-1] > _MOST_ROWS:
        raise ParameterError(
            f"the tables have {first[-1]:,} rows together, more than {_MOST_ROWS:,}. "
            "Fold rare ids with --min-count."
        )
    dims = [schema.dim(columns[0]) for columns in schema.tables.values()]
    return StackedRows(
        tables=tuple(table.name for table in frequencies.tables),
        first=first,
        levels=_levels(frequencies, "sampled", exact=frequencies.sample >= 1),
        row_bytes=np.array([embedding.row_bytes(dim) for dim in dims], dtype=np.int64),
    )


def exact_levels(frequencies: Frequencies) -> RunLengthArray:
    """The accesses of the stacked rows in all of train, sampled or not."""
    return _levels(frequencies, "accesses", exact=True)


def _first(frequencies: Frequencies) -> npt.NDArray[np.int64]:
    """The first stacked row of each table, and how many there are."""
    return np.cumsum([0, *(table.rows for table in frequencies.tables)], dtype=np.int64)


def _levels(frequencies: Frequencies, counts: str, exact: bool) -> RunLengthArray:
    """Counts of the stacked rows; where they are exact, id 0 has those that were folded into it."""
    first = _first(frequencies)
    begins: list[npt.ArrayLike] = []
    numbers: list[npt.ArrayLike] = []
    for table, begin in zip(frequencies.tables, first, strict=False):
        found = frequencies.read_run_lengths(table.name, counts)
        begins += [[begin], begin + 1 + found.begins]
        numbers += [[table.folded_accesses if exact else 0], found.values]
    return RunLengthArray(np.concatenate(begins), np.concatenate(numbers), int(first[-1]))


def counted_rows(frequencies: Frequencies, splits: SplitCodes, first: int) -> npt.NDArray[np.bool_]:
    """Which rows are counted, given their splits: train, and in the sample if any.

    Rows are numbered from `first`.
    """
    in_sample = draw_sample(first, splits.size, frequencies.sample, frequencies.seed)
    counted: npt.NDArray[np.bool_] = (splits == TRAIN) & in_sample
    return counted


def stacked_inputs(staging: Staging, frequencies: Frequencies, rows: StackedRows) -> StackedInputs:
    """The counted inputs as sets of stacked rows, in the order of the log."""
    schema = staging.schema
    start = dict(zip(rows.tables, rows.first.tolist(), strict=False))
    repeats = any(column.multi for column in schema.sparse) or any(
        len(columns) > 1 for columns in schema.tables.values()
    )
    flat: list[npt.NDArray[np.int32]] = []
    lengths: list[npt.NDArray[np.int64]] = []
    for index in range(len(staging.parts)):
        staged = staging.open_part(index, passing=True)
        splits = frequencies.assign_splits(staging, index)
        counted = counted_rows(frequencies, splits, staging.first_row(index))
        columns = [
            _accesses(
                staged.read_codes(column.name),
                frequencies.read_ranks(column.name, index),
                start[column.table_name],
                counted,
            )
            for column in schema.sparse
        ]
        values, length = _woven(columns)
        if repeats:
            values, length = _distinct(values, length)
        flat.append(values)
        lengths.append(length)
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    return StackedInputs(np.concatenate(flat), offsets)


#: Accesses of one column, and how many each input makes; None where each makes one.
Column = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64] | None]


def _accesses(
    staged: Codes, ranks: npt.NDArray[np.uint32], start: int, counted: npt.NDArray[np.bool_]
) -> Column:
    """The stacked rows that the counted inputs access in one column, and how many each does.

    An access out of vocabulary is -1.
    """
    stacked = np.where(ranks == OOV_ID, -1, ranks.astype(np.int64) + start).astype(np.int32)
    if staged.lengths is None:
        return stacked[staged.codes[counted]], None
    kept = np.repeat(counted, staged.lengths)
    return stacked[staged.codes[kept]], staged.lengths[counted]


def _woven(
    columns: Sequence[Column],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """The accesses of all columns, input by input, without those out of vocabulary."""
    if all(lengths is None for _, lengths in columns):
        matrix = np.stack([values for values, _ in columns], axis=1)  # (inputs, columns)
        kept = matrix >= 0
        return matrix[kept], kept.sum(axis=1)
    counts = [
        np.ones(values.size, dtype=np.int64) if lengths is None else lengths
        for values, lengths in columns
    ]
    lengths = np.sum(counts, axis=0)
    starts = np.cumsum(lengths) - lengths
    woven = np.empty(int(lengths.sum()), dtype=np.int32)
    for (values, _), count in zip(columns, counts, strict=True):
        _weave(woven, starts, values, count)
    kept = woven >= 0
    owner = np.repeat(np.arange(lengths.size), lengths)
    return woven[kept], np.bincount(owner[kept], minlength=lengths.size)


@kernel
def _weave(
    woven: npt.NDArray[np.int32],
    place: npt.NDArray[np.int64],
    values: npt.NDArray[np.int32],
    lengths: npt.NDArray[np.int64],
) -> None:
    """Write each input's values at its place, and move the place on."""
    at = 0
    for one in range(lengths.size):
        for _ in range(lengths[one]):
            woven[place[one]] = values[at]
            place[one] += 1
            at += 1


@kernel
def _distinct(
    values: npt.NDArray[np.int32], lengths: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Each input's values once, ascending."""
    kept = np.empty_like(values)
    shorter = np.zeros_like(lengths)
    begin = end = 0
    for one in range(lengths.size):
        ordered = np.sort(values[begin : begin + lengths[one]])
        begin += lengths[one]
        for at in range(ordered.size):
            if at == 0 or ordered[at] != ordered[at - 1]:
                kept[end] = ordered[at]
                end += 1
                shorter[one] += 1
    return kept[:end], shorter
