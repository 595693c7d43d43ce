"""Find the logs that the user names, open them, and check their headers."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from fae.format.errors import LogError
from fae.logs.compression import (
    Compression,
    check_text,
    decompress,
    detect_compression,
    explain_read_errors,
    read_to_line_end,
)
from fae.logs.schema import Schema
from fae.storage.remote import call_with_retries, find_matches, open_file, redact_url, resolve

_UTF8_BOM = b"\xef\xbb\xbf"
_OTHER_BOMS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Log:
    """One file of a log. `fields` are its columns' names, in its own order.

    `start` is where its first line of data begins and `first_line` that line's number, from 1.
    `split` is train, valid or test where the user gave the file for that split.
    """

    url: str = field(repr=False)  # its query may be a secret, and clusters log what fails
    name: str
    bytes: int
    compression: Compression
    parquet: bool
    fields: tuple[str, ...]
    start: int
    first_line: int
    split: str | None

    @property
    def root(self) -> str:
        """The URL of the directory below which the log has its name."""
        return redact_url(self.url).removesuffix(self.name)


def find_logs(patterns: list[str], schema: Schema, split: str | None = None) -> list[Log]:
    """The logs that `patterns` name, in the order given, the matches of a glob sorted by name.

    Patterns are paths, globs or URLs that fsspec knows. Raises LogError where one matches nothing,
    a directory or the same file twice, or where a header does not fit the schema.
    """
    urls: list[str] = []
    for pattern in patterns:
        filesystem, path = resolve(pattern)
        globbed = set(path) & set("*?[") and not call_with_retries(filesystem, "exists", path)
        matches = find_matches(filesystem, path) if globbed else [path]
        if not matches or not all(
            call_with_retries(filesystem, "exists", match) for match in matches
        ):
            raise LogError(
                f"no log is at {redact_url(pattern)}. Check the path, and quote globs in the shell."
            )
        for match in matches:
            if call_with_retries(filesystem, "isdir", match):
                raise LogError(
                    f"{redact_url(match)} is a directory. Name its files: {match.rstrip('/')}/*"
                )
            if isinstance(filesystem, LocalFileSystem):
                match = str(Path(match).resolve())
                if not Path(match).is_file():
                    raise LogError(f"{match} is not a file. Write what it gives into one first.")
            urls.append(filesystem.unstrip_protocol(match))
    _check_distinct(urls)
    return [_opened(url, schema, split) for url in urls]


def find_logs_by_split(
    logs: list[str], valid: list[str], test: list[str], schema: Schema
) -> list[Log]:
    """The logs to be split, then those that are the valid and the test split, whole.

    They are named by their path below the directory that holds them all. Raises LogError as
    `find_logs` does, and where a file is named for two splits.
    """
    found = find_logs(logs, schema)
    found += find_logs(valid, schema, "valid") + find_logs(test, schema, "test")
    _check_distinct([log.url for log in found])
    names = name_logs([log.url for log in found])
    return [replace(log, name=name) for log, name in zip(found, names, strict=True)]


def name_logs(urls: Sequence[str]) -> list[str]:
    """The path of each log below the directory that holds them all."""
    paths = [redact_url(url).split("/") for url in urls]
    levels = zip(*(path[:-1] for path in paths), strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda level: len(set(level)) == 1, levels))
    return ["/".join(path[shared:]) for path in paths]


def _check_distinct(urls: list[str]) -> None:
    doubled = sorted({url for url in urls if urls.count(url) > 1})
    if doubled:
        raise LogError(f"{redact_url(doubled[0])} is named twice; its rows would count twice.")


def _opened(url: str, schema: Schema, split: str | None) -> Log:
    """The log at `url`, with its header read and checked."""
    try:
        url.encode()
    except UnicodeEncodeError:
        raise LogError(f"the path of the log {url!a} is no UTF-8. Rename it.") from None
    filesystem, path = resolve(url)
    name = redact_url(path).rstrip("/").rsplit("/", 1)[-1]
    size = int(call_with_retries(filesystem, "size", path))
    parquet = name.endswith((".parquet", ".pq")) or schema.format == "parquet"
    compression = detect_compression(name)
    log = Log(url, name, size, compression, parquet, (), 0, 1, split)
    if size == 0:
        raise LogError(f"{name} is empty (0 bytes). Leave it out, or fetch it again.")
    if parquet:
        with open_parquet(log) as file:
            found = tuple(file.schema_arrow.names)
        start, first_line = 0, 1
    else:
        with explain_read_errors(log.name, log.compression), open_text(log) as stream:
            check_text(stream, name)
            head = stream.read(len(_UTF8_BOM))
            if head.startswith(_OTHER_BOMS):
                raise LogError(f"{name} is UTF-16. Convert it: iconv -f UTF-16 -t UTF-8.")
            start = len(_UTF8_BOM) if head == _UTF8_BOM else 0
            if not schema.header:
                fields = tuple(column.name for column in schema.fields)
                return Log(url, name, size, compression, False, fields, start, 1, split)
            first = head[start:]
            if b"\n" not in first:
                first += read_to_line_end(stream, name)
            first = first[: first.find(b"\n") + 1] or first
        found = _header(first, schema, name)
        start, first_line = start + len(first), 2
    _check_fields(found, schema, name, "columns" if parquet else "header")
    return Log(url, name, size, compression, parquet, found, start, first_line, split)


def _header(line: bytes, schema: Schema, name: str) -> tuple[str, ...]:
    try:
        text = line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise LogError(f"{name}, line 1: the header is not UTF-8 ({error.reason}).") from None
    quote = schema.quote or '"'
    try:
        fields = next(csv.reader([text], delimiter=schema.separator, quotechar=quote), [])
    except csv.Error as error:
        raise LogError(f"{name}, line 1: the header is no line of fields ({error}).") from None
    return tuple(field.strip() for field in fields)


def _check_fields(found: tuple[str, ...], schema: Schema, name: str, what: str) -> None:
    """Raise LogError unless the names `found` are the schema's, in any order."""
    expected = [column.name for column in schema.fields]
    missing = [column for column in expected if column not in found]
    unknown = [column for column in found if column not in expected]
    doubled = sorted({column for column in found if found.count(column) > 1})
    if doubled:
        raise LogError(f"{name}: its {what} names {', '.join(doubled)} twice.")
    if missing:
        raise LogError(
            f"{name}: its {what} {'lack' if what == 'columns' else 'lacks'} {', '.join(missing)}; "
            f"found: {', '.join(found)[:300]}. "
            f"Correct the schema {schema.name!r}, or give the schema of this log."
        )
    if unknown and what == "header":
        raise LogError(
            f"{name}: its {what} has {', '.join(unknown)}, unknown to the schema {schema.name!r}. "
            "Add each to the schema; with `role: drop` where it is not wanted."
        )


def open_text(log: Log) -> IO[bytes]:
    """The log's bytes, decompressed, from its beginning."""
    return decompress(open_file(log.url), log.compression)


@contextmanager
def open_parquet(log: Log) -> Iterator[pq.ParquetFile]:
    """The log as an open Parquet file; LogError where it is none."""
    with explain_read_errors(log.name, "plain"), open_file(log.url) as raw:
        try:
            file = pq.ParquetFile(raw, page_checksum_verification=True)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise LogError(f"{log.name} is not a whole Parquet file: {error}") from None
        with file:
            yield file


def check_sizes(logs: Sequence[Log]) -> None:
    """Raise LogError where a log is not as long as when it was found: rows of it may be missing."""
    for log in logs:
        filesystem, path = resolve(log.url)
        with explain_read_errors(log.name, "plain"):
            size = int(call_with_retries(filesystem, "size", path))
        if size != log.bytes:
            how = "grew" if size > log.bytes else "became shorter"
            raise LogError(
                f"{log.name} {how} while it was read, from {log.bytes:,} to {size:,} bytes. Run "
                "again when no one writes to it any more."
            )
