"""Integrity: that the files of a data set are those that its manifest names, byte for byte."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fae.format.errors import DatasetError


@dataclass(frozen=True)
class DataFile:
    """One file of the data set; `path` is relative to its directory, with forward slashes."""

    path: str
    rows: int
    bytes: int
    sha256: str


def describe_file(local: Path, path: str, rows: int) -> DataFile:
    """Return the manifest's entry of a file that has just been written and lies at `local`."""
    return DataFile(path, rows, local.stat().st_size, compute_sha256(local))


def compute_sha256(path: Path) -> str:
    """The sha256 of a local file's bytes, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_links(directory: Path, paths: Iterable[str]) -> None:
    """Raise DatasetError where one of the files is, or lies in, a link that leaves `directory`."""
    checked: dict[Path, bool] = {}
    for path in paths:
        place = directory
        for part in PurePosixPath(path).parts:
            place = place / part
            if place not in checked:
                checked[place] = place.is_symlink()
            if checked[place] and not _inside(place, directory):
                raise DatasetError(
                    f"{place} is a link that leads out of {directory}, and a data set's files are "
                    "its own. Put the file itself in its place: `cp -rL` copies what links lead "
                    "to, and DVC makes no links with `dvc config cache.type hardlink,copy`."
                )


def _inside(place: Path, directory: Path) -> bool:
    real, root = os.path.realpath(place), os.path.realpath(directory)
    return Path(real).is_relative_to(root)


def check_files(directory: Path, files: Sequence[DataFile]) -> None:
    """Raise DatasetError where a file is absent, a link to elsewhere, or of another size."""
    check_links(directory, (file.path for file in files))
    for file in files:
        path = directory / file.path
        with _reading(path):
            found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise DatasetError(f"{path} is not a file, and the manifest names it.")
        if found.st_size != file.bytes:
            raise DatasetError(
                f"{path} has {found.st_size} bytes, and the manifest says {file.bytes}: it is "
                "damaged. Copy or prepare it again."
            )


def check_checksum(path: Path, file: DataFile) -> None:
    """Raise DatasetError unless the file has the checksum that the manifest tells."""
    with _reading(path):
        digest = compute_sha256(path)
    if digest != file.sha256:
        raise DatasetError(
            f"{path} is damaged: its sha256 is not the manifest's. Copy or prepare it again."
        )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise DatasetError where the block cannot read the file at `path`."""
    try:
        yield
    except FileNotFoundError:
        raise DatasetError(f"{path} is absent, and the manifest names it.") from None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from None
