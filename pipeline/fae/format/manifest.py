"""Define a data set's contract: `manifest.json`, the one file that readers trust.

Readers never list folders: a file that the manifest does not name is not part of the data set, and
a directory without `_SUCCESS` is not a data set. `_SUCCESS` holds the data set's fingerprint and
the manifest's sha256, as `sha256sum` writes it; the manifest holds that of every other file. The
module needs only the standard library, so that the trainer can import it where no data engine is
installed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from fae.format.budget import DTYPE_BYTES, OPTIMIZER_STATE, Budget, Embedding
from fae.format.errors import DatasetError
from fae.format.integrity import DataFile, check_links
from fae.format.json_codec import decode, encode, optional

FORMAT = "fae-dataset"
VERSION = 1
MANIFEST_FILE = "manifest.json"
SUCCESS = "_SUCCESS"
SPLITS = ("train", "valid", "test")
TEMPERATURES = ("hot", "cold")
LABEL = "label"
OOV_ID = 0
#: More than any data set has: ids are stored in 32 bits first, and a schema's dim is bounded too.
MAX_TABLE_ROWS, MAX_DIM = 2**32, 65_536
#: Far more than a row group of a data set has; equal values take no bytes, whatever their number.
MAX_GROUP_ROWS = 2**24
#: Fewer than a row group takes in a file: its footer has an entry for each column.
_MIN_GROUP_BYTES = 100
#: In a data set that logs were added to: how its hot set changed, and the former id of each id.
DRIFT = "drift.json"
MAPPING = "mapping"


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
class LearntMoments:
    """The mean and the standard deviation of a dense column's train rows, before `standardize`.

    The column's values in the data files are `(x - mean) / std`, or 0 where `std` is 0.
    """

    column: str
    mean: float
    std: float


@dataclass(frozen=True)
class Features:
    """The columns of every data file: `label` (int8), dense (float32), sparse (int32 or int64).

    After them come, where the schema has any, further `labels` (int8), a `weight` of each row
    (float32, from 0 on) and `keys` (text). With `unlabeled`, a row without a label has label -1.
    `standardized` says how dense columns are, where that was learnt.
    """

    label: str
    dense: tuple[str, ...]
    sparse: tuple[SparseFeature, ...]
    labels: tuple[str, ...] = optional(())
    weight: str = optional("")
    keys: tuple[str, ...] = optional(())
    unlabeled: bool = optional(False)
    standardized: tuple[LearntMoments, ...] = optional(())

    @property
    def columns(self) -> list[str]:
        """The names of all columns, in the order of the files."""
        sparse = (feature.name for feature in self.sparse)
        weight = [self.weight] if self.weight else []
        return [self.label, *self.dense, *sparse, *self.labels, *weight, *self.keys]


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
        """Return every file but the manifest and `_SUCCESS`: vocabularies, leaves, records."""
        leaves = (leaf for split in self.splits.values() for leaf in split.values())
        data = [file for leaf in leaves for file in leaf.files]
        return [*(table.vocabulary for table in self.tables), *data, *self.records]

    def table(self, name: str) -> Table:
        """Return the table called `name`."""
        return self._tables_by_name[name]

    @cached_property
    def _tables_by_name(self) -> dict[str, Table]:
        return {table.name: table for table in self.tables}

    def write(self, directory: Path) -> None:
        """Write `manifest.json`; the caller writes `_SUCCESS` after it."""
        (directory / MANIFEST_FILE).write_text(self.to_json(), encoding="utf-8")

    def to_json(self) -> str:
        """Return the text of `manifest.json`."""
        document = {"format": FORMAT, **encode(self)}
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def read(cls, directory: Path | str) -> Manifest:
        """Return the manifest of a finished data set in a local directory.

        Raises DatasetError where the directory is absent, unfinished or of another version, where
        the manifest does not have the shape that this version writes, and where its checksum is not
        the one in `_SUCCESS`.
        """
        directory = Path(directory)
        path = directory / MANIFEST_FILE
        if not (directory / SUCCESS).is_file() or not path.is_file():
            raise unfinished_error(str(directory))
        check_links(directory, (MANIFEST_FILE, SUCCESS))
        return cls.parse(path.read_bytes(), str(path), (directory / SUCCESS).read_bytes())

    @classmethod
    def parse(cls, text: bytes, where: str, success: bytes = b"") -> Manifest:
        """Return the manifest that `text` holds; messages call its file `where`.

        `success` is the text of `_SUCCESS`. Where it has no checksum, none is compared. Raises
        DatasetError as `read`.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:  # also numbers beyond Python's limit
            raise DatasetError(
                f"{where} is not JSON ({error}). Prepare the data set again."
            ) from None
        if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
            raise DatasetError(f'{where} has no "format": "{FORMAT}"; it is not an FAE data set.')
        if document.get("version") != VERSION:
            raise DatasetError(
                f"{where} has version {document.get('version')!r}, and this program reads version "
                f"{VERSION}. Prepare the data set again, or install the program that wrote it."
            )
        manifest = decode(cls, document, where)
        _check(manifest, where)
        signature = success.splitlines()[1:]
        if signature and signature[0].split()[:1] != [_digest(text).encode()]:
            raise DatasetError(
                f"{where} was changed after the data set was finished: its sha256 is not the one "
                f"in {SUCCESS}. Copy the data set again, or prepare it again."
            )
        return manifest


