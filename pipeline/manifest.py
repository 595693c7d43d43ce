"""The data set's contract: `manifest.json`, the one file that readers trust.

Readers never list folders: a file that the manifest does not name is not part of the data set, and
a directory without `_SUCCESS` is not a data set. The module needs the standard library alone, so
that the trainer can import it where no data engine is installed.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pipeline.errors import DatasetError

FORMAT = "fae-dataset"
VERSION = 1
FILE_NAME = "manifest.json"
SUCCESS = "_SUCCESS"
SPLITS = ("train", "valid", "test")
TEMPERATURES = ("hot", "cold")
LABEL = "label"
OOV_ID = 0
#: Of a data set that logs were added to: how its hot set changed, and the ids' former ones.
DRIFT = "drift.json"
MAPPING = "mapping"

#: Bytes of one element of an embedding row, by the names that schemas use.
DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}


#: Optimiser → state beside one embedding row: (float32 scalars, rows of its own dim and dtype).
OPTIMIZER_STATE = {
    "sgd": (0, 0),
    "rowwise_adagrad": (1, 0),
    "adagrad": (0, 1),
    "adam": (0, 2),
}


@dataclass(frozen=True)
class Embedding:
    """What one row costs on the device: the byte budget counts dtype and optimiser state."""

    dtype: str
    optimizer: str

    def row_bytes(self, dim: int) -> int:
        """Bytes of one embedding row of `dim` elements with its optimiser state."""
        scalars, rows = OPTIMIZER_STATE[self.optimizer]
        return (1 + rows) * dim * DTYPE_BYTES[self.dtype] + 4 * scalars


@dataclass(frozen=True)
class Budget:
    """The bytes allowed for hot rows, the bytes that they take, and the rule that chose them."""

    bytes: int
    used_bytes: int
    rule: str


@dataclass(frozen=True)
class DataFile:
    """One file of the data set; `path` is relative to its directory, with forward slashes."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Table:
    """One embedding table: ids run from 0 (out-of-vocabulary) to rows - 1, hot below `hot_rows`.

    Where cold ids are hashed, values share cold rows, and some of these may have no value.
    """

    name: str
    rows: int
    hot_rows: int
    dim: int
    vocabulary: DataFile

    @property
    def hashed(self) -> bool:
        """Whether cold ids are hashed: just where there are more values than rows for them."""
        return self.rows > self.hot_rows and self.vocabulary.rows > self.rows - 1


@dataclass(frozen=True)
class SparseFeature:
    """One integer column, looked up in `table`; a list column when `multi`."""

    name: str
    table: str
    multi: bool


@dataclass(frozen=True)
class Features:
    """The columns of every data file: `label` (int8), dense (float32), sparse (int32 or int64)."""

    label: str
    dense: tuple[str, ...]
    sparse: tuple[SparseFeature, ...]


@dataclass(frozen=True)
class Leaf:
    """The rows of one split and temperature, in the order of their seeded shuffle."""

    rows: int
    files: tuple[DataFile, ...]


