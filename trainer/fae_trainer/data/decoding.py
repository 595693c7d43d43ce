"""Decode Parquet row groups to checked blocks of rows.

All checks of a file's content are made here, and errors name its file and column, so that users of
a batch can index without checks of their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from fae.format.errors import DatasetError, FaeError, explain_error
from fae.format.integrity import DataFile
from fae.format.manifest import MAX_GROUP_ROWS, Features, Manifest, SparseFeature
from fae.format.memory import count_decoded_bytes, format_gib, read_most_memory
from fae_trainer.data.batches import Allocate, Batch, BatchShape, Ints
from fae_trainer.storage.object_store import RemoteFile

Values = npt.NDArray[Any]
#: What messages say of where rows come from.
Place = Path | RemoteFile | str


def list_columns(manifest: Manifest) -> list[str]:
    """Return the names of the columns that training reads."""
    features = manifest.features
    weight = [features.weight] if features.weight else []
    sparse = [feature.name for feature in features.sparse]
    return [features.label, *features.dense, *sparse, *weight]


def id_type(manifest: Manifest) -> np.dtype[Any]:
    """Return the type of all ids: int32 if it holds every table's ids, else int64."""
    small = all(table.rows < 2**31 for table in manifest.tables)
    return np.dtype(np.int32 if small else np.int64)


def read_footer(
    path: Path | RemoteFile, file: DataFile, manifest: Manifest, at_once: int
) -> pq.FileMetaData:
    """Return a file's Parquet metadata.

    Raises DatasetError where the file is absent, damaged or does not match the manifest, and where
    as many row groups of it `at_once` would decode to more than half of the memory.
    """
    with reading(path):
        metadata = pq.read_metadata(_open(path))
        schema = metadata.schema.to_arrow_schema()
    groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    if metadata.num_rows != file.rows or sum(groups) != file.rows or min(groups, default=0) < 0:
        raise DatasetError(
            f"{path} has {metadata.num_rows} rows, and the manifest says {file.rows}."
        )
    if max(groups, default=0) > MAX_GROUP_ROWS:
        raise DatasetError(
            f"{path} has a row group of {max(groups)} rows; at most {MAX_GROUP_ROWS} are possible."
        )
    if missing := sorted(set(list_columns(manifest)) - set(schema.names)):
        raise DatasetError(f"{path} has no column {missing[0]!r}.")
    for name in list_columns(manifest):  # before a row is read: texts may be of any length
        kind = schema.field(name).type
        value_type = kind.value_type if pa.types.is_list(kind) else kind
        if not pa.types.is_primitive(value_type):
            raise DatasetError(f"{path}: column {name!r} cannot have type {kind}.")
    _check_memory(path, metadata, list_columns(manifest), at_once)
    return metadata


def _check_memory(path: Place, footer: pq.FileMetaData, names: list[str], at_once: int) -> None:
    """Raise DatasetError where so many row groups at once would take more than half the memory."""
    limit = read_most_memory() // 2
    for group in range(footer.num_row_groups):
        columns = count_decoded_bytes(footer, group, names, MAX_GROUP_ROWS)
        size = sum(column.bytes for column in columns.values())
        if size * at_once > limit:
            raise DatasetError(
                f"{path}: row group {group} would take {format_gib(size)} of memory, and {at_once} "
                f"at once more than {format_gib(limit)}. Use fewer --threads and --mixed-windows."
            )


def decode_row_groups(
    path: Path | RemoteFile,
    metadata: pq.FileMetaData,
    groups: Sequence[int],
    manifest: Manifest,
    hot: bool,
    allocate: Allocate,
) -> Batch:
    """Return the rows of some row groups in file order, in one buffer from `allocate`.

    Raises DatasetError where the file is damaged, or a value is null, not finite, not a label or
    not an id of its table.
    """
    with reading(path), pq.ParquetFile(_open(path), metadata=metadata) as parquet:
        table = parquet.read_row_groups(groups, columns=list_columns(manifest), use_threads=False)
        if table.num_rows != sum(metadata.row_group(group).num_rows for group in groups):
            raise DatasetError(f"{path} is damaged: its row groups hold fewer rows than they say.")
    return decode_table(table, path, manifest, hot, allocate)


