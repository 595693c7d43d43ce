"""Decode Parquet row groups to checked blocks of rows.

All checks of a file's content are made here, and errors name its file and column, so that users of
a batch can index without checks of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from fae.format.errors import DatasetError, FaeError, explain_error
from fae.format.integrity import DataFile
from fae.format.manifest import Manifest, SparseFeature
from fae_trainer.data.batches import Batch, Ints, take_bags

Values = npt.NDArray[Any]
Empty = Callable[[tuple[int, ...], npt.DTypeLike], Values]


def list_columns(manifest: Manifest) -> list[str]:
    """Return the names of the columns that training reads."""
    features = manifest.features
    return [features.label, *features.dense, *(feature.name for feature in features.sparse)]


def id_type(manifest: Manifest) -> np.dtype[Any]:
    """Return the type of all ids: int32 if it holds every table's ids, else int64."""
    small = all(table.rows < 2**31 for table in manifest.tables)
    return np.dtype(np.int32 if small else np.int64)


def read_footer(path: Path, file: DataFile, manifest: Manifest) -> pq.FileMetaData:
    """Return a file's Parquet metadata.

    Raises DatasetError where the file is absent, damaged or does not match the manifest.
    """
    with reading(path):
        metadata = pq.read_metadata(path)
        names = set(metadata.schema.to_arrow_schema().names)
    groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    if metadata.num_rows != file.rows or sum(groups) != file.rows or min(groups, default=0) < 0:
        raise DatasetError(
            f"{path} has {metadata.num_rows} rows, and the manifest says {file.rows}."
        )
    if missing := sorted(set(list_columns(manifest)) - names):
        raise DatasetError(f"{path} has no column {missing[0]!r}.")
    return metadata


def decode_row_groups(
    path: Path,
    metadata: pq.FileMetaData,
    groups: Sequence[int],
    manifest: Manifest,
    hot: bool,
    order: Ints | None = None,
    empty: Empty = np.empty,
) -> Batch:
    """Return the rows of some row groups, in file order or permuted by `order`.

    Arrays come from `empty`, called with a shape and a type. Raises DatasetError where the file is
    damaged, or a value is null, not finite, not a label or not an id of its table.
    """
    with reading(path), pq.ParquetFile(path, metadata=metadata) as parquet:
        table = parquet.read_row_groups(groups, columns=list_columns(manifest), use_threads=False)
        if table.num_rows != sum(metadata.row_group(group).num_rows for group in groups):
            raise DatasetError(f"{path} is damaged: its row groups hold fewer rows than they say.")
    features = manifest.features
    labels = _read_scalars(table, features.label, path, pa.types.is_integer)
    if any(part.size and (part.min() < 0 or part.max() > 1) for part in labels):
        raise DatasetError(f"{path}: column {features.label!r} has labels other than 0 and 1.")
    label = _stack_columns(table, [features.label], np.dtype(np.float32), order, empty)[:, 0]
    for name in features.dense:
        if not all(np.isfinite(part).all() for part in _read_scalars(table, name, path, _is_float)):
            raise DatasetError(f"{path}: column {name!r} has a value that is not finite.")
    dense = label.new_empty((len(label), 0))
    if features.dense:
        dense = _stack_columns(table, features.dense, np.dtype(np.float32), order, empty)
    if any(feature.multi for feature in features.sparse):
        ids, offsets = map(torch.from_numpy, _interleave_lists(table, manifest, path, hot))
        if order is None:
            return Batch(label, dense, ids, offsets, hot)
        ids, offsets = take_bags(ids, offsets, len(features.sparse), order)
        return Batch(label, dense, ids, offsets, hot)
    for feature in features.sparse:
        for part in _read_scalars(table, feature.name, path, pa.types.is_integer):
            _check_ids(part, feature, manifest, path, hot)
    names = [feature.name for feature in features.sparse]
    ids = _stack_columns(table, names, id_type(manifest), order, empty).flatten()
    return Batch(label, dense, ids, None, hot)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise what reading a file raises in the block as a DatasetError that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise DatasetError(f"{path} is absent, and the manifest names it.") from None
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        if not isinstance(error, OSError) and (told := explain_error(error)) is not None:
            raise FaeError(told) from None  # the machine is at fault, not the file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(f"{path} cannot be read as Parquet: {reason}") from None


