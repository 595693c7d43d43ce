"""Find the logs that the user names, open them, and check their headers."""

import csv
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

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
from fae.logs.forms import find_repeated
from fae.logs.schema import Schema
from fae.storage.remote import (
    call_with_retries,
    exists,
    find_matches,
    find_size,
    is_web,
    open_file,
    redact_url,
    resolve,
)

#: A key that none of so many lines has is not one of the log's.
_LINES_WITH_ALL_KEYS = 10_000
_ABSENT = object()
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
#: Separators that logs have.
_SEPARATORS = (",", "\t", ";", "|", " ")
UTF8_BOM, _UTF16_BOMS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True)
class Log:
    """One file of a log.

    `bytes` is its size on disk. `fields` are its columns' names, in its own order. `start` is the
    (decompressed) byte where its first line of data begins, and `first_line` that line's number,
    from 1. `split` is train, valid or test where the user named the file for that split.
    `partitions` are columns that its path gives, as in `day=2024-05-01/part-0.parquet`.
    `joins_lines` says that a record may be several lines.
    """

    url: str = field(repr=False)  # its query may be a secret, and Dask logs tasks that fail
    name: str
    bytes: int
    compression: Compression
    parquet: bool
    fields: tuple[str, ...]
    start: int
    first_line: int
    split: str | None
    partitions: tuple[tuple[str, str | None], ...] = ()
    joins_lines: bool = False

    @property
    def root(self) -> str:
        """The URL of the directory below which the log has its name."""
        return redact_url(self.url).removesuffix(self.name)


def find_logs(patterns: list[str], schema: Schema, split: str | None = None) -> list[Log]:
    """Return the logs that `patterns` name, in the order listed; glob matches are sorted.

    Patterns are paths, globs or URLs that fsspec knows. Raises LogError where one matches nothing,
    a directory or the same file twice, or where a file or its header does not fit the schema.
    """
    urls = [url for pattern in patterns for url in _expand_pattern(pattern)]
    _check_distinct(urls)
    return [_open_log(url, schema, split) for url in urls]


def find_logs_by_split(
    logs: list[str], valid: list[str], test: list[str], schema: Schema
) -> list[Log]:
    """Return the logs to split, then those that are the valid split, then those of the test split.

    Each is named by its path below the directory that holds them all. Raises LogError as
    `find_logs` does, and where a file is named for two splits.
    """
    unnamed = find_logs(logs, schema)
    unnamed += find_logs(valid, schema, "valid") + find_logs(test, schema, "test")
    urls = [log.url for log in unnamed]
    _check_distinct(urls)
    return [replace(log, name=name) for log, name in zip(unnamed, name_logs(urls), strict=True)]


def name_logs(urls: Sequence[str]) -> list[str]:
    """Return the path of each log below the directory that holds them all."""
    paths = [redact_url(url).split("/") for url in urls]
    levels = zip(*(path[:-1] for path in paths), strict=False)
    shared = sum(1 for _ in itertools.takewhile(lambda level: len(set(level)) == 1, levels))
    return ["/".join(path[shared:]) for path in paths]


def _expand_pattern(pattern: str) -> list[str]:
    """Return the URLs of the files that a path, glob or URL names."""
    filesystem, path = resolve(pattern)
    globbed = set(path) & set("*?[") and not exists(filesystem, path)
    matches = find_matches(filesystem, path) if globbed else [path]
    if not matches or not all(exists(filesystem, match) for match in matches):
        raise LogError(
            f"no log found at {redact_url(pattern)}. Check the path, and quote globs in the shell."
        )
    urls = []
    for match in matches:
        if not is_web(filesystem) and call_with_retries(filesystem, "isdir", match):
            raise LogError(
                f"{redact_url(match)} is a directory. Name its files: {match.rstrip('/')}/*"
            )
        if isinstance(filesystem, LocalFileSystem):
            match = str(Path(match).resolve())
            if not Path(match).is_file():
                raise LogError(f"{match} is not a regular file. Copy its content to a file first.")
        urls.append(filesystem.unstrip_protocol(match))
    return urls


def _check_distinct(urls: list[str]) -> None:
    if repeated := find_repeated(urls):
        raise LogError(f"{redact_url(repeated[0])} is named twice. Name it once.")


