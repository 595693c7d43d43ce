"""Read records whose quoted fields hold line breaks, one by one from a file's beginning."""

import csv
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from fae.format.errors import LogError
from fae.ingestion.cast.missing_values import fields_or_null
from fae.ingestion.cast.raw_columns import LINE_COLUMN
from fae.ingestion.rejects import Reject, preview
from fae.logs.compression import explain_read_errors, read_to_line_end
from fae.logs.files import Log, open_text
from fae.logs.schema import Schema

#: An open quote may not swallow a whole log.
_MAX_LINES_PER_RECORD = 100_000


@dataclass(frozen=True)
class Records:
    """Some records: their fields as text, with `@line`, and the malformed ones.

    A record's line is its first; each line of a malformed record is a reject. `lines` is the number
    of all lines, and `joined` of those that continue a well-formed record.
    """

    fields: pl.DataFrame
    rejects: list[Reject]
    lines: int
    joined: int


def read_quoted_records(log: Log, schema: Schema, text_bytes: int) -> Iterator[Records]:
    """Yield a log's records, those that begin in about `text_bytes` at a time."""
    with explain_read_errors(log.name, log.compression), open_text(log) as stream:
        stream.read(log.start)
        lines = iter(lambda: read_to_line_end(stream, log.name), b"")
        texts = _Lines(lines, log, schema.charset)
        quote, separator = schema.quote or '"', schema.separator
        reader = csv.reader(texts, delimiter=separator, quotechar=quote, strict=True)
        while records := _read_some(reader, texts, log.fields, text_bytes):
            yield records


class _Lines:
    """The lines of a stream as text, with their number and bytes, and what the last record has."""

    def __init__(self, lines: Iterator[bytes], log: Log, charset: str) -> None:
        self._lines, self._log, self._charset = lines, log, charset
        self.number = self.bytes = 0
        self.record: list[bytes] = []

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.number += 1
            self.bytes += len(line)
            self.record.append(line)
            if len(self.record) > _MAX_LINES_PER_RECORD:
                first = self._log.first_line + self.number - len(self.record)
                raise LogError(
                    f"{self._log.name}, line {first}: a quote that begins here is not closed in "
                    f"{_MAX_LINES_PER_RECORD:,} lines. Fix or remove the line."
                )
            # What is not UTF-8 stays, as surrogates, for the record to be rejected.
            yield line.decode(self._charset, "surrogateescape")


def _read_some(
    reader: Iterator[list[str]], texts: _Lines, fields: tuple[str, ...], text_bytes: int
) -> Records | None:
    """Return the records that begin in the next `text_bytes`; None at the end."""
    first, stop = texts.number, texts.bytes + text_bytes
    rejects: list[Reject] = []
    numbers: list[int] = []
    rows: list[list[str | None]] = []
    while texts.bytes < stop:
        line, texts.record = texts.number - first, []
        try:
            values = next(reader)
            reason = _find_fault(values, texts.record, len(fields))
        except StopIteration:
            break
        except csv.Error:
            reason = "a quote is not closed, or followed by text"
        if reason is not None:
            texts_of = (preview(one.rstrip(b"\r\n")) for one in texts.record)
            rejects += [Reject(line + i, None, reason, text) for i, text in enumerate(texts_of)]
        else:
            numbers.append(line)
            rows.append(fields_or_null(values))
    if not rows and not rejects:
        return None
    lines = texts.number - first
    frame = pl.DataFrame(rows, schema=dict.fromkeys(fields, pl.String()), orient="row")
    frame = frame.with_columns(pl.Series(LINE_COLUMN, numbers, dtype=pl.Int64()))
    return Records(frame, rejects, lines, lines - len(rows) - len(rejects))


def _find_fault(values: list[str], lines: list[bytes], expected: int) -> str | None:
    """Return why a record is malformed, if it is."""
    if any(b"\0" in line for line in lines):
        return "a NUL byte"
    if any("\udc80" <= letter <= "\udcff" for letter in itertools.chain.from_iterable(values)):
        return "not UTF-8"
    if not values:
        return "the line is empty"
    return None if len(values) == expected else f"{len(values)} fields, not {expected}"
