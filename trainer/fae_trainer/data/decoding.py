"""Parquet row groups to blocks of inputs, checked.

What is wrong with a file is found here, and named with its file and column; whoever takes a batch
can then index without checks of their own.
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
    """The columns that training reads."""
    features = manifest.features
    return [features.label, *features.dense, *(feature.name for feature in features.sparse)]


def id_type(manifest: Manifest) -> np.dtype[Any]:
    """The type of all ids: int32 where it holds every table's, else int64."""
    small = all(table.rows < 2**31 for table in manifest.tables)
    return np.dtype(np.int32 if small else np.int64)


def read_footer(path: Path, file: DataFile, manifest: Manifest) -> pq.FileMetaData:
    """A file's metadata; DatasetError where it is absent, damaged or at odds with the manifest."""
    with reading(path):
        found = pq.read_metadata(path)
        names = set(found.schema.to_arrow_schema().names)
    groups = [found.row_group(group).num_rows for group in range(found.num_row_groups)]
    if found.num_rows != file.rows or sum(groups) != file.rows or min(groups, default=0) < 0:
        raise DatasetError(f"{path} has {found.num_rows} rows, and the manifest says {file.rows}.")
    if missing := sorted(set(list_columns(manifest)) - names):
        raise DatasetError(f"{path} has no column {missing[0]!r}.")
    return found


def decode_row_groups(
    path: Path,
    metadata: pq.FileMetaData,
    groups: Sequence[int],
    manifest: Manifest,
    hot: bool,
    order: Ints | None = None,
    empty: Empty = np.empty,
) -> Batch:
    """The inputs of some row groups, in their order or in `order`, a permutation of their numbers.

    Arrays for them come from `empty`, by shape and type. Raises DatasetError as `footer` does.
    """
    with reading(path), pq.ParquetFile(path, metadata=metadata) as parquet:
        table = parquet.read_row_groups(groups, columns=list_columns(manifest), use_threads=False)
        if table.num_rows != sum(metadata.row_group(group).num_rows for group in groups):
            raise DatasetError(f"{path} is damaged: its row groups do not hold the rows they tell.")
    features = manifest.features
    values = _read_scalars(table, features.label, path, pa.types.is_integer)
    if any(part.size and (part.min() < 0 or part.max() > 1) for part in values):
        raise DatasetError(f"{path}: column {features.label!r} has labels other than 0 and 1.")
    label = _stack_columns(table, [features.label], np.dtype(np.float32), order, empty)[:, 0]
    numbers = [_read_scalars(table, name, path, _is_float) for name in features.dense]
    for name, parts in zip(features.dense, numbers, strict=True):
        if not all(np.isfinite(part).all() for part in parts):
            raise DatasetError(f"{path}: column {name!r} has a value that is not finite.")
    dense = label.new_empty((len(label), 0))
    if numbers:
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
    """What reading a file raises, as DatasetErrors that name it."""
    try:
        yield
    except FileNotFoundError:
        raise DatasetError(f"{path} is absent, and the manifest names it.") from None
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        if not isinstance(error, OSError) and (told := explain_error(error)) is not None:
            raise FaeError(told) from None  # the machine's fault, and not the file's
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(f"{path} cannot be read as Parquet: {reason}") from None


def _stack_columns(
    table: pa.Table, names: Sequence[str], kind: np.dtype[Any], order: Ints | None, empty: Empty
) -> Tensor:
    """Columns of numbers, checked, as rows in `order`: (rows, columns).

    Whole rows are put in order, since they are copied in one go where columns are not.
    """
    batches = table.select(names).to_batches()
    parts = [batch.to_tensor(row_major=True).to_numpy() for batch in batches]
    rows = _concatenate(parts) if parts else np.empty((0, len(names)), kind)
    same = kind.kind == "i" and rows.dtype == np.dtype(f"u{kind.itemsize}")
    rows = rows.view(kind) if same else rows.astype(kind, copy=False)  # ids are small enough
    ordered = empty(rows.shape, kind)
    if order is None:
        np.copyto(ordered, rows)
    else:
        rows.take(order, axis=0, mode="clip", out=ordered)
    return torch.from_numpy(ordered)


def _is_float(kind: pa.DataType) -> bool:
    """Whether this is a type of dense features; Arrow joins no halves with others."""
    return bool(pa.types.is_float32(kind) or pa.types.is_float64(kind))


def _concatenate(parts: list[Values]) -> Values:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _interleave_lists(
    table: pa.Table, manifest: Manifest, path: Path, hot: bool
) -> tuple[Values, Values]:
    """Ids and offsets, where some feature is a list."""
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
        own = np.cumsum(lengths[:, index]) - lengths[:, index]
        places = np.repeat(starts[:, index] - own, lengths[:, index]) + np.arange(len(values))
        ids[places] = values
    return ids, offsets.astype(ids.dtype)


def _check_nulls(table: pa.Table, name: str, path: Path) -> pa.ChunkedArray:
    column = table.column(name)
    if column.null_count:
        raise DatasetError(f"{path}: column {name!r} has {column.null_count} nulls; none may be.")
    return column


def _read_scalars(
    table: pa.Table, name: str, path: Path, fits: Callable[[pa.DataType], bool]
) -> list[Values]:
    """The values of a column without nulls whose type `fits`, a predicate of pyarrow.types."""
    column = _check_nulls(table, name, path)
    if not fits(column.type):
        raise DatasetError(f"{path}: column {name!r} cannot be of type {column.type}.")
    return [chunk.to_numpy(zero_copy_only=False) for chunk in column.chunks]


def _read_lists(table: pa.Table, name: str, path: Path) -> tuple[Values, Ints]:
    """The values of a list column end to end, and the length of each row's list."""
    column = _check_nulls(table, name, path).combine_chunks()
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not is_list or not pa.types.is_integer(kind.value_type):
        raise DatasetError(f"{path}: column {name!r} is {kind}, and must be a list of integers.")
    values = column.flatten()
    if values.null_count:
        raise DatasetError(f"{path}: column {name!r} has nulls inside its lists; none may be.")
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    return values.to_numpy(zero_copy_only=False), lengths


def _check_ids(
    values: Values, feature: SparseFeature, manifest: Manifest, path: Path, hot: bool
) -> None:
    """Raise DatasetError unless all ids are rows of the table, and hot ones in a hot leaf."""
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
