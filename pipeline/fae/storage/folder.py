"""Storage: the folders that stages read and write, on the local disk or behind a URL of fsspec.

Local files are used where they lie, so memory maps cost nothing. A remote file is copied to this
process's scratch space to be read, and written there before it is sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa

from fae.format.atomic_files import replace_file
from fae.format.errors import StorageError, disk_errors_reported
from fae.storage.file_cache import FILE_CACHE
from fae.storage.remote import (
    call_with_retries,
    check_no_password,
    is_url,
    open_file,
    resolve_remote,
)


@dataclass(frozen=True)
class Folder:
    """A directory by its path, or a prefix of an object store by its URL, without a final slash."""

    url: str

    @classmethod
    def of(cls, place: FolderLike) -> Folder:
        """The folder at a path or URL. StorageError where a URL carries a password."""
        if isinstance(place, Folder):
            return place
        text = str(place).removeprefix("file://")
        if not is_url(text):
            return cls(str(Path(text)))
        check_no_password(text)
        return cls(text.rstrip("/"))

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> Folder:
        return Folder(
            f"{self.url}/{check_name(name)}" if self.remote else str(self.path / check_name(name))
        )

    @property
    def remote(self) -> bool:
        """Whether files must be fetched and sent."""
        return is_url(self.url)

    @property
    def name(self) -> str:
        """The last part of the path or URL."""
        return self.url.rpartition("/")[2] if self.remote else self.path.name

    @property
    def parent(self) -> Folder:
        """The folder that holds this one."""
        return Folder(self.url.rpartition("/")[0] if self.remote else str(self.path.parent))

    @property
    def path(self) -> Path:
        """The directory of a local folder; StorageError where it is remote."""
        if self.remote:
            raise StorageError(
                f"{self} is not on a local disk, which this needs. Copy it first, for example with "
                "`aws s3 sync`."
            )
        return Path(self.url)

    def absolute(self) -> Folder:
        """The same folder for processes that work in another directory."""
        return self if self.remote else Folder(str(self.path.absolute()))

    def beside(self, suffix: str) -> Folder:
        """The folder next to this one whose name has `suffix` at its end."""
        if not self.remote:
            return Folder(str(self.path.with_name(self.path.name + suffix)))
        if not urlsplit(self.url).path.strip("/"):
            raise StorageError(f"{self.url} is a whole bucket. Name a folder in it.")
        return Folder(self.url + suffix)

    @contextmanager
    def read(self, name: str) -> Iterator[Path]:
        """A local path with the whole file; what is opened or mapped in the block stays readable.

        Raises FileNotFoundError where there is none.
        """
        if not self.remote:
            yield (self / name).path
            return
        filesystem, path = resolve_remote((self / name).url)
        found = call_with_retries(filesystem, "info", path)
        state = (str(found.get(key)) for key in ("ETag", "LastModified", "mtime", "created"))

        def fetch(local: Path) -> None:
            call_with_retries(filesystem, "get_file", path, str(local))
            if local.stat().st_size != found["size"]:
                raise StorageError(f"{self}/{name} changed while it was read. Run again.")

        with FILE_CACHE.copy("|".join((self.url, name, *state)), found["size"], fetch) as local:
            yield local

    def forget(self, name: str) -> None:
        """Have the system keep a file's pages no longer in memory, where it lies on a disk.

        The file stays. What is written next then takes the memory that it had.
        """
        if self.remote or not hasattr(os, "posix_fadvise"):
            return
        descriptor = os.open((self / name).path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)

    @contextmanager
    def open(self, name: str) -> Iterator[pa.NativeFile]:
        """The file for Arrow to read pieces of: mapped, or fetched from a remote one as read."""
        if self.remote:
            with (
                open_file((self / name).url) as stream,
                pa.PythonFile(stream, mode="r") as file,
            ):
                yield file
        else:
            with pa.memory_map((self / name).url) as file:
                yield file

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        """A local path to write to; the file appears as `name`, whole, if the block ends well.

        Several processes may write one file at a time: each has its own until it is whole. On a
        disk it lies beside its place and ends in .partial, which a killed process leaves there.
        StorageError where the disk is full or broken.
        """
        if self.remote:
            with FILE_CACHE.temporary(Path(check_name(name)).name) as local:
                yield local
                filesystem, path = resolve_remote((self / name).url)
                try:
                    call_with_retries(filesystem, "put_file", str(local), path)
                except FileNotFoundError as error:
                    raise StorageError(f"cannot write to {self}: {error}") from None
            return
        place = (self / name).path
        with disk_errors_reported(place):
            place.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(place, shared=True) as partial:
            yield partial

    def read_text(self, name: str) -> str:
        """The UTF-8 text of a file; FileNotFoundError where there is none."""
        return self.read_bytes(name).decode("utf-8")

    def read_bytes(self, name: str) -> bytes:
        """The bytes of a file; FileNotFoundError where there is none."""
        if not self.remote:
            return (self / name).path.read_bytes()
        filesystem, path = resolve_remote((self / name).url)
        data: bytes = call_with_retries(filesystem, "cat_file", path)
        return data

    def write_text(self, name: str, text: str) -> None:
        """Write a UTF-8 file so that no reader ever sees a part of it."""
        with self.write(name) as path:
            path.write_text(text, encoding="utf-8")

    def create(self, name: str, text: str) -> bool:
        """Write a small remote file unless there is one; return whether there was none.

        Object stores must know conditional requests (If-None-Match), as S3 does.
        """
        filesystem, path = resolve_remote((self / name).url)
        data = text.encode()
        try:
            call_with_retries(filesystem, "pipe_file", path, data, mode="create")
        except FileNotFoundError as error:
            raise StorageError(f"cannot write to {self}: {error}") from None
        except (FileExistsError, StorageError):
            if not self.exists(name):
                raise
            return self.read_bytes(name) == data  # our own, whose answer was lost on its way
        return True

    def exists(self, name: str) -> bool:
        """Whether there is a file `name`."""
        if not self.remote:
            return (self / name).path.is_file()
        filesystem, path = resolve_remote((self / name).url)
        return bool(call_with_retries(filesystem, "exists", path))

    def read_state(self, name: str) -> tuple[int, ...]:
        """What changes with a local file: its inode, size and time; nothing of one that is not."""
        try:
            found = None if self.remote else (self / name).path.stat()
        except OSError:
            found = None
        return (found.st_ino, found.st_size, found.st_mtime_ns) if found else ()

    def list_files(self) -> list[str]:
        """The files in this folder and those below, sorted; none where there is no such folder."""
        if not self.remote:
            found = (path for path in self.path.rglob("*") if path.is_file())
            return sorted(path.relative_to(self.path).as_posix() for path in found)
        filesystem, root = resolve_remote(self.url)
        try:
            paths = call_with_retries(filesystem, "find", root)
        except FileNotFoundError:
            return []
        return sorted(path[len(root) + 1 :] for path in paths if path.startswith(f"{root}/"))

    def remove(self, names: Iterable[str]) -> None:
        """Remove these files, those that are there; folders stay."""
        names = list(names)
        if not self.remote:
            for name in names:
                (self / name).path.unlink(missing_ok=True)
        elif names:
            filesystem, root = resolve_remote(self.url)
            call_with_retries(filesystem, "rm", [f"{root}/{name}" for name in names])


def check_name(name: str) -> str:
    """The name of a file in a folder, as it is; StorageError where it leads out of any folder.

    Names come from documents that are read back, which may be damaged or not be ours.
    """
    if name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise StorageError(f"{name!r} leads out of the folder that names it; it is damaged.")
    return name


#: How callers may name a folder.
FolderLike = Folder | Path | str
