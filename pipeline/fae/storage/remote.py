"""Reach the file systems that fsspec finds behind URLs, with retries.

Credentials and endpoints come from where fsspec and its file systems look for them: environment,
configuration files, instance roles.
"""

import errno
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

import fsspec
import tenacity
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate

from fae.arrays.buffers import read_into_buffer
from fae.format.errors import StorageError

_RETRY = tenacity.Retrying(
    retry=tenacity.retry_if_exception(lambda error: _is_transient(error)),
    wait=tenacity.wait_random_exponential(multiplier=0.1, max=10),
    stop=tenacity.stop_after_attempt(8),
    reraise=True,
)
#: Errors that a retry would meet again.
_FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError)
_FINAL_CODES = {errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENOSPC, errno.ENOTDIR, errno.EROFS}
#: Connection errors that file systems pass on, by name, as their libraries are optional.
_CONNECTION = {
    "botocore.exceptions.ConnectionError",
    "botocore.exceptions.HTTPClientError",
    "botocore.exceptions.ResponseStreamingError",
    "botocore.parsers.ResponseParserError",
    "aiohttp.client_exceptions.ClientError",
    "http.client.IncompleteRead",
}
#: What web servers answer where there is nothing, and where a later request may succeed.
_GONE, _BUSY = {404, 410}, {408, 425, 429}
_BUFFER_BYTES = 1 << 20


def is_url(location: str) -> bool:
    """Return whether a path, as users write it, is a URL."""
    return "://" in location


def redact_url(url: str) -> str:
    """Return a URL for messages and manifests: of a web address, without query and fragment.

    These are often secrets.
    """
    return re.split("[?#]", url)[0] if "http://" in url or "https://" in url else url


def refuse_password(url: str) -> None:
    """Raise StorageError where a URL carries a password, which messages would show."""
    for part in url.split("::"):
        try:
            address = urlsplit(part)
        except ValueError as error:
            raise StorageError(f"not a valid URL: {error}.") from None
        if address.password or (address.username and address.scheme in ("http", "https")):
            raise StorageError(
                f"the URL of {address.scheme}://…@{address.netloc.rpartition('@')[2]} carries a "
                "user or a password. Set them in the environment or in fsspec's configuration."
            )


