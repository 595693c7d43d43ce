"""Packing: how a log is compressed, told by its name, and lines of a length that fits in memory."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Literal

import pyarrow as pa

from fae.format.errors import LogError

Compression = Literal["plain", "gzip", "zstd"]
#: A few kilobytes of gzip may unpack to one line of any length, which no memory would hold.
LONGEST_LINE = 64 << 20
_CHUNK = 1 << 20
#: How files begin that are no text, what they are, and what to do.
_MAGIC = {
    b"\x1f\x8b": "is packed by gzip. Let its name end in .gz",
    b"\x28\xb5\x2f\xfd": "is packed by zstd. Let its name end in .zst",
    b"BZh91AY&SY": "is packed by bzip2. Unpack it, or pack it by gzip or zstd",
    b"\xfd7zXZ\0": "is packed by xz. Unpack it, or pack it by gzip or zstd",
    b"PK\x03\x04": "is a zip archive. Unpack it",
    b"PAR1": "is Parquet. Let its name end in .parquet",
}


def detect_compression(name: str) -> Compression:
    """How a file of this name is packed."""
    if name.endswith(".gz"):
        return "gzip"
    return "zstd" if name.endswith((".zst", ".zstd")) else "plain"


def decompress(raw: IO[bytes], compression: Compression) -> IO[bytes]:
    """The bytes of a file, decompressed."""
    if compression == "plain":
        return raw
    stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), compression)
    return io.BufferedReader(stream, _CHUNK)


def check_text(stream: IO[bytes], name: str) -> None:
    """Raise LogError where a stream, at its beginning, holds no text but what is packed."""
    head = stream.peek(16)  # type: ignore[attr-defined]
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise LogError(f"{name} {what}.")


def read_to_line_end(stream: IO[bytes], name: str, at: int | None = None) -> bytes:
    """The rest of a stream's line, from byte `at` on where known; LogError if that is too long."""
    line = stream.readline(LONGEST_LINE)
    if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
        place = "" if at is None else f", at byte {at:,}"
        raise LogError(
            f"{name} has a line of more than {LONGEST_LINE >> 20} MiB{place}. A record is a line: "
            "is it a text, packed as its name says? Mend or leave out that line."
        )
    return line


@contextmanager
def explain_read_errors(name: str, compression: Compression) -> Iterator[None]:
    """Turn an error in reading a log into a LogError with its remedy."""
    try:
        yield
    except FileNotFoundError:
        raise LogError(
            f"{name} went away while it was read, or is not to be seen from here. Run again when "
            "it is there."
        ) from None
    except OSError as error:
        if compression == "plain" or error.errno:  # the system's refusal is not the log's fault
            raise
        raise LogError(
            f"{name} is damaged or cut short: {error}. Fetch it again, and test it with "
            f"`{'gzip -t' if compression == 'gzip' else 'zstd -t'}`."
        ) from None
