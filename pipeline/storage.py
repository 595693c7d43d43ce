"""Storage: the folders that stages read and write, on the local disk or behind a URL of fsspec.

Local files are used where they lie, so memory maps cost nothing. A remote file is copied to this
process's scratch space to be read, and written there before it is sent. Credentials and endpoints
come as fsspec and its file systems know them: environment, configuration files, instance roles.
"""

from __future__ import annotations

import errno
import io
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import fsspec
import pyarrow as pa
import tenacity
from fsspec.implementations.local import LocalFileSystem

from pipeline.errors import StorageError
from pipeline.scratch import SCRATCH

#: How the names of files begin that are being written beside their place.
UNFINISHED = ".partial-"
_RETRY = tenacity.Retrying(
    retry=tenacity.retry_if_exception(lambda error: _is_transient(error)),
    wait=tenacity.wait_random_exponential(multiplier=0.1, max=10),
    stop=tenacity.stop_after_attempt(8),
    reraise=True,
)
#: Errors that the same request will meet again.
_FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError)
_FINAL_CODES = {errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENOSPC, errno.ENOTDIR, errno.EROFS}
#: Errors of the connection that file systems pass on, by name: their libraries are optional.
_CONNECTION = {
    "botocore.exceptions.ConnectionError",
    "botocore.exceptions.HTTPClientError",
    "botocore.exceptions.ResponseStreamingError",
    "botocore.parsers.ResponseParserError",
    "aiohttp.client_exceptions.ClientError",
    "http.client.IncompleteRead",
}
_BUFFER = 1 << 20


@dataclass(frozen=True)
class Folder:
    """A directory by its path, or a prefix of an object store by its URL, without a final slash."""

    url: str

    @classmethod
    def of(cls, place: Place) -> Folder:
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
        return Folder(f"{self.url}/{name}" if self.remote else str(self.path / name))

    @property
    def remote(self) -> bool:
        """Whether files must be fetched and sent."""
        return is_url(self.url)

    @property
    def path(self) -> Path:
        """The directory of a local folder; StorageError where it is remote."""
        if self.remote:
            raise StorageError(
                f"{self} is not on a local disk, which this needs. Copy it first, for example with "
                "`aws s3 sync`."
            )
        return Path(self.url)

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
            yield self.path / name
            return
        filesystem, path = _filesystem(f"{self}/{name}")
        found = patiently(filesystem, "info", path)
        state = (str(found.get(key)) for key in ("ETag", "LastModified", "mtime", "created"))

        def fetch(local: Path) -> None:
            patiently(filesystem, "get_file", path, str(local))
            if local.stat().st_size != found["size"]:
                raise StorageError(f"{self}/{name} changed while it was read. Run again.")

        with SCRATCH.copy("|".join((self.url, name, *state)), found["size"], fetch) as local:
            yield local

    @contextmanager
    def open(self, name: str) -> Iterator[pa.NativeFile]:
        """The file for Arrow to read pieces of: mapped, or fetched from a remote one as read."""
        if self.remote:
            with opened(f"{self}/{name}") as stream, pa.PythonFile(stream, mode="r") as file:
                yield file
        else:
            with pa.memory_map(str(self.path / name)) as file:
                yield file

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        """A local path to write to; the file appears as `name`, whole, if the block ends well."""
        if self.remote:
            with SCRATCH.temporary(Path(name).name) as local:
                yield local
                filesystem, path = _filesystem(f"{self}/{name}")
                try:
                    patiently(filesystem, "put_file", str(local), path)
                except FileNotFoundError as error:
                    raise StorageError(f"cannot write to {self}: {error}") from None
            return
        place = self.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = place.with_name(f"{UNFINISHED}{secrets.token_hex(4)}-{place.name}")
        try:
            yield unfinished
            flush(unfinished)
            unfinished.replace(place)
        finally:
            unfinished.unlink(missing_ok=True)

    def text(self, name: str) -> str:
        """The UTF-8 text of a file; FileNotFoundError where there is none."""
        if not self.remote:
            return (self.path / name).read_text(encoding="utf-8")
        filesystem, path = _filesystem(f"{self}/{name}")
        data: bytes = patiently(filesystem, "cat_file", path)
        return data.decode("utf-8")

    def write_text(self, name: str, text: str) -> None:
        """Write a UTF-8 file so that no reader ever sees a part of it."""
        with self.write(name) as path:
            path.write_text(text, encoding="utf-8")

    def exists(self, name: str) -> bool:
        """Whether there is a file `name`."""
        if not self.remote:
            return (self.path / name).is_file()
        return bool(patiently(*_method(f"{self}/{name}", "exists")))

    def names(self) -> list[str]:
        """The files in this folder and those below, sorted; none where there is no such folder."""
        if not self.remote:
            found = (path for path in self.path.rglob("*") if path.is_file())
            return sorted(path.relative_to(self.path).as_posix() for path in found)
        filesystem, root = _filesystem(self.url)
        try:
            paths = patiently(filesystem, "find", root)
        except FileNotFoundError:
            return []
        return sorted(path[len(root) + 1 :] for path in paths if path.startswith(f"{root}/"))

    def remove(self, names: Iterable[str]) -> None:
        """Remove these files, those that are there; folders stay."""
        names = list(names)
        if not self.remote:
            for name in names:
                (self.path / name).unlink(missing_ok=True)
        elif names:
            filesystem, root = _filesystem(self.url)
            patiently(filesystem, "rm", [f"{root}/{name}" for name in names])