@dataclass(frozen=True)
class Manifest:
    """Everything that a reader needs to know of a data set; see ARCHITECTURE.md for the layout.

    `splits` maps train, valid and test to their hot and cold leaf. `schema` is the log's schema
    in full. `preparation` says how the data set came about: logs, rejects, folded ids, shares;
    `records` are files that tell more of it.
    """

    version: int
    fingerprint: str
    seed: int
    embedding: Embedding
    budget: Budget
    features: Features
    tables: tuple[Table, ...]
    splits: Mapping[str, Mapping[str, Leaf]]
    schema: Mapping[str, Any]
    preparation: Mapping[str, Any]
    records: tuple[DataFile, ...] = ()

    def files(self) -> list[DataFile]:
        """Every file but the manifest and `_SUCCESS`: vocabularies, leaves, records."""
        leaves = (leaf for split in self.splits.values() for leaf in split.values())
        data = [file for leaf in leaves for file in leaf.files]
        return [*(table.vocabulary for table in self.tables), *data, *self.records]

    def table(self, name: str) -> Table:
        """The table called `name`."""
        return next(table for table in self.tables if table.name == name)

    def write(self, directory: Path) -> None:
        """Write `manifest.json`; the caller writes `_SUCCESS` after it."""
        (directory / FILE_NAME).write_text(self.text(), encoding="utf-8")

    def text(self) -> str:
        """What `manifest.json` holds."""
        document = {"format": FORMAT, **_encode(self)}
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def read(cls, directory: Path | str) -> Manifest:
        """The manifest of a finished data set in a local directory.

        Raises DatasetError where the directory is absent, unfinished, of another version, or where
        the manifest does not have the shape that this version writes.
        """
        directory = Path(directory)
        path = directory / FILE_NAME
        if not (directory / SUCCESS).is_file() or not path.is_file():
            raise unfinished(str(directory))
        return cls.parse(path.read_bytes(), str(path))

    @classmethod
    def parse(cls, text: str | bytes, where: str) -> Manifest:
        """The manifest that `text` is, for messages found at `where`; DatasetError as `read`."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:  # also numbers beyond Python's limit
            raise DatasetError(
                f"{where} is not JSON ({error}). Prepare the data set again."
            ) from None
        if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
            raise DatasetError(f'{where} has no "format": "{FORMAT}"; it is no FAE data set.')
        if document.get("version") != VERSION:
            raise DatasetError(
                f"{where} has version {document.get('version')!r}, and this program reads version "
                f"{VERSION}. Prepare the data set again, or install the program that wrote it."
            )
        manifest = _decode(cls, document, where)
        _check(manifest, where)
        return manifest


def unfinished(where: str) -> DatasetError:
    """The error of a place that should hold a data set and does not."""
    return DatasetError(
        f"{where} is not a finished data set: it has no {SUCCESS} with a {FILE_NAME}. "
        "Prepare it again with `fae prepare`."
    )


def _check(manifest: Manifest, where: str) -> None:
    """Raise DatasetError unless names, paths and counts agree with each other."""
    for file in manifest.files():
        parts = PurePosixPath(file.path)
        if parts.is_absolute() or ".." in parts.parts or "\\" in file.path or file.path == "":
            raise DatasetError(f"{where}: {file.path!r} leaves the data set's directory.")
    names = {table.name for table in manifest.tables}
    if len(names) != len(manifest.tables):
        raise DatasetError(f"{where}: two tables have one name.")
    for table in manifest.tables:
        if not 0 <= table.hot_rows <= table.rows or table.rows < 1 or table.dim < 1:
            raise DatasetError(f"{where}: table {table.name!r} has impossible sizes.")
    for feature in manifest.features.sparse:
        if feature.table not in names:
            raise DatasetError(f"{where}: {feature.name!r} is of no table ({feature.table!r}).")
    if manifest.embedding.dtype not in DTYPE_BYTES:
        raise DatasetError(f"{where}: unknown dtype {manifest.embedding.dtype!r}.")
    if manifest.embedding.optimizer not in OPTIMIZER_STATE:
        raise DatasetError(f"{where}: unknown optimizer {manifest.embedding.optimizer!r}.")
    if set(manifest.splits) != set(SPLITS):
        raise DatasetError(f"{where}: splits are {sorted(manifest.splits)}, not {list(SPLITS)}.")
    for split, leaves in manifest.splits.items():
        if set(leaves) != set(TEMPERATURES):
            raise DatasetError(f"{where}: {split} has {sorted(leaves)}, not {list(TEMPERATURES)}.")
        for temperature, leaf in leaves.items():
            if leaf.rows != sum(file.rows for file in leaf.files):
                raise DatasetError(f"{where}: {split}/{temperature} rows differ from its files'.")


def _encode(value: Any) -> Any:
    """`value` with dataclasses as dictionaries and tuples as lists, fields in their order."""
    if dataclasses.is_dataclass(value):
        return {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value


T = TypeVar("T")


def _decode(kind: type[T], value: Any, where: str) -> T:
    """`value`, as JSON gave it, as `kind`; DatasetError names the place that does not fit."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return typing.cast(T, value)
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        if not isinstance(value, dict) or set(value) != set(hints):
            found = sorted(value) if isinstance(value, dict) else type(value).__name__
            raise DatasetError(f"{where}: expected the keys {sorted(hints)}, found {found}.")
        fields = {key: _decode(hints[key], value[key], f"{where}: {key}") for key in hints}
        return typing.cast(T, kind(**fields))
    if origin is tuple and isinstance(value, list):
        items = (_decode(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
        return typing.cast(T, tuple(items))
    if origin in (Mapping, typing.get_origin(Mapping[str, Any])) and isinstance(value, dict):
        items_of = {k: _decode(arguments[1], v, f"{where}: {k}") for k, v in value.items()}
        return typing.cast(T, items_of)
    negative = isinstance(value, int) and value < 0
    if type(value) is kind and not negative:
        return value
    name = getattr(kind, "__name__", str(kind))
    raise DatasetError(f"{where}: expected {name}, found {value!r:.60}.")
