"""Read files in S3 by ranges, with Arrow's client.

Credentials, region and endpoint come from where AWS's tools look for them: the environment, the
configuration and the machine's role. Failing requests are repeated; what was read is kept on the
local disk (`block_cache.py`).
"""

from __future__ import annotations

import functools
import io
import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fae.format.errors import ParameterError, StorageError
from fae_trainer.storage.block_cache import BLOCK_BYTES, BlockCache

SCHEME = "s3://"

#: How often a request is tried, with growing pauses.
_ATTEMPTS = 12

#: Seconds without an answer after which a request is repeated.
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class RemoteFile:
    """A file in S3 of a known size."""

    url: str
    bytes: int

    def __str__(self) -> str:
        """Return its URL."""
        return self.url

    def open(self) -> RangeReader:
        """Return it as a file that is read by ranges."""
        return RangeReader(self)


class RangeReader(io.RawIOBase):
    """A remote file for reading, of which only the blocks that are asked for are fetched."""

    def __init__(self, file: RemoteFile) -> None:
        """Begin at the start."""
        self._source, self._at = file, 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position from the start, the current one or the end, and return it."""
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._source.bytes}[whence]
        self._at = begin + offset
        return self._at

    def readinto(self, into: Any, /) -> int:
        """Fill `into` as far as the file goes; return the number of bytes."""
        view = memoryview(into).cast("B")
        stop = min(self._at + len(view), self._source.bytes)
        begin = self._at
        while self._at < stop:
            number, inside = divmod(self._at, BLOCK_BYTES)
            part = self._read_block(number)[inside : inside + stop - self._at]
            view[self._at - begin : self._at - begin + len(part)] = part
            self._at += len(part)
        return max(stop - begin, 0)

    def _read_block(self, number: int) -> bytes:
        offset = number * BLOCK_BYTES
        size = min(BLOCK_BYTES, self._source.bytes - offset)

        def fetch() -> bytes:
            block = _call(self._source.url, lambda: _open(self._source.url).read_at(size, offset))
            if len(block) != size:
                raise StorageError(f"{self._source} is shorter than it was. Read it again.")
            return bytes(block)

        return _process().blocks.read((self._source.url, number), fetch)


def read_bytes(url: str) -> bytes:
    """Return a small file; raise FileNotFoundError where it is absent."""
    content: bytes = _call(url, lambda: _open(url).read_at(_open(url).size(), 0))
    return content


def find_size(url: str) -> int | None:
    """Return the size of a file, or None where there is none."""
    info = _call(url, lambda: _process().client.get_file_info(url.removeprefix(SCHEME)))
    return int(info.size) if info.is_file else None


class _Process:
    """What a process has: a client, whose threads a forked one would miss, and the blocks."""

    def __init__(self) -> None:
        from pyarrow import fs  # takes a moment, which local data sets need not spend

        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        place: dict[str, Any] = {}
        if endpoint:
            parts = urlsplit(endpoint)
            place = {"scheme": parts.scheme, "endpoint_override": parts.netloc + parts.path}
        if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
            place["region"] = region
        self.client = fs.S3FileSystem(
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
            request_timeout=_TIMEOUT_SECONDS,
            **place,
        )
        self.blocks = BlockCache()
        self.id = os.getpid()


@functools.cache
def _start() -> _Process:
    return _Process()


def _process() -> _Process:
    """Return this process's client and blocks."""
    process = _start()
    if process.id != os.getpid():
        raise ParameterError(
            "This process was forked from one that reads S3, whose connections it lacks. Give the "
            "DataLoader multiprocessing_context='forkserver' or 'spawn'."
        )
    return process


@functools.lru_cache(maxsize=256)
def _open(url: str) -> Any:
    return _process().client.open_input_file(url.removeprefix(SCHEME))


def _call(url: str, request: Any) -> Any:
    """Return what a request returns; raise StorageError where S3 does not answer it."""
    try:
        return request()
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise StorageError(
            f"{url} cannot be read: {reason} Check its name, your right to read it, and the "
            "endpoint (AWS_ENDPOINT_URL)."
        ) from None