#: How callers may name a folder.
Place = Folder | Path | str


def is_url(place: str) -> bool:
    """Whether a path as users write it is a URL."""
    return "://" in place


def shown(url: str) -> str:
    """A URL as messages and manifests may show it: the query of a web address may be a secret."""
    return url.partition("?")[0] if url.startswith(("http://", "https://")) else url


def check_no_password(url: str) -> None:
    """Raise StorageError where a URL carries a password: it would come to stand in messages."""
    address = urlsplit(url.rsplit("::", 1)[-1])
    if address.username or address.password:
        raise StorageError(
            f"the URL of {address.scheme}://…@{address.netloc.rpartition('@')[2]} carries a user "
            "or a password. Give them in the environment or in fsspec's configuration."
        )


def located(url: str) -> tuple[Any, str]:
    """The fsspec file system of a path or URL, and the path in it; StorageError where none is."""
    if not is_url(url):
        return LocalFileSystem(), LocalFileSystem._strip_protocol(url)
    check_no_password(url)
    return _filesystem(url)


def opened(url: str) -> IO[bytes]:
    """The file at a path or URL, to be read from any place; remote reads are retried."""
    filesystem, path = located(url)
    if isinstance(filesystem, LocalFileSystem):
        return Path(path).open("rb")
    return io.BufferedReader(_Ranges(filesystem, path), _BUFFER)


def patiently(filesystem: Any, method: str, *arguments: Any, **options: int) -> Any:
    """What a method of a file system returns, tried again where a remote one fails for a while.

    Waits grow exponentially with full jitter (Brooker, "Exponential backoff and jitter", 2015).
    FileNotFoundError is for the caller; any other failure that stays is a StorageError.
    """
    call = getattr(filesystem, method)
    if isinstance(filesystem, LocalFileSystem):
        return call(*arguments, **options)
    try:
        return _RETRY(call, *arguments, **options)
    except (FileNotFoundError, StorageError):
        raise
    except Exception as error:
        raise StorageError(_failure(filesystem, arguments, error)) from None


def flush(path: Path) -> None:
    """Have the operating system write a file, or a folder's own entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Ranges(io.RawIOBase):
    """A remote file, each read a request for just those bytes."""

    def __init__(self, filesystem: Any, path: str) -> None:
        self._filesystem, self._path, self._at = filesystem, path, 0
        self._size = int(patiently(filesystem, "size", path))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        data = patiently(self._filesystem, "cat_file", self._path, start=self._at, end=stop)
        if len(data) != stop - self._at:
            raise StorageError(f"{self._path} became shorter while it was read. Run again.")
        buffer[: len(data)] = data
        self._at = stop
        return len(data)


def _method(url: str, method: str) -> tuple[Any, str, str]:
    filesystem, path = _filesystem(url)
    return filesystem, method, path


def _filesystem(url: str) -> tuple[Any, str]:
    """The file system and path of a URL, without the cache of listings, which others outdate."""
    protocol = url.partition("://")[0]
    options = {} if "::" in url else {"use_listings_cache": False, **_defaults(protocol)}
    try:
        filesystem, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        remedy = "Run `pip install 'fae[s3]'`." if protocol in ("s3", "s3a") else str(error)
        raise StorageError(f"{shown(url)}: nothing here reads {protocol}://. {remedy}") from None
    except ValueError as error:
        raise StorageError(f"{shown(url)}: {error}.") from None
    return filesystem, path.rstrip("/")


def _defaults(protocol: str) -> dict[str, Any]:
    """No tries below our own for S3, unless the user has configured them."""
    configured: Mapping[str, Any] = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
    chosen = {"AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"} & set(os.environ) or "retries" in configured
    if protocol not in ("s3", "s3a") or chosen:
        return {}
    retries = {"mode": "standard", "total_max_attempts": 1}
    return {"config_kwargs": {**configured, "retries": retries}}


def _is_transient(error: BaseException) -> bool:
    """Whether the same request may do better in a while."""
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if names & _CONNECTION:
        return True
    final = isinstance(error, _FINAL) or getattr(error, "errno", None) in _FINAL_CODES
    return isinstance(error, OSError) and not final


def _failure(filesystem: Any, arguments: tuple[Any, ...], error: Exception) -> str:
    """A failure in one line: where, what, and what may help."""
    path = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], str) else arguments[0]
    if isinstance(path, list):
        path = path[0]
    what = re.sub(r"\?[^\s'\"]*", "?…", " ".join(str(error).split())) or type(error).__name__
    remedy = "Try again later, or check the endpoint."
    if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
        remedy = "Check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE) and what they allow."
    return f"{shown(filesystem.unstrip_protocol(path))}: {what.rstrip('.')}. {remedy}"
