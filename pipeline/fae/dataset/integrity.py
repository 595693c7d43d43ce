"""Check that a data set's folder holds the files of its manifest, whole, and nothing else."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa

from fae.commit.outputs import MADE_FROM
from fae.format.errors import DatasetError
from fae.format.integrity import DataFile, check_file, check_links, find_fault, is_cached
from fae.format.manifest import MANIFEST_FILE as MANIFEST
from fae.format.manifest import SUCCESS, Manifest
from fae.storage.decoding import read_parquet
from fae.storage.folder import Folder

#: The errors of readers of Parquet where a file is damaged; Polars panics over some.
READ_ERRORS = (
    *(OSError, UnicodeDecodeError, pa.ArrowException),
    *(pl.exceptions.PolarsError, pl.exceptions.PanicException),
)


def find_unknown_files(directory: Folder, manifest: Manifest) -> Iterator[str]:
    """Yield the faults of the folder: files that the manifest does not name, and links.

    Links to files of DVC's cache are none.
    """
    known = {file.path for file in manifest.files()} | {MANIFEST, SUCCESS}
    known |= {MADE_FROM} if directory.remote else set()
    for name in directory.list_files():
        if name not in known:
            yield f"{_escape(name)}: not in the manifest"
    for path in [] if directory.remote else sorted(directory.path.rglob("*")):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or is_cached(path)):
            kind = "a link" if stat.S_ISLNK(mode) else "neither file nor folder"
            yield f"{_escape(path.relative_to(directory.path).as_posix())}: {kind}"


def find_file_faults(directory: Folder, file: DataFile) -> list[str]:
    """Return the fault of a file's presence, size or checksum, in a list that is else empty."""
    try:
        with directory.read(file.path) as path:
            fault = find_fault(path, file)
    except FileNotFoundError:  # of an object store
        fault = "missing"
    return [f"{file.path}: {fault}"] if fault else []


@contextmanager
def read_checked(dataset: Folder, file: DataFile) -> Iterator[Path]:
    """Yield a local path with a file of a data set, whose checksum has been compared.

    Raises DatasetError where the file is absent, damaged or a link out of the data set.
    """
    if not dataset.remote:
        check_links(dataset.path, [file.path])
    name = dataset / file.path
    try:
        with dataset.read(file.path) as path:
            check_file(path, file, name=name)
            yield path
    except FileNotFoundError:
        raise DatasetError(f"{name} is absent, but the manifest names it.") from None


def read_vocabulary(path: Path, columns: list[str], name: object = None) -> pl.DataFrame:
    """Return columns of a vocabulary that messages call `name`, or else by its path.

    Raises DatasetError where it cannot be read, would take too much memory, or its columns are of
    other types than vocabularies have.
    """
    try:
        frame = read_parquet(path, columns, name)
    except READ_ERRORS as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DatasetError(f"Cannot read {name or path}: {reason}. Run `fae verify`.") from None
    if faults := find_type_faults(frame):
        raise DatasetError(f"{name or path}: {faults[0]}. Run `fae verify`.")
    return frame


def find_type_faults(vocabulary: pl.DataFrame) -> list[str]:
    """Return a fault for each column of a vocabulary that has another type than it should."""
    return [
        f"{name} is {dtype}, not {'text or integers' if name == 'value' else 'integers'}"
        for name, dtype in vocabulary.schema.items()
        if dtype != pl.Int64()
        and not (name == "value" and (dtype == pl.String() or dtype.is_integer()))
    ]


def _escape(name: str) -> str:
    """Return a file's name without control characters, which a terminal would obey."""
    return name if name.isprintable() else ascii(name)
