"""Check that the files of a data set are those that its manifest names, byte for byte."""

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fae.format.errors import DatasetError

_MISSING = "missing"

#: Where DVC's cache keeps a file, by the md5 of its content; links to such files replace outputs.
_DVC_CACHE_FILE = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}\Z")


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
    """Return the sha256 of a local file's bytes in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_links(directory: Path, paths: Iterable[str]) -> None:
    """Raise DatasetError where one of the files is, or lies in, a link that leaves `directory`.

    A file may be a link to one of DVC's cache, which `cache.type symlink` makes of outputs.
    """
    is_link: dict[Path, bool] = {}
    for path in paths:
        path_to = directory
        for part in PurePosixPath(path).parts:
            path_to = path_to / part
            if path_to not in is_link:
                is_link[path_to] = path_to.is_symlink()
            if is_link[path_to] and not (_is_inside(path_to, directory) or is_cached(path_to)):
                raise DatasetError(
                    f"{path_to} is a link that leads out of {directory}, which must hold its own "
                    "files, or links to those of DVC's cache. Replace the link by the file: "
                    "`cp -rL` copies what links point to."
                )


def is_cached(path: Path) -> bool:
    """Return whether `path` is a link to a file of DVC's cache."""
    real = os.path.realpath(path)
    return _DVC_CACHE_FILE.search(real) is not None and Path(real).is_file()


def _is_inside(path: Path, directory: Path) -> bool:
    real, root = os.path.realpath(path), os.path.realpath(directory)
    return Path(real).is_relative_to(root)


def check_files(directory: Path, files: Sequence[DataFile]) -> None:
    """Raise DatasetError where a file is absent, a link to elsewhere, or of another size."""
    check_links(directory, (file.path for file in files))
    for file in files:
        check_file(directory / file.path, file, checksum=False)


def check_file(path: Path, file: DataFile, *, checksum: bool = True, name: object = None) -> None:
    """Raise DatasetError where `find_fault` finds one; the message calls the file `name`."""
    fault = find_fault(path, file, checksum=checksum)
    if fault is None:
        return
    is_what = (
        "is absent, but the manifest names it" if fault == _MISSING else f"is damaged: {fault}"
    )
    raise DatasetError(f"{name or path} {is_what}. Copy or prepare the data set again.")


def find_fault(path: Path, file: DataFile, *, checksum: bool = True) -> str | None:
    """Return what is wrong with the file of a data set that lies at `path`; None where nothing is.

    Compares its size with the manifest's and, with `checksum`, also its sha256.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return "not a regular file"
        if status.st_size != file.bytes:
            return f"{status.st_size:,} bytes, not {file.bytes:,}"
        intact = not checksum or compute_sha256(path) == file.sha256
    except FileNotFoundError:
        return _MISSING
    except OSError as error:
        return f"unreadable: {error.strerror or error}"
    return None if intact else "its sha256 is not the manifest's"
