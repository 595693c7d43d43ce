"""Batches: a leaf's Parquet files, read a row group at a time and cut into batches.

What is wrong with a file is found here, once a row group, and named with its file and column; the
training loop can then index without checks of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import DatasetError
from pipeline.manifest import DataFile, Manifest, SparseFeature
from trainer.schedule import Schedule

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Consecutive inputs of one temperature.

    `label` is (batch,) of 0 and 1, `dense` (batch, dense features). `ids` holds the ids of every
    input's features, inputs outermost: (batch * features,) where every feature has one id, and
    then `offsets` is None. Otherwise the ids of feature f of input i are those from
    `offsets[i * features + f]` up to the next offset; `offsets` is (batch * features + 1,).
    """

    label: Floats
    dense: Floats
    ids: Ints
    offsets: Ints | None
    hot: bool

    def __len__(self) -> int:
        """The number of inputs."""
        return len(self.label)

    @property
    def features(self) -> int:
        """The number of sparse features."""
        bags = len(self.ids) if self.offsets is None else len(self.offsets) - 1
        return bags // len(self)

    def part(self, start: int, stop: int) -> Batch:
        """The inputs from `start` to before `stop`; their arrays are views of this batch's."""
        first, last = start * self.features, stop * self.features
        offsets = self.offsets
        if offsets is not None:
            bounds = offsets[first : last + 1]
            first, last, offsets = bounds[0], bounds[-1], bounds - bounds[0]
        label, dense = self.label[start:stop], self.dense[start:stop]
        return Batch(label, dense, self.ids[first:last], offsets, self.hot)


def joined(one: Batch, two: Batch) -> Batch:
    """The inputs of `one`, then those of `two`."""
    offsets = None
    if one.offsets is not None and two.offsets is not None:
        offsets = np.concatenate([one.offsets, two.offsets[1:] + one.offsets[-1]])
    return Batch(
        np.concatenate([one.label, two.label]),
        np.concatenate([one.dense, two.dense]),
        np.concatenate([one.ids, two.ids]),
        offsets,
        one.hot,
    )


def recut(blocks: Iterator[Batch], batch_size: int) -> Iterator[Batch]:
    """The inputs of `blocks` in batches of `batch_size`; the last one holds what is left."""
    rest: Batch | None = None
    for piece in blocks:
        block = piece if rest is None else joined(rest, piece)
        whole = len(block) - len(block) % batch_size
        for start in range(0, whole, batch_size):
            yield block.part(start, start + batch_size)
        rest = block.part(whole, len(block)) if whole < len(block) else None
    if rest is not None:
        yield rest


def leaf_batches(
    directory: Path,
    manifest: Manifest,
    split: str,
    temperature: str,
    batch_size: int,
    skip: int = 0,
) -> Iterator[Batch]:
    """The batches of one leaf from number `skip` on, at one row group's memory.

    Skipped files are not opened, and skipped row groups not read. Raises DatasetError where a file
    is absent, damaged or at odds with the manifest.
    """
    hot = temperature == "hot"
    skip_rows = skip * batch_size
    return recut(_blocks(directory, manifest, split, hot, skip_rows), batch_size)


def split_batches(
    directory: Path, manifest: Manifest, split: str, batch_size: int
) -> Iterator[Batch]:
    """Every batch of a split: the hot leaf's, then the cold leaf's."""
    for temperature in ("hot", "cold"):
        yield from leaf_batches(directory, manifest, split, temperature, batch_size)


def epoch_batches(
    directory: Path, manifest: Manifest, batch_size: int, order: Schedule, skip: int
) -> Iterator[Batch]:
    """The training split's batches in the schedule's order, from position `skip` on."""
    hot_skip = order.hot_before(skip)
    hot = leaf_batches(directory, manifest, "train", "hot", batch_size, hot_skip)
    cold = leaf_batches(directory, manifest, "train", "cold", batch_size, skip - hot_skip)
    for position in range(skip, order.batches):
        yield next(hot if order.is_hot(position) else cold)


def _blocks(
    directory: Path, manifest: Manifest, split: str, hot: bool, skip_rows: int
) -> Iterator[Batch]:
    """A leaf's row groups as batches, less the first `skip_rows` inputs."""
    for file in manifest.splits[split]["hot" if hot else "cold"].files:
        if skip_rows >= file.rows:
            skip_rows -= file.rows
            continue
        yield from _file_blocks(directory, manifest, file, hot, skip_rows)
        skip_rows = 0