def locate_log(pattern: str) -> Log:
    """Return the one log that a path or URL names, with neither fields nor schema.

    Raises LogError as `find_logs` does.
    """
    (url, *_) = _expand_pattern(pattern)
    return _describe_log(url, None, False)


def _describe_log(url: str, split: str | None, parquet: bool) -> Log:
    """Return what is known of a log before it is read."""
    try:
        url.encode()
    except UnicodeEncodeError:
        raise LogError(f"the path of the log {url!a} is not UTF-8. Rename the file.") from None
    filesystem, path = resolve(url)
    name = redact_url(path).rstrip("/").rsplit("/", 1)[-1]
    size = find_size(filesystem, path)
    parquet = parquet or name.endswith((".parquet", ".pq"))
    log = Log(url, name, size, detect_compression(name), parquet, (), 0, 1, split)
    if size == 0:
        raise LogError(f"{name} is empty (0 bytes). Leave it out, or download it again.")
    return log


def _open_log(url: str, schema: Schema, split: str | None) -> Log:
    """Return the log at `url`, with its header, if any, read and checked."""
    log = _describe_log(url, split, schema.format == "parquet")
    name = log.name
    if log.parquet:
        with open_parquet(log) as file:
            fields = tuple(file.schema_arrow.names)
        partitions = tuple(
            (key, value)
            for key, value in read_partitions(url).items()
            if key in schema.log_names and key not in fields
        )
        _check_fields((*fields, *(key for key, _ in partitions)), schema, name, "columns")
        return replace(log, fields=fields, partitions=partitions)
    return _read_head(log, schema)


def read_partitions(url: str) -> dict[str, str | None]:
    """Return the columns that a URL gives, as Hive writes them: each directory `name=value`."""
    path = resolve(url)[1]
    directories = (part.partition("=") for part in path.split("/")[:-1] if "=" in part)
    values = {unquote(name): unquote(value) for name, _, value in directories}
    return {name: None if value == _HIVE_NULL else value for name, value in values.items()}


def _read_head(log: Log, schema: Schema) -> Log:
    """Return a log of text with its fields, and where its data begins."""
    with explain_read_errors(log.name, log.compression), open_text(log) as stream:
        check_text(stream, log.name)
        start = _skip_byte_order_mark(stream, log.name)
        for _ in range(schema.skip_lines):
            start += len(read_to_line_end(stream, log.name))
        log = replace(
            log,
            start=start,
            first_line=schema.skip_lines + 1,
            fields=schema.log_names,
            joins_lines=schema.quoted_line_breaks,
        )
        if schema.format == "json":
            lines = iter(lambda: read_to_line_end(stream, log.name), b"")
            _check_keys(itertools.islice(lines, _LINES_WITH_ALL_KEYS), schema, log.name)
            return log
        if not (schema.header or schema.ignore_rest):
            return log
        line = read_to_line_end(stream, log.name)
    fields = _split_header(line, schema, log)
    if schema.header:
        _check_fields(fields, schema, log.name, "header")
        return replace(
            log, fields=fields, start=start + len(line), first_line=schema.skip_lines + 2
        )
    if schema.slots is not None:
        return log
    rest = range(len(schema.log_names) + 1, len(fields) + 1)
    return replace(log, fields=(*schema.log_names, *(f"@field {number}" for number in rest)))


def _skip_byte_order_mark(stream: IO[bytes], name: str) -> int:
    """Skip a byte order mark at a stream's beginning, and return its length."""
    head = stream.peek(len(UTF8_BOM))  # type: ignore[attr-defined]
    if head.startswith(_UTF16_BOMS):
        raise LogError(f"{name} is UTF-16. Convert it: iconv -f UTF-16 -t UTF-8.")
    return len(stream.read(len(UTF8_BOM))) if head.startswith(UTF8_BOM) else 0


def _split_header(line: bytes, schema: Schema, log: Log) -> tuple[str, ...]:
    """Return the fields of a log's first line after those to skip."""
    where = f"{log.name}, line {log.first_line}: the header"
    try:
        text = line.decode(schema.charset).rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise LogError(f"{where} is not UTF-8 ({error.reason}).") from None
    if len(schema.separator) > 1:
        fields = text.split(schema.separator)
    else:
        quote = schema.quote or '"'
        try:
            fields = next(csv.reader([text], delimiter=schema.separator, quotechar=quote), [])
        except csv.Error as error:
            raise LogError(f"{where} cannot be split into fields ({error}).") from None
    return tuple(field.strip() for field in fields)


