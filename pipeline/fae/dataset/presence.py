"""Presence: that a data set's folder holds the files of its manifest, whole, and nothing else."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa

from fae.commit.outputs import MADE_FROM
from fae.format.errors import DatasetError
from fae.format.integrity import DataFile, check_links, compute_sha256
from fae.format.manifest import MANIFEST_FILE as MANIFEST
from fae.format.manifest import SUCCESS, Manifest
from fae.storage.folder import Folder

#: What readers of Parquet raise for a file that is damaged; Polars panics over some.
UNREADABLE = (
    *(OSError, UnicodeDecodeError, pa.ArrowException),
    *(pl.exceptions.PolarsError, pl.exceptions.PanicException),
)


def strangers(directory: Folder, manifest: Manifest) -> Iterator[str]:
    """Faults of what the folder holds: files that the manifest does not name, and links."""
    known = {file.path for file in manifest.files()} | {MANIFEST, SUCCESS}
    known |= {MADE_FROM} if directory.remote else set()
    for name in directory.names():
        if name not in known:
            yield f"{_shown(name)}: not in the manifest"
    for path in [] if directory.remote else sorted(directory.path.rglob("*")):
        mode = path.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            kind = "a link" if stat.S_ISLNK(mode) else "neither file nor folder"
            yield f"{_shown(path.relative_to(directory.path).as_posix())}: {kind}"


def file_faults(directory: Folder, file: DataFile) -> list[str]:
    """Faults of a file's presence, size and checksum."""
    if not directory.exists(file.path):
        return [f"{file.path}: missing"]
    try:
        with directory.read(file.path) as path:
            size = path.stat().st_size
            if size != file.bytes:
                return [f"{file.path}: {size:,} bytes, not {file.bytes:,}"]
            digest = compute_sha256(path)
    except OSError as error:
        return [f"{file.path}: unreadable: {error.strerror or error}"]
    return [] if digest == file.sha256 else [f"{file.path}: its sha256 is not the manifest's"]


@contextmanager
def checked(dataset: Folder, file: DataFile) -> Iterator[Path]:
    """A path with a file of a data set, to be read in the block, its checksum compared.

    Raises DatasetError where it is absent, damaged or a link out of the data set.
    """
    if not dataset.remote:
        check_links(dataset.path, [file.path])
    where = dataset / file.path
    try:
        with dataset.read(file.path) as path:
            if compute_sha256(path) != file.sha256:
                raise DatasetError(
                    f"{where} is damaged: its sha256 is not the manifest's. See what `fae verify` "
                    "says, and copy or prepare the data set again."
                )
            yield path
    except FileNotFoundError:
        raise DatasetError(f"{where} is absent, and the manifest names it.") from None


def _shown(name: str) -> str:
    """A name that a stranger chose, without what a terminal would obey."""
    return name if name.isprintable() else ascii(name)
