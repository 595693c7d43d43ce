"""Lines of a log into typed columns, malformed lines set aside with their reasons.

Nearly all lines are plain, and `tokenizer.py` reads them. The odd ones are parsed by Polars in one
pass. Polars fills short lines with nulls and joins lines across quotes without a word, so the pass
is used only where the number of separators proves that every line is whole; otherwise each line is
looked at by itself.
"""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa

from fae.arrays.arrow import Int64Array
from fae.format.errors import LogError
from fae.ingestion.casting import LINE_COLUMN, ParsedLines, cast_columns, preview
from fae.ingestion.fast_parser import parse_plain_lines
from fae.ingestion.rejects import Reject
from fae.logs.blocks import Text
from fae.logs.schema import Column, Schema, SparseColumn

_BOM = b"\xef\xbb\xbf"

csv.field_size_limit(2**31 - 1)


def parse_text(data: Text, fields: tuple[str, ...], schema: Schema) -> ParsedLines:
    """The lines of `data`, whose fields are the columns `fields` in that order."""
    if len(data) and data[-1:] != b"\n":
        data = bytes(data) + b"\n"
    try:
        plain = parse_plain_lines(data, fields, schema)
    except pa.ArrowInvalid:  # not UTF-8
        return parse_odd_lines(bytes(data), fields, schema)
    lines = plain.line_starts.size - 1
    if plain.odd_lines.size == lines:
        return parse_odd_lines(bytes(data), fields, schema)
    is_plain = np.ones(lines, dtype=np.bool_)
    is_plain[plain.odd_lines] = False
    numbered = plain.columns.with_columns(pl.Series(LINE_COLUMN, np.flatnonzero(is_plain)))
    parsed = cast_columns(numbered, [], lines, schema, final=plain.typed)
    if not plain.odd_lines.size:
        return parsed
    begins, ends = (plain.line_starts[plain.odd_lines + step].tolist() for step in (0, 1))
    lone = [bytes(data[begin:end]) for begin, end in zip(begins, ends, strict=True)]
    odd = parse_odd_lines(b"".join(lone), fields, schema)
    return _joined(parsed, np.flatnonzero(is_plain), odd, plain.odd_lines)


def _joined(
    plain: ParsedLines, plain_lines: Int64Array, odd: ParsedLines, odd_lines: Int64Array
) -> ParsedLines:
    """The plain lines' rows and the odd ones', in the order of the lines, given their numbers."""
    moved = [replace(reject, line=int(odd_lines[reject.line])) for reject in odd.rejects]
    rejects = sorted(plain.rejects + moved, key=lambda reject: reject.line)
    lines = np.concatenate([plain_lines, odd_lines])
    kept = lines[~np.isin(lines, [reject.line for reject in rejects])]
    rows = pl.concat([plain.rows, odd.rows])[np.argsort(kept)]
    return ParsedLines(rows, rejects, plain.lines)


def parse_odd_lines(data: bytes, fields: tuple[str, ...], schema: Schema) -> ParsedLines:
    """The lines of `data`, however they are written."""
    lines = data.count(b"\n")
    for numbers in (pl.Float64(), pl.String()):
        frame = _whole(data, lines, fields, schema, numbers)
        if frame is not None:
            numbered = frame.with_columns(pl.Series(LINE_COLUMN, np.arange(lines)))
            parsed = cast_columns(numbered, [], lines, schema)
            if not parsed.rejects or numbers == pl.String():
                return parsed
    frame, rejects = _line_by_line(data, fields, schema)
    return cast_columns(frame, rejects, lines, schema)


def parse_table(frame: pl.DataFrame, schema: Schema) -> ParsedLines:
    """The rows of `frame`, from a columnar log, as `parse_text` gives them.

    Raises LogError where a column's type is none that a value of the schema can have.
    """
    lines = frame.height
    rejects: list[Reject] = []
    for column in schema.fields:
        if column.role != "drop":
            plain, garbled = _plain(frame[column.name], column)
            frame = frame.with_columns(plain)
            rejects += garbled
    numbered = frame.with_columns(pl.Series(LINE_COLUMN, np.arange(lines)))
    whole = ~pl.col(LINE_COLUMN).is_in([reject.line for reject in rejects])
    return cast_columns(numbered.filter(whole), rejects, lines, schema)


