"""Read and write folders on the local disk or behind a URL of fsspec.

Local files are used in place, so memory maps cost nothing. A remote file is copied to this
process's file cache to be read, and written there before it is uploaded.
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
from fae.storage.remote import call_with_retries, is_url, open_file, refuse_password, resolve_remote


@dataclass(frozen=True)
class Folder:
    """A directory by its path, or a prefix of an object store by its URL, without a final slash."""

    url: str

    @classmethod
    def of(cls, location: FolderLike) -> Folder:
        """Return the folder at a path or URL; raises StorageError where a URL has a password."""
        if isinstance(location, Folder):
            return location
        text = str(location).removeprefix("file://")
        if not is_url(text):
            path = Path(text)
            # Arrow takes a `~` that a path begins with for a home; a name may begin with one, too.
            return cls(str(path.absolute() if text.startswith("~") else path))
        refuse_password(text)
        return cls(text.rstrip("/"))

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> Folder:
        check_name(name)
        return Folder(f"{self.url}/{name}" if self.remote else str(self.path / name))

    @property
    def remote(self) -> bool:
        """Whether the folder is behind a URL, so that files are downloaded and uploaded."""
        return is_url(self.url)

    @property
    def name(self) -> str:
        """The last part of the path or URL."""
        return self.url.rpartition("/")[2] if self.remote else self.path.name

    @property
    def parent(self) -> Folder:
        """The folder around this one."""
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

    def path_of(self, name: str) -> Path:
        """Return the path of a file in a local folder, by one look at the name.

        Tasks open thousands of files, and a path made of paths takes several times as long.
        """
        check_name(name)
        return Path(f"{self.url}/{name}")

    def absolute(self) -> Folder:
        """Return the folder by a path that processes in other directories understand, too."""
        return self if self.remote else Folder(str(self.path.absolute()))

    def beside(self, suffix: str) -> Folder:
        """Return the folder next to this one, by its name with `suffix` appended."""
        if not self.remote:
            return Folder(str(self.path.with_name(self.path.name + suffix)))
        if not urlsplit(self.url).path.strip("/"):
            raise StorageError(f"{self.url} is a whole bucket. Name a folder in it.")
        return Folder(self.url + suffix)

    @contextmanager
    def read(self, name: str) -> Iterator[Path]:
        """Yield a local path of the whole file; what the block opens or maps stays readable.

        Raises FileNotFoundError where there is no such file.
        """
        if not self.remote:
            yield self.path_of(name)
            return
        filesystem, path = resolve_remote((self / name).url)
        info = call_with_retries(filesystem, "info", path)
        state = (str(info.get(key)) for key in ("ETag", "LastModified", "mtime", "created"))

        def fetch(local: Path) -> None:
            call_with_retries(filesystem, "get_file", path, str(local))
            if local.stat().st_size != info["size"]:
                raise StorageError(f"{self}/{name} changed while it was read. Run again.")

        with FILE_CACHE.copy("|".join((self.url, name, *state)), info["size"], fetch) as local:
            yield local

    def forget(self, name: str) -> None:
        """Drop a local file's pages from the system's cache, as it is not read again.

        The file stays; its memory is free for what is written next.
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
        """Yield the file for Arrow: mapped where it is local, else each read a request."""
        if self.remote:
            with open_file((self / name).url) as stream, pa.PythonFile(stream, mode="r") as file:
                yield file
        else:
            with pa.memory_map(str(self.path_of(name))) as file:
                yield file

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        """Yield a local path to write to; the file appears, whole, when the block ends well.

        Several processes may write the same file at a time: each has its own until it is whole. A
        killed process may leave a file that ends in .partial beside it.

        Raises StorageError where the disk is full or broken, or the upload fails.
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
        target = self.path_of(name)
        with disk_errors_reported(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(target, shared=True) as partial:
            yield partial

    def read_text(self, name: str) -> str:
        """Return the UTF-8 text of a file; raises FileNotFoundError where there is none."""
        return self.read_bytes(name).decode("utf-8")

    def read_bytes(self, name: str) -> bytes:
        """Return the bytes of a file; raises FileNotFoundError where there is none."""
        if not self.remote:
            return self.path_of(name).read_bytes()
        filesystem, path = resolve_remote((self / name).url)
        data: bytes = call_with_retries(filesystem, "cat_file", path)
        return data

    def write_text(self, name: str, text: str) -> None:
        """Write a UTF-8 file, which readers see whole or not at all."""
        with self.write(name) as path:
            path.write_text(text, encoding="utf-8")

    def create(self, name: str, text: str) -> bool:
        """Write a small remote file unless there is one; return whether there was none.

        The object store must support conditional requests (If-None-Match), as S3 does.
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
            return self.read_bytes(name) == data  # our own, whose response was lost
        return True

    def exists(self, name: str) -> bool:
        """Return whether there is a file `name`."""
        if not self.remote:
            return self.path_of(name).is_file()
        filesystem, path = resolve_remote((self / name).url)
        return bool(call_with_retries(filesystem, "exists", path))

    def read_state(self, name: str) -> tuple[int, ...]:
        """Return what changes when a local file does: inode, size, time; () where there is none."""
        try:
            status = None if self.remote else self.path_of(name).stat()
        except OSError:
            status = None
        return (status.st_ino, status.st_size, status.st_mtime_ns) if status else ()

    def list_files(self) -> list[str]:
        """Return the files in and below this folder, sorted; none where there is no folder."""
        if not self.remote:
            files = (path for path in self.path.rglob("*") if path.is_file())
            return sorted(path.relative_to(self.path).as_posix() for path in files)
        filesystem, root = resolve_remote(self.url)
        try:
            paths = call_with_retries(filesystem, "find", root)
        except FileNotFoundError:
            return []
        return sorted(path[len(root) + 1 :] for path in paths if path.startswith(f"{root}/"))

    def remove(self, names: Iterable[str]) -> None:
        """Remove those of these files that exist; folders stay."""
        names = list(names)
        if not self.remote:
            for name in names:
                self.path_of(name).unlink(missing_ok=True)
        elif names:
            filesystem, root = resolve_remote(self.url)
            call_with_retries(filesystem, "rm", [f"{root}/{name}" for name in names])


def check_name(name: str) -> str:
    """Return the name of a file in a folder, or raise StorageError where it leads out of it.

    Names come from documents that are read back, which may be damaged or made by others.
    """
    if name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise StorageError(f"{name!r} leads out of the folder whose document names it: damaged.")
    return name


#: The ways to name a folder.
FolderLike = Folder | Path | str