def format_success(fingerprint: str, manifest: bytes) -> str:
    """Return the text of `_SUCCESS` for a manifest; `sha256sum` can check its last line."""
    return f"{fingerprint}\n{_digest(manifest)}  {MANIFEST_FILE}\n"


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def unfinished_error(where: str) -> DatasetError:
    """Return the error for a path that should hold a data set and does not."""
    return DatasetError(
        f"{where} is not a finished data set: it has no {SUCCESS} with a {MANIFEST_FILE}. "
        "Prepare it again with `fae prepare`."
    )


def _check(manifest: Manifest, where: str) -> None:
    """Raise DatasetError unless names, paths and counts agree with each other."""
    paths = {MANIFEST_FILE, SUCCESS}
    for file in manifest.files():
        parts = PurePosixPath(file.path)
        if parts.is_absolute() or ".." in parts.parts or "\\" in file.path or file.path == "":
            raise DatasetError(f"{where}: {file.path!r} leaves the data set's directory.")
        if str(parts) != file.path or not parts.parts or not file.path.isprintable():
            raise DatasetError(f"{where}: {file.path!r} is not the path of a file.")
        if file.path in paths:
            raise DatasetError(f"{where}: {file.path} is named twice.")
        paths.add(file.path)
        if file.rows > (most := MAX_GROUP_ROWS * (1 + file.bytes // _MIN_GROUP_BYTES)):
            raise DatasetError(
                f"{where}: {file.path} has {file.rows} rows in {file.bytes} bytes; at most {most} "
                "are possible. Prepare the data set again."
            )
    names = {table.name for table in manifest.tables}
    if len(names) != len(manifest.tables):
        raise DatasetError(f"{where}: two tables have the same name.")
    for table in manifest.tables:
        if not 0 <= table.hot_rows <= table.rows or table.rows < 1 or table.dim < 1:
            raise DatasetError(f"{where}: table {table.name!r} has impossible sizes.")
        if table.rows > MAX_TABLE_ROWS or table.dim > MAX_DIM:
            raise DatasetError(
                f"{where}: table {table.name!r} has {table.rows} rows of dim {table.dim}; at most "
                f"{MAX_TABLE_ROWS} of {MAX_DIM} are possible."
            )
    columns = manifest.features.columns
    if len(set(columns)) != len(columns):
        raise DatasetError(f"{where}: two columns have the same name.")
    for feature in manifest.features.sparse:
        if feature.table not in names:
            raise DatasetError(
                f"{where}: {feature.name!r} names an unknown table {feature.table!r}."
            )
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