def decode_table(
    table: pa.Table, path: Place, manifest: Manifest, hot: bool, allocate: Allocate
) -> Batch:
    """Return the rows of a table with a data set's columns, in one buffer from `allocate`.

    Raises DatasetError, which names `path`, as `decode_row_groups` does.
    """
    features = manifest.features
    label = _read_matrices(table, [features.label], path, pa.types.is_integer)
    for matrix in label:
        _check_labels(matrix.values, features, path)
    weight = _read_matrices(table, [features.weight] if features.weight else [], path, _is_float)
    for matrix in weight:
        _check_weights(matrix.values, features.weight, path)
    dense = _read_matrices(table, features.dense, path, _is_float)
    for matrix in dense:
        _check_finite(matrix, features.dense, path)
    columns: list[_Matrix] = []
    lists: tuple[Values, ...] = ()
    if any(feature.multi for feature in features.sparse):
        lists = _interleave_lists(table, manifest, path, hot)
        ids, bounds = (len(values) for values in lists)
    else:
        names = [feature.name for feature in features.sparse]
        columns = _read_matrices(table, names, path, pa.types.is_integer)
        for matrix in columns:
            _check_id_matrix(matrix, manifest, path, hot)
        ids, bounds = table.num_rows * len(names), 0
    kind = torch.int32 if id_type(manifest) == np.int32 else torch.int64
    weighted = bool(features.weight) or features.unlabeled
    shape = BatchShape(table.num_rows, len(features.dense), ids, bounds, kind, weighted)
    batch = shape.view(allocate(shape.bytes), hot)
    _interleave(label, batch.label.view(-1, 1).numpy())
    if batch.weight is not None:
        batch.weight.fill_(1.0)
        _interleave(weight, batch.weight.view(-1, 1).numpy())
        batch.weight.masked_fill_(batch.label < 0, 0.0)  # a row without a label teaches nothing
        batch.label.clamp_(min=0)
    _interleave(dense, batch.dense.numpy())
    if not lists:
        _interleave(columns, batch.ids.view(len(batch), len(features.sparse)).numpy())
    for values, into in zip(lists, (batch.ids, batch.offsets), strict=False):
        assert into is not None
        np.copyto(into.numpy(), values)
    return batch


@contextmanager
def reading(path: Place) -> Iterator[None]:
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


def _open(path: Path | RemoteFile) -> Any:
    """Return what Arrow reads; it takes a `~` that a path begins with for a home."""
    return path.absolute() if isinstance(path, Path) else path.open()


@dataclass(frozen=True)
class _Matrix:
    """Values of columns of one type, (columns, rows), and where they belong in the whole."""

    values: Values
    column: int
    row: int


def _read_matrices(
    table: pa.Table, names: Sequence[str], path: Place, fits: Callable[[pa.DataType], bool]
) -> list[_Matrix]:
    """Return columns of numbers, a matrix for each run of columns of one type and each chunk.

    A few calls for all columns, since each call lets another thread take the interpreter, and
    getting it back can take milliseconds. Raises DatasetError where a column's type does not fit or
    it has nulls.
    """
    for name in names:
        _check_column(table, name, path, fits)
    matrices, column = [], 0
    for _, run in itertools.groupby(names, lambda name: table.schema.field(name).type):
        chosen, row = list(run), 0
        for batch in table.select(chosen).to_batches():
            values = batch.to_tensor(row_major=False).to_numpy().T
            matrices.append(_Matrix(values, column, row))
            row += batch.num_rows
        column += len(chosen)
    return matrices