def resolve(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a path or URL, and the path in it.

    The path of an existing file or folder is literal; in any other, `~` is a home. Raises
    StorageError where the URL is invalid, carries a password, or no library reads it.
    """
    path = url.removeprefix("file://")
    if not is_url(path):
        exists = os.path.lexists(path)
        local = str(Path(path).absolute()) if exists else LocalFileSystem._strip_protocol(path)
        return LocalFileSystem(), local
    refuse_password(url)
    return resolve_remote(url)


def resolve_remote(url: str) -> tuple[Any, str]:
    """Return the file system and path of a URL, without fsspec's cache of listings.

    Other processes change what is listed.
    """
    protocol = url.partition("://")[0]
    options = {} if "::" in url else {"use_listings_cache": False, **_defaults(protocol)}
    try:
        filesystem, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        remedy = "Run `pip install 'fae-recsys[s3]'`." if protocol in ("s3", "s3a") else str(error)
        raise StorageError(
            f"{redact_url(url)}: nothing here reads {protocol}://. {remedy}"
        ) from None
    except ValueError as error:
        raise StorageError(f"{redact_url(url)}: {error}.") from None
    return filesystem, path.rstrip("/")


def open_file(url: str) -> IO[bytes]:
    """Return the file at a path or URL, open and seekable; remote reads are retried."""
    filesystem, path = resolve(url)
    if isinstance(filesystem, LocalFileSystem):
        return Path(path).open("rb")
    return io.BufferedReader(_Ranges(filesystem, path), _BUFFER_BYTES)


def read_range(url: str, start: int, size: int) -> memoryview:
    """Return at most `size` bytes of a file, in memory that this thread's next call reuses."""
    with open_file(url) as file:
        file.seek(start)
        return read_into_buffer(file, "piece", size)


def iterate_range(url: str, start: int, size: int) -> Iterator[memoryview]:
    """Yield at most `size` bytes of a file in pieces, each in memory that the next one reuses.

    A local file's pieces fit in a CPU cache, which halves the cost of reading. A remote file is one
    piece and one request.
    """
    with open_file(url) as file:
        file.seek(start)
        piece_bytes = size if is_url(url) else _BUFFER_BYTES
        while size > 0 and (piece := read_into_buffer(file, "run", min(piece_bytes, size))):
            yield piece
            size -= len(piece)


def call_with_retries(filesystem: Any, method: str, *arguments: Any, **options: Any) -> Any:
    """Call a file system's method and return its result, with retries of transient failures.

    Waits grow exponentially with full jitter (Brooker, "Exponential backoff and jitter", 2015).
    Raises FileNotFoundError and FileExistsError, and StorageError for any other lasting failure.
    """
    call = getattr(filesystem, method)
    if isinstance(filesystem, LocalFileSystem):
        return call(*arguments, **options)
    try:
        return _RETRY(_call, call, *arguments, **options)
    except (FileNotFoundError, FileExistsError, StorageError):
        raise
    except Exception as error:
        raise StorageError(_failure(filesystem, arguments, error)) from None


def _call(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Return a call's result; raise what a web server answered where fsspec says "not found"."""
    try:
        return call(*arguments, **options)
    except FileNotFoundError as error:
        answer = error.__cause__
        if answer is None or not _names_of(answer) & _CONNECTION or _status(answer) in _GONE:
            raise
        raise answer from None


def exists(filesystem: Any, path: str) -> bool:
    """Return whether there is a file or folder; raise StorageError where nothing says so."""
    if not is_web(filesystem):
        return bool(call_with_retries(filesystem, "exists", path))
    try:  # fsspec takes any failure of a web server for absence
        call_with_retries(filesystem, "info", path)
    except FileNotFoundError:
        return False
    return True


def is_web(filesystem: Any) -> bool:
    """Return whether this reads web addresses, which name files and no folders."""
    return "https" in filesystem.protocol


def find_size(filesystem: Any, path: str) -> int:
    """Return a file's bytes; raises StorageError where the server does not say."""
    size = call_with_retries(filesystem, "size", path)
    if size is None:
        raise StorageError(
            f"{redact_url(path)}: the server does not say how many bytes it has. Download it first."
        )
    return int(size)


def find_matches(filesystem: Any, pattern: str) -> list[str]:
    """Return the files and folders that a glob matches, sorted.

    fsspec's glob silently leaves out a remote folder whose listing fails, so this lists the files
    below the pattern's fixed part and matches their names itself.
    """
    first = min(pattern.index(wildcard) for wildcard in "*?[" if wildcard in pattern)
    root = pattern[:first].rpartition("/")[0]
    if isinstance(filesystem, LocalFileSystem) or not root:
        return sorted(call_with_retries(filesystem, "glob", pattern))
    expression = re.compile(glob_translate(pattern))
    try:
        files = call_with_retries(filesystem, "find", root)
    except FileNotFoundError:
        return []
    folders = {str(folder) for file in files for folder in PurePosixPath(file).parents}
    return sorted(path for path in {*files, *folders} if expression.match(path))


class _Ranges(io.RawIOBase):
    """A remote file; each read is a request for just those bytes."""

    def __init__(self, filesystem: Any, path: str) -> None:
        self._filesystem, self._path, self._at = filesystem, path, 0
        self._size = find_size(filesystem, path)

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
        data = call_with_retries(self._filesystem, "cat_file", self._path, start=self._at, end=stop)
        if len(data) != stop - self._at:
            raise StorageError(f"{self._path} became shorter while it was read. Run again.")
        buffer[: len(data)] = data
        self._at = stop
        return len(data)


def _defaults(protocol: str) -> dict[str, Any]:
    """Return options that turn off S3's own retries, unless the user has configured them."""
    configured: Mapping[str, Any] = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
    chosen = {"AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"} & set(os.environ) or "retries" in configured
    if protocol not in ("s3", "s3a") or chosen:
        return {}
    retries = {"mode": "standard", "total_max_attempts": 1}
    return {"config_kwargs": {**configured, "retries": retries}}


def _is_transient(error: BaseException) -> bool:
    """Return whether the same request may succeed later."""
    status = _status(error)
    if _names_of(error) & _CONNECTION:
        return status is None or status >= 500 or status in _BUSY
    final = isinstance(error, _FINAL) or getattr(error, "errno", None) in _FINAL_CODES
    return isinstance(error, OSError) and not final


def _names_of(error: BaseException) -> set[str]:
    return {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}


def _status(error: BaseException) -> int | None:
    """Return the status that a web server answered with, if this is an answer."""
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _failure(filesystem: Any, arguments: tuple[Any, ...], error: Exception) -> str:
    """Return one line on a failure: where, what, and what may help."""
    path = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], str) else arguments[0]
    if isinstance(path, list):
        path = path[0]
    what = re.sub(r"\?[^\s'\"]*", "?…", " ".join(str(error).split())) or type(error).__name__
    remedy = "Try again later, or check the endpoint."
    if isinstance(error, PermissionError) or "Credentials" in type(error).__name__:
        remedy = "Check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE) and what they allow."
    return f"{redact_url(filesystem.unstrip_protocol(path))}: {what.rstrip('.')}. {remedy}"