def _check_keys(lines: Iterable[bytes], schema: Schema, name: str) -> None:
    """Raise LogError where no object at a JSON log's beginning has a key of the schema."""
    missing, objects = set(_list_required(schema)), 0
    for line in lines:
        with suppress(ValueError, RecursionError):
            found = json.loads(line)
            if isinstance(found, dict):
                objects += 1
                missing = {key for key in missing if find_key(found, key, _ABSENT) is _ABSENT}
        if not missing:
            return
    if objects:  # else, each line is rejected
        raise LogError(
            f"{name}: no object at its beginning has {', '.join(sorted(missing))}. "
            f"Fix the schema {schema.name!r}, or choose the schema of this log."
        )


def find_key(found: dict[str, Any], name: str, default: object) -> Any:
    """Return a JSON object's value of a key, or else of the path `a.b` of keys, or `default`."""
    first, dot, rest = name.partition(".")
    if name in found or not dot:
        return found.get(name, default)
    inner = found.get(first)
    return find_key(inner, rest, default) if isinstance(inner, dict) else default


def _list_required(schema: Schema) -> list[str]:
    """Return the log's names of the columns that a log cannot lack."""
    lacking = {label.log_name for label in schema.labels if label.missing == "keep"}
    return [name for name in schema.log_names if name not in lacking]


def _check_fields(fields: tuple[str, ...], schema: Schema, name: str, what: str) -> None:
    """Raise LogError unless `fields`, the "header" or "columns" of a log, are the schema's."""
    found, known = set(fields), set(schema.log_names)
    missing = [column for column in _list_required(schema) if column not in found]
    unknown = [column for column in fields if column not in known]
    repeated = find_repeated(fields)
    if repeated:
        raise LogError(
            f"{name}: the {what} contain{'s' * (what == 'header')} {', '.join(repeated)} twice."
        )
    expected = len(schema.log_names)
    if missing and what == "header" and len(fields) == 1 < expected:
        raise LogError(
            f"{name}: the header has one column where {expected} are expected"
            f"{suggest_separator(fields[0], schema.separator)}: {fields[0][:300]}"
        )
    if missing:
        is_data = what == "header" and not found & known
        no_header = " If the log has no header, write `header: false`." if is_data else ""
        raise LogError(
            f"{name}: the {what} lack{'s' * (what == 'header')} {', '.join(missing)}; "
            f"found: {', '.join(fields)[:300]}. "
            f"Fix the schema {schema.name!r}, or choose the schema of this log.{no_header}"
        )
    if unknown and what == "header" and not schema.ignore_rest:
        raise LogError(
            f"{name}: the header has {', '.join(unknown)}, unknown to the schema {schema.name!r}. "
            "Add each to the schema, with `role: drop` if it is not used, or ignore them all with "
            "`ignore_rest: true`."
        )


def suggest_separator(line: str, separator: str) -> str:
    """Return a question whether a line has another separator than this one, or nothing."""
    counts = {other: line.count(other) for other in _SEPARATORS if other != separator}
    likely = max(counts, key=lambda other: counts[other])
    return f"; is it separated by {likely!r}?" if counts[likely] else ""


def open_text(log: Log) -> IO[bytes]:
    """Return a stream of the log's decompressed bytes, from its beginning."""
    return decompress(open_file(log.url), log.compression)


@contextmanager
def open_parquet(log: Log, **options: Any) -> Iterator[pq.ParquetFile]:
    """Open the log as a Parquet file during the block; raises LogError where it is not one."""
    with explain_read_errors(log.name, "plain"), open_file(log.url) as raw:
        try:
            file = pq.ParquetFile(raw, page_checksum_verification=True, **options)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise LogError(f"{log.name} is not a valid Parquet file: {error}") from None
        with file:
            yield file


def check_sizes(logs: Sequence[Log]) -> None:
    """Raise LogError where a log's size has changed since it was found: rows may be missing."""
    for log in logs:
        filesystem, path = resolve(log.url)
        with explain_read_errors(log.name, "plain"):
            size = find_size(filesystem, path)
        if size != log.bytes:
            change = "grew" if size > log.bytes else "shrank"
            raise LogError(
                f"{log.name} {change} while it was read, from {log.bytes:,} to {size:,} bytes. Run "
                "again when nothing writes to it."
            )