def _interleave(matrices: Sequence[_Matrix], rows: Values) -> None:
    """Write the columns of checked matrices side by side into `rows`, (rows, columns).

    NumPy walks over the result in the order of its memory, twice as fast as Arrow makes rows.
    """
    for matrix in matrices:
        columns, count = matrix.values.shape
        into = rows[matrix.row : matrix.row + count, matrix.column : matrix.column + columns]
        np.copyto(into, matrix.values.T, casting="unsafe")


def _check_labels(labels: Values, features: Features, path: Place) -> None:
    """Raise DatasetError unless all labels are 0 or 1, or -1 where rows may have none."""
    least, known = (-1, "-1, 0 and 1") if features.unlabeled else (0, "0 and 1")
    if labels.size and (labels.min() < least or labels.max() > 1):
        raise DatasetError(f"{path}: column {features.label!r} has labels other than {known}.")


def _check_weights(weights: Values, name: str, path: Place) -> None:
    """Raise DatasetError unless all weights are numbers from 0 on."""
    if weights.size and not (np.isfinite(weights).all() and weights.min() >= 0):
        raise DatasetError(f"{path}: column {name!r} has weights that are no number from 0 on.")


def _check_finite(matrix: _Matrix, names: Sequence[str], path: Place) -> None:
    """Raise DatasetError where a value is not finite.

    A sum that is finite has finite terms; the terms are looked at where it is not.
    """
    with np.errstate(all="ignore"):
        sums = matrix.values.sum(axis=1)
    for at in np.flatnonzero(~np.isfinite(sums)).tolist():
        if not np.isfinite(matrix.values[at]).all():
            name = names[matrix.column + at]
            raise DatasetError(f"{path}: column {name!r} has a value that is not finite.")


def _check_id_matrix(matrix: _Matrix, manifest: Manifest, path: Place, hot: bool) -> None:
    """Raise DatasetError as `_check_ids` does; one pass over the ids tells whether any is wrong.

    As unsigned numbers, negative ids are larger than every positive one.
    """
    values = matrix.values
    if not values.size:
        return
    features = manifest.features.sparse[matrix.column : matrix.column + len(values)]
    tables = [manifest.table(feature.table) for feature in features]
    signed = np.iinfo(f"i{values.itemsize}").max
    limits = [min(table.hot_rows if hot else table.rows, signed) for table in tables]
    highest = values.view(f"u{values.itemsize}").max(axis=1).tolist()
    for feature, column, high, limit in zip(features, values, highest, limits, strict=True):
        if high >= limit:
            _check_ids(column, feature, manifest, path, hot)


def _is_float(kind: pa.DataType) -> bool:
    """Tell whether dense features may have this type; Arrow cannot stack half floats."""
    return bool(pa.types.is_float32(kind) or pa.types.is_float64(kind))


def _interleave_lists(
    table: pa.Table, manifest: Manifest, path: Place, hot: bool
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
            values = _check_column(table, feature.name, path, pa.types.is_integer).to_numpy()
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


def _check_nulls(table: pa.Table, name: str, path: Place) -> pa.ChunkedArray:
    """Return a column; raise DatasetError where it has nulls."""
    column = table.column(name)
    if column.null_count:
        raise DatasetError(
            f"{path}: column {name!r} has {column.null_count} nulls; none are allowed."
        )
    return column


def _check_column(
    table: pa.Table, name: str, path: Place, fits: Callable[[pa.DataType], bool]
) -> pa.ChunkedArray:
    """Return a column; raise DatasetError where its type does not fit or it has nulls."""
    column = _check_nulls(table, name, path)
    if not fits(column.type):
        raise DatasetError(f"{path}: column {name!r} cannot have type {column.type}.")
    return column


def _read_lists(table: pa.Table, name: str, path: Place) -> tuple[Values, Ints]:
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
    values: Values, feature: SparseFeature, manifest: Manifest, path: Place, hot: bool
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