def _plain(series: pl.Series, column: Column) -> tuple[pl.Series, list[Reject]]:
    """A typed column as numbers, text, times or lists of these; and the rows that are not UTF-8."""
    multi = isinstance(column, SparseColumn) and column.multi is not None
    kind = series.dtype
    if isinstance(kind, pl.Array) and multi:
        return series.arr.to_list(), []
    if isinstance(kind, pl.Categorical | pl.Enum):
        return series.cast(pl.String()), []
    if kind == pl.Binary():
        return _decoded(series)
    fits = kind.is_numeric() or kind in (pl.String(), pl.Boolean(), pl.Null())
    if fits or (isinstance(kind, pl.List) and multi):
        return series, []
    if kind.is_temporal() and column.role == "time":
        return series, []
    raise LogError(
        f"column {series.name!r} has the type {kind}, which no {column.role} column of the schema "
        "can hold. Convert it, or drop it with `role: drop`."
    )


def _decoded(series: pl.Series) -> tuple[pl.Series, list[Reject]]:
    """Bytes as text."""
    texts: list[str | None] = []
    rejects = []
    for number, value in enumerate(series.to_list()):
        try:
            texts.append(value.decode("utf-8") if value is not None else None)
        except UnicodeDecodeError:
            texts.append(None)
            rejects.append(Reject(number, series.name, "not UTF-8", preview(value)))
    return pl.Series(series.name, texts, dtype=pl.String()), rejects


def _even(data: bytes, lines: int, separators: int, separator: str) -> bool:
    """Whether there are lines, and each has just so many separators."""
    text = np.frombuffer(data, dtype=np.uint8)
    found = np.flatnonzero(text == ord(separator))
    if lines == 0 or found.size != lines * separators:
        return False
    if separators == 0:
        return True
    ends = np.flatnonzero(text == ord("\n"))
    of_line = found.reshape(lines, separators)
    return bool((of_line[:, -1] < ends).all() and (of_line[1:, 0] > ends[:-1]).all())


def _whole(
    data: bytes, lines: int, fields: tuple[str, ...], schema: Schema, numbers: pl.DataType
) -> pl.DataFrame | None:
    """The fields of `data` by Polars, or None where a line may be malformed.

    Label and dense columns are read as `numbers`; as text, a value that is none keeps its digits.
    """
    quoted = schema.quote is not None and schema.quote.encode() in data
    if quoted or b"\0" in data or not _even(data, lines, len(fields) - 1, schema.separator):
        return None
    if data.startswith(_BOM):  # Polars would drop it, here in the middle of a file
        return None
    if data.count(b"\r") != data.count(b"\r\n"):  # it drops that at the end of any field
        return None
    roles = {column.name: column.role for column in schema.fields}
    try:
        frame = pl.read_csv(
            data,
            has_header=False,
            separator=schema.separator,
            quote_char=None,
            schema={
                name: numbers if roles.get(name) in ("label", "dense") else pl.String()
                for name in fields
            },
            columns=[i for i, name in enumerate(fields) if roles.get(name, "drop") != "drop"],
        )
    except (pl.exceptions.PolarsError, UnicodeDecodeError):
        return None
    return frame if frame.height == lines else None


def _line_by_line(
    data: bytes, fields: tuple[str, ...], schema: Schema
) -> tuple[pl.DataFrame, list[Reject]]:
    """The fields of the whole lines as text, with `@line`, and the lines that are not whole."""
    rejects: list[Reject] = []
    kept: list[int] = []
    rows: list[list[str | None]] = []
    pieces = data.split(b"\n")
    if pieces[-1] == b"":
        pieces.pop()
    for number, piece in enumerate(pieces):
        line = piece.removesuffix(b"\r")
        values = _fields(line, len(fields), schema)
        if isinstance(values, str):
            rejects.append(Reject(number, None, values, preview(line)))
        else:
            kept.append(number)
            rows.append([value if value != "" else None for value in values])
    frame = pl.DataFrame(rows, schema=dict.fromkeys(fields, pl.String()), orient="row")
    return frame.with_columns(pl.Series(LINE_COLUMN, kept, dtype=pl.Int64())), rejects


def _fields(line: bytes, expected: int, schema: Schema) -> list[str] | str:
    """The fields of one line, or the reason why it has none."""
    if line == b"":
        return "the line is empty"
    if b"\0" in line:
        return "a NUL byte"
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start + 1}"
    if schema.quote is not None and schema.quote in text:
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=schema.separator,
            quotechar=schema.quote,
            strict=True,
        )
        try:
            values, *rest = reader
        except csv.Error:
            return "a quote is not closed on its line"
        if rest or text.endswith("\r"):  # which the reader would take for the line's end
            return "a carriage return inside the line"
    else:
        values = text.split(schema.separator)
    if len(values) != expected:
        return f"{len(values)} fields, not {expected}"
    return values