def _stack_columns(
    table: pa.Table, names: Sequence[str], kind: np.dtype[Any], order: Ints | None, empty: Empty
) -> Tensor:
    """Return checked columns of numbers as rows in `order`: (rows, columns)."""
    batches = table.select(names).to_batches()
    parts = [batch.to_tensor(row_major=True).to_numpy() for batch in batches]
    rows = _concatenate(parts) if parts else np.empty((0, len(names)), kind)
    # Ids may be stored unsigned. Checked ids fit the signed type of that width too, so their bits
    # are reinterpreted without a copy.
    same = kind.kind == "i" and rows.dtype == np.dtype(f"u{kind.itemsize}")
    rows = rows.view(kind) if same else rows.astype(kind, copy=False)
    # Rows are permuted after they are assembled: one copy of a whole row replaces a scattered copy
    # of each of its columns.
    ordered = empty(rows.shape, kind)
    if order is None:
        np.copyto(ordered, rows)
    else:
        rows.take(order, axis=0, mode="clip", out=ordered)
    return torch.from_numpy(ordered)


def _is_float(kind: pa.DataType) -> bool:
    """Tell whether dense features may have this type; Arrow cannot stack half floats."""
    return bool(pa.types.is_float32(kind) or pa.types.is_float64(kind))


def _concatenate(parts: list[Values]) -> Values:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _interleave_lists(
    table: pa.Table, manifest: Manifest, path: Path, hot: bool
) -> tuple[Values, Values]:
    """Return the ids and offsets of rows of which some features are lists.

    The columns' values are end to end; in `ids` each row's values of all features lie together.
    """
    sparse = manifest.features.sparse
    lengths = np.ones((table.num_rows, len(sparse)), dtype=np.int64)
    columns = []
    for index, feature in enumerate(sparse):
        if feature.multi:
            values, lengths[:, index] = _read_lists(table, feature.name, path)
        else:
            values = _concatenate(_read_scalars(table, feature.name, path, pa.types.is_integer))
        _check_ids(values, feature, manifest, path, hot)
        columns.append(values)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    starts = offsets[:-1].reshape(lengths.shape)  # (rows, features)
    ids = np.empty(offsets[-1], dtype=id_type(manifest))
    for index, values in enumerate(columns):
        # Value k of the column is in the list that starts at `own` in the column and at `starts` in
        # `ids`; so it goes to position starts - own + k.
        own = np.cumsum(lengths[:, index]) - lengths[:, index]
        positions = np.repeat(starts[:, index] - own, lengths[:, index]) + np.arange(len(values))
        ids[positions] = values
    return ids, offsets.astype(ids.dtype)


def _check_nulls(table: pa.Table, name: str, path: Path) -> pa.ChunkedArray:
    """Return a column; raise DatasetError where it has nulls."""
    column = table.column(name)
    if column.null_count:
        raise DatasetError(
            f"{path}: column {name!r} has {column.null_count} nulls; none are allowed."
        )
    return column


def _read_scalars(
    table: pa.Table, name: str, path: Path, fits: Callable[[pa.DataType], bool]
) -> list[Values]:
    """Return a column's chunks; raise DatasetError where its type does not fit or it has nulls."""
    column = _check_nulls(table, name, path)
    if not fits(column.type):
        raise DatasetError(f"{path}: column {name!r} cannot have type {column.type}.")
    return [chunk.to_numpy(zero_copy_only=False) for chunk in column.chunks]


def _read_lists(table: pa.Table, name: str, path: Path) -> tuple[Values, Ints]:
    """Return the values of a list column end to end, and the length of each row's list."""
    column = _check_nulls(table, name, path).combine_chunks()
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not is_list or not pa.types.is_integer(kind.value_type):
        raise DatasetError(f"{path}: column {name!r} is {kind}; it must be a list of integers.")
    values = column.flatten()
    if values.null_count:
        raise DatasetError(f"{path}: column {name!r} has nulls in its lists; none are allowed.")
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    return values.to_numpy(zero_copy_only=False), lengths


def _check_ids(
    values: Values, feature: SparseFeature, manifest: Manifest, path: Path, hot: bool
) -> None:
    """Raise DatasetError unless all ids are rows of the table, and hot rows in a hot leaf."""
    table = manifest.table(feature.table)
    if not values.size:
        return
    low, high = int(values.min()) if values.dtype.kind == "i" else 0, int(values.max())
    where = f"{path}: column {feature.name!r} has id"
    if low < 0 or high >= table.rows:
        wrong = low if low < 0 else high
        raise DatasetError(
            f"{where} {wrong}, and table {table.name!r} has ids from 0 to {table.rows - 1}."
        )
    if hot and high >= table.hot_rows:
        raise DatasetError(
            f"{where} {high} in a hot file, and table {table.name!r} is hot below {table.hot_rows}."
        )