def _file_blocks(
    directory: Path, manifest: Manifest, file: DataFile, hot: bool, skip_rows: int
) -> Iterator[Batch]:
    """One file's row groups as batches, less the first `skip_rows` inputs."""
    path = directory / file.path
    features = manifest.features
    names = [features.label, *features.dense, *(feature.name for feature in features.sparse)]
    try:
        with pq.ParquetFile(path) as parquet:
            if parquet.metadata.num_rows != file.rows:
                found = parquet.metadata.num_rows
                raise DatasetError(f"{path} has {found} rows, and the manifest says {file.rows}.")
            if missing := sorted(set(names) - set(parquet.schema_arrow.names)):
                raise DatasetError(f"{path} has no column {missing[0]!r}.")
            for group in range(parquet.num_row_groups):
                rows = parquet.metadata.row_group(group).num_rows
                if skip_rows >= rows:
                    skip_rows -= rows
                    continue
                table = parquet.read_row_group(group, columns=names, use_threads=False)
                block = _block(table, manifest, path, hot)
                yield block.part(skip_rows, rows) if skip_rows else block
                skip_rows = 0
    except FileNotFoundError:
        raise DatasetError(f"{path} is absent, and the manifest names it.") from None
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(f"{path} cannot be read as Parquet: {reason}") from None


def _block(table: pa.Table, manifest: Manifest, path: Path, hot: bool) -> Batch:
    """A row group's table as one batch, checked."""
    features = manifest.features
    label = _plain(table, features.label, path, pa.types.is_integer).astype(np.float32)
    if label.size and not np.isin(label, (0, 1)).all():
        raise DatasetError(f"{path}: column {features.label!r} has labels other than 0 and 1.")
    dense = np.empty((len(label), len(features.dense)), dtype=np.float32)
    for index, name in enumerate(features.dense):
        dense[:, index] = _plain(table, name, path, pa.types.is_floating)
        if not np.isfinite(dense[:, index]).all():
            raise DatasetError(f"{path}: column {name!r} has a value that is not finite.")
    ragged = any(feature.multi for feature in features.sparse)
    ids, offsets = (_ragged_ids if ragged else _single_ids)(table, manifest, path, hot)
    return Batch(label, dense, ids, offsets, hot)


def _single_ids(
    table: pa.Table, manifest: Manifest, path: Path, hot: bool
) -> tuple[Ints, Ints | None]:
    """Ids, and no offsets, where every feature has one id."""
    sparse = manifest.features.sparse
    ids = np.empty((table.num_rows, len(sparse)), dtype=np.int64)
    for index, feature in enumerate(sparse):
        values = _plain(table, feature.name, path, pa.types.is_integer)
        _check_ids(values, feature, manifest, path, hot)
        ids[:, index] = values
    return ids.ravel(), None


def _ragged_ids(
    table: pa.Table, manifest: Manifest, path: Path, hot: bool
) -> tuple[Ints, Ints | None]:
    """Ids and offsets, where some feature is a list."""
    sparse = manifest.features.sparse
    lengths = np.ones((table.num_rows, len(sparse)), dtype=np.int64)
    columns = []
    for index, feature in enumerate(sparse):
        if feature.multi:
            values, lengths[:, index] = _lists(table, feature.name, path)
        else:
            values = _plain(table, feature.name, path, pa.types.is_integer)
        _check_ids(values, feature, manifest, path, hot)
        columns.append(values)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    starts = offsets[:-1].reshape(lengths.shape)  # (rows, features)
    ids = np.empty(offsets[-1], dtype=np.int64)
    for index, values in enumerate(columns):
        own = np.cumsum(lengths[:, index]) - lengths[:, index]
        places = np.repeat(starts[:, index] - own, lengths[:, index]) + np.arange(len(values))
        ids[places] = values
    return ids, offsets


def _column(table: pa.Table, name: str, path: Path) -> pa.Array:
    column = table.column(name).combine_chunks()
    if column.null_count:
        raise DatasetError(f"{path}: column {name!r} has {column.null_count} nulls; none may be.")
    return column


def _plain(
    table: pa.Table, name: str, path: Path, fits: Callable[[pa.DataType], bool]
) -> npt.NDArray[Any]:
    """The values of a column without nulls whose type `fits`, a predicate of pyarrow.types."""
    column = _column(table, name, path)
    if not fits(column.type):
        raise DatasetError(f"{path}: column {name!r} cannot be of type {column.type}.")
    values: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values


def _lists(table: pa.Table, name: str, path: Path) -> tuple[npt.NDArray[Any], Ints]:
    """The values of a list column end to end, and the length of each row's list."""
    column = _column(table, name, path)
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
    values: npt.NDArray[Any],
    feature: SparseFeature,
    manifest: Manifest,
    path: Path,
    hot: bool,
) -> None:
    """Raise DatasetError unless all ids are rows of the table, and hot ones in a hot leaf."""
    table = manifest.table(feature.table)
    if not values.size:
        return
    low, high = int(values.min()), int(values.max())
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
