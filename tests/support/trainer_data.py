"""Small data sets for the trainer's tests, written by hand as the contract says."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fae.format.budget import Budget, Embedding
from fae.format.integrity import DataFile
from fae.format.manifest import SUCCESS, Features, Leaf, Manifest, SparseFeature, Table


@dataclass(frozen=True)
class Column:
    """A sparse feature to make up: `table` defaults to its own name."""

    name: str
    multi: bool = False
    table: str = ""

    @property
    def of(self) -> str:
        return self.table or self.name


@dataclass(frozen=True)
class Shape:
    """What to make up. `tables` maps a name to (rows, hot rows), `dims` to a dim other than `dim`.

    `weighted` data sets have a weight a row, some of them 0, and rows without a label.
    """

    tables: dict[str, tuple[int, int]] = field(
        default_factory=lambda: {"a": (50, 10), "b": (7, 7), "c": (30, 0), "d": (40, 15)}
    )
    columns: tuple[Column, ...] = (Column("a"), Column("b"), Column("c"), Column("d"))
    dense: int = 3
    dim: int = 4
    hot: int = 90
    cold: int = 130
    eval_rows: int = 40
    files: int = 2
    group: int = 25
    optimizer: str = "sgd"
    dtype: str = "float32"
    seed: int = 0
    wide_ids: bool = False
    weighted: bool = field(default=False, repr=False)
    dims: dict[str, int] = field(default_factory=dict, repr=False)


#: Lists with empty ones and repetitions, a table that two features share, and id 0.
RAGGED = Shape(
    tables={"a": (50, 10), "items": (60, 20), "c": (30, 4)},
    columns=(
        Column("a"),
        Column("clicked", multi=True, table="items"),
        Column("shown", table="items"),
        Column("c", multi=True),
    ),
)

#: Those with tables of three dims, whose features are not in the order of their dims.
SEVERAL_DIMS = replace(RAGGED, dims={"a": 8, "c": 2}, columns=RAGGED.columns[::-1])


def write_dataset(directory: Path, shape: Shape) -> Manifest:
    """Write a finished data set, whose labels follow a weight planted on every id."""
    directory.mkdir(parents=True)
    rng = np.random.default_rng(shape.seed)
    planted = {name: rng.normal(size=rows) for name, (rows, _) in shape.tables.items()}
    splits = {}
    for split, hot, cold in (
        ("train", shape.hot, shape.cold),
        ("valid", shape.eval_rows, shape.eval_rows),
        ("test", shape.eval_rows, shape.eval_rows),
    ):
        splits[split] = {
            "hot": _leaf(directory, shape, rng, planted, f"{split}-hot", hot),
            "cold": _leaf(directory, shape, rng, planted, f"{split}-cold", cold),
        }
    tables = tuple(
        Table(name, rows, hot, shape.dims.get(name, shape.dim), _vocabulary(directory, name, rows))
        for name, (rows, hot) in shape.tables.items()
    )
    embedding = Embedding(shape.dtype, shape.optimizer)
    used = sum(table.hot_rows * embedding.row_bytes(table.dim) for table in tables)
    names = tuple(f"dense_{index}" for index in range(shape.dense))
    sparse = tuple(SparseFeature(c.name, c.of, c.multi) for c in shape.columns)
    manifest = Manifest(
        version=1,
        fingerprint=hashlib.sha256(repr(shape).encode()).hexdigest(),
        seed=shape.seed,
        embedding=embedding,
        budget=Budget(bytes=used, used_bytes=used, rule="by hand"),
        features=Features(
            "label",
            names,
            sparse,
            weight="weight" if shape.weighted else "",
            unlabeled=shape.weighted,
        ),
        tables=tables,
        splits=splits,
        schema={},
        preparation={},
    )
    manifest.write(directory)
    (directory / SUCCESS).touch()
    return manifest


def data_file(directory: Path, path: str, rows: int) -> DataFile:
    """Return the manifest's entry of a file in `directory`."""
    content = (directory / path).read_bytes()
    return DataFile(path, rows, len(content), hashlib.sha256(content).hexdigest())


def _leaf(
    directory: Path,
    shape: Shape,
    rng: np.random.Generator,
    planted: dict[str, np.ndarray],
    leaf: str,
    rows: int,
) -> Leaf:
    hot = leaf.endswith("hot")
    signal = np.zeros(rows)
    table = {}
    for column in shape.columns:
        total, hot_rows = shape.tables[column.of]
        high = hot_rows if hot else total
        lengths = rng.integers(0, 4, rows) if column.multi else np.ones(rows, dtype=np.int64)
        if high == 0 and not column.multi:
            rows, signal, lengths = 0, signal[:0], lengths[:0]
        if high == 0:
            lengths = lengths * 0
        flat = np.minimum(rng.geometric(3 / max(high, 3), lengths.sum()) - 1, high - 1)
        owner = np.repeat(np.arange(rows), lengths)
        np.add.at(signal, owner, planted[column.of][flat])
        table[column.name] = _sparse(flat, lengths, column.multi, shape.wide_ids)
    dense = {f"dense_{i}": rng.normal(size=rows).astype(np.float32) for i in range(shape.dense)}
    for values in dense.values():
        signal = signal + values / 2
    label = (signal + rng.logistic(size=rows) / 2 > 0).astype(np.int8)
    columns = {name: values[:rows] for name, values in table.items()}
    if shape.weighted:
        columns["weight"] = rng.integers(0, 5, rows).astype(np.float32) / 2
        label = np.where(rng.random(rows) < 0.1, -1, label).astype(np.int8)
    whole = pa.table({"label": label, **dense, **columns})
    bounds = np.linspace(0, rows, shape.files + 1).astype(int)
    files: list[DataFile] = []
    split, temperature = leaf.split("-")
    folder = f"split={split}/temperature={temperature}"
    (directory / folder).mkdir(parents=True)
    for part in range(shape.files if rows else 0):
        path = f"{folder}/part-{part:05d}.parquet"
        piece = whole.slice(bounds[part], bounds[part + 1] - bounds[part])
        pq.write_table(piece, directory / path, row_group_size=shape.group, compression="zstd")
        files.append(data_file(directory, path, piece.num_rows))
    return Leaf(rows, tuple(files))


def _sparse(
    flat: np.ndarray, lengths: Sequence[int] | np.ndarray, multi: bool, wide: bool
) -> pa.Array:
    values = pa.array(flat.astype(np.int64 if wide else np.int32))
    if not multi:
        return values
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _vocabulary(directory: Path, name: str, rows: int) -> DataFile:
    (directory / "vocabulary").mkdir(exist_ok=True)
    path = f"vocabulary/{name}.parquet"
    ids = np.arange(rows)
    table = pa.table({"id": ids, "value": [f"{name}{i}" for i in ids], "accesses": rows - ids})
    pq.write_table(table, directory / path, compression="zstd")
    return data_file(directory, path, rows)
