"""Decompress logs, check that they hold text, and explain the errors met in reading them."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Literal

import pyarrow as pa

from fae.format.errors import LogError

Compression = Literal["plain", "gzip", "zstd"]
#: A few kilobytes of gzip can decompress to one line of any length, which would exhaust the memory.
MAX_LINE_BYTES = 64 << 20
_BUFFER_BYTES = 1 << 20
#: The first bytes of files that are not text, their format, and the remedy.
_MAGIC_BYTES = {
    b"\x1f\x8b": ("gzip-compressed", "rename it to end in .gz"),
    b"\x28\xb5\x2f\xfd": ("zstd-compressed", "rename it to end in .zst"),
    b"BZh91AY&SY": ("bzip2-compressed", "decompress it, or recompress it with gzip or zstd"),
    b"\xfd7zXZ\0": ("xz-compressed", "decompress it, or recompress it with gzip or zstd"),
    b"PK\x03\x04": ("a zip archive", "extract it"),
    b"PAR1": ("a Parquet file", "rename it to end in .parquet"),
}


def detect_compression(name: str) -> Compression:
    """Return how a file of this name is compressed."""
    if name.endswith(".gz"):
        return "gzip"
    return "zstd" if name.endswith((".zst", ".zstd")) else "plain"


def decompress(raw: IO[bytes], compression: Compression) -> IO[bytes]:
    """Return a stream of the decompressed bytes of a file."""
    if compression == "plain":
        return raw
    stream = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), compression)
    return io.BufferedReader(stream, _BUFFER_BYTES)


def check_text(stream: IO[bytes], name: str) -> None:
    """Raise LogError where a decompressed stream begins as a known format that is not text."""
    head = stream.peek(16)  # type: ignore[attr-defined]
    for magic, (form, remedy) in _MAGIC_BYTES.items():
        if head.startswith(magic):
            if detect_compression(name) == "plain":
                raise LogError(f"{name} is {form}; {remedy}.")
            raise LogError(f"the data in {name} is {form}; decompress the file first.")


def read_to_line_end(stream: IO[bytes], name: str, at: int | None = None) -> bytes:
    """Return the rest of a stream's line; `at`, where known, is its position, for the error.

    Raises LogError where the line is longer than MAX_LINE_BYTES.
    """
    line = stream.readline(MAX_LINE_BYTES)
    if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
        place = "" if at is None else f", at byte {at:,}"
        raise LogError(
            f"{name} has a line of more than {MAX_LINE_BYTES >> 20} MiB{place}. Check that it is a "
            "text file, compressed as its name says; fix or remove that line."
        )
    return line


@contextmanager
def explain_read_errors(name: str, compression: Compression) -> Iterator[None]:
    """Turn an error in reading a log into a LogError with its remedy."""
    try:
        yield
    except FileNotFoundError:
        raise LogError(
            f"{name} disappeared while it was read, or this machine cannot see it. Run again when "
            "it is available."
        ) from None
    except OSError as error:
        if compression == "plain" or error.errno:  # the system's refusal is not the log's fault
            raise
        command = "gzip -t" if compression == "gzip" else "zstd -t"
        raise LogError(
            f"{name} is damaged or truncated: {error}. Download it again, and test it with "
            f"`{command}`."
        ) from None
