"""Parse the lines of a log, or the rows of a table, into typed columns and rejects.

Nearly all lines are plain, and `fast_parser.py` parses them. Polars parses the odd ones in one
pass. As it silently fills short lines with nulls and joins lines across quotes, the pass is used
only where the number of separators proves that every line has all its fields; otherwise each line
is split by itself. Whatever the way, a line gives the same row or reject.
"""

import csv
import io
from dataclasses import replace
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa

from fae.format.errors import LogError
from fae.ingestion.cast.missing_values import fields_or_null
from fae.ingestion.cast.raw_columns import LINE_COLUMN
from fae.ingestion.cast.rows import ParsedLines, cast_columns
from fae.ingestion.cast.times import MICROSECOND_COLUMN
from fae.ingestion.explosion import explode_samples
from fae.ingestion.fast_parser import parse_plain_lines
from fae.ingestion.plain_texts import parse_plain_texts
from fae.ingestion.record_formats import split_records
from fae.ingestion.rejects import Reject, preview
from fae.logs.blocks import Text
from fae.logs.columns import Column
from fae.logs.files import UTF8_BOM
from fae.logs.schema import Schema

#: Stands for a separator of several characters, in text that does not have it.
_UNIT_SEPARATOR = b"\x1f"
#: The types of values that any column can hold, beside numbers.
_PLAIN_TYPES = (pl.String(), pl.Boolean(), pl.Null())

csv.field_size_limit(2**31 - 1)


def parse_text(data: Text, fields: tuple[str, ...], schema: Schema) -> ParsedLines:
    """Parse the lines of `data`, whose fields are the columns `fields` in that order."""
    if len(data) and data[-1:] != b"\n":
        data = bytes(data) + b"\n"
    if schema.charset != "utf-8":
        data = bytes(data).decode(schema.charset).encode()
    if schema.format == "json" or schema.slots is not None:
        data = bytes(data)
        return parse_fields(*split_records(data, schema), data.count(b"\n"), schema)
    if schema.explode is not None:
        return _parse_exploding(bytes(data), fields, schema)
    if len(schema.separator) > 1:
        return _parse_wide(bytes(data), fields, schema)
    try:
        plain = parse_plain_lines(data, fields, schema)
    except pa.ArrowInvalid:  # not UTF-8
        return parse_odd_lines(bytes(data), fields, schema)
    lines = plain.line_starts.size - 1
    if plain.odd_lines.size == lines:
        return parse_odd_lines(bytes(data), fields, schema)
    plain_lines = np.delete(np.arange(lines), plain.odd_lines)
    numbered = plain.columns.with_columns(pl.Series(LINE_COLUMN, plain_lines))
    parsed = cast_columns(numbered, [], lines, schema, typed=plain.typed)
    if not plain.odd_lines.size:
        return parsed
    starts, ends = (plain.line_starts[plain.odd_lines + step].tolist() for step in (0, 1))
    odd_text = b"".join(bytes(data[start:end]) for start, end in zip(starts, ends, strict=True))
    odd = parse_odd_lines(odd_text, fields, schema)
    odd_rejects = [replace(one, line=int(plain.odd_lines[one.line])) for one in odd.rejects]
    odd_rows = plain.odd_lines[odd.row_lines]
    return _merge(parsed, replace(odd, rejects=odd_rejects, row_lines=odd_rows))


def parse_fields(
    frame: pl.DataFrame, rejects: list[Reject], lines: int, schema: Schema
) -> ParsedLines:
    """Parse rows of fields, as text and with `@line`; each line gave one of them or a reject."""
    records = frame.height + len(rejects)
    if schema.explode is not None:
        frame, rejects = explode_samples(frame, rejects, schema.explode)
    surplus = frame.height + len(rejects) - records
    return replace(cast_columns(frame, rejects, lines, schema), surplus=surplus)


def _parse_exploding(data: bytes, fields: tuple[str, ...], schema: Schema) -> ParsedLines:
    """Parse lines of which one field holds several samples."""
    lines = data.count(b"\n")
    frame = _read_csv(data, lines, fields, schema, pl.String())
    if frame is None:
        return parse_fields(*_split_lines(data, fields, schema), lines, schema)
    return parse_fields(frame.with_row_index(LINE_COLUMN), [], lines, schema)


def _parse_wide(data: bytes, fields: tuple[str, ...], schema: Schema) -> ParsedLines:
    """Parse lines whose separator has several characters, as lines with one that they lack."""
    if _UNIT_SEPARATOR in data:
        return parse_odd_lines(data, fields, schema)
    separator, narrow = schema.separator, schema.replace(separator=_UNIT_SEPARATOR.decode())
    parsed = parse_text(data.replace(separator.encode(), _UNIT_SEPARATOR), fields, narrow)
    rejects = [
        replace(reject, text=reject.text.replace(narrow.separator, separator))
        for reject in parsed.rejects
    ]
    return replace(parsed, rejects=rejects)


def _merge(plain: ParsedLines, odd: ParsedLines) -> ParsedLines:
    """Merge the rows and rejects of plain lines and odd ones, in the order of their lines."""
    rejects = sorted(plain.rejects + odd.rejects, key=lambda reject: reject.line)
    row_lines = np.concatenate([plain.row_lines, odd.row_lines])
    order = np.argsort(row_lines)
    rows = pl.concat([plain.rows, odd.rows], how="diagonal")[order]
    rows = rows.with_columns(pl.col(f"^{MICROSECOND_COLUMN}$").fill_null(0))
    return ParsedLines(rows, rejects, plain.lines, row_lines[order])


def parse_odd_lines(data: bytes, fields: tuple[str, ...], schema: Schema) -> ParsedLines:
    """Parse the lines of `data`, however they are written; each ends in a line break."""
    lines = data.count(b"\n")
    # Numbers are parsed as such first, which is faster. If a line is malformed, they are parsed as
    # text, so that its reject shows what was found.
    for number_type in (pl.Float64(), pl.String()):
        frame = _read_csv(data, lines, fields, schema, number_type)
        if frame is not None:
            numbered = frame.with_columns(pl.Series(LINE_COLUMN, np.arange(lines)))
            parsed = cast_columns(numbered, [], lines, schema)
            if not parsed.rejects or number_type == pl.String():
                return parsed
    frame, rejects = _split_lines(data, fields, schema)
    return cast_columns(frame, rejects, lines, schema)


def convert_arrow_table(table: pa.Table) -> pl.DataFrame:
    """Return an Arrow table as a Polars frame; raises LogError for a type that Polars lacks."""
    for column in table.schema:
        if "decimal256" in str(column.type):  # Polars panics over it
            raise LogError(
                f"column {column.name!r} has the type {column.type}. Convert it to decimals of at "
                "most 38 digits."
            )
    frame = pl.from_arrow(pa.table(table.columns, names=table.column_names))  # without metadata
    assert isinstance(frame, pl.DataFrame)
    return frame


def parse_table(frame: pl.DataFrame, schema: Schema) -> ParsedLines:
    """Parse the rows of a table, such as a Parquet file's, as `parse_text` parses lines.

    Raises LogError where a column's type is one that no value of the schema can have.
    """
    lines = frame.height
    rejects: list[Reject] = []
    plain: dict[str, pl.Series] = {}
    is_odd = np.zeros(lines, dtype=np.bool_)
    simplified: dict[str, pl.Series] = {}
    found = frame.to_dict()
    for column in schema.fields:
        if column.role != "drop" and column.log_name in found:
            series, undecodable = _simplify(found[column.log_name], column)
            simplified[column.log_name] = series
            rejects += undecodable
            if schema.plain_columns.get(column.log_name) != column or series.dtype != pl.String():
                continue
            parsed = parse_plain_texts(series, column)
            if parsed is not None:
                plain[column.log_name] = parsed[0]
                is_odd |= parsed[1]
    numbers = np.arange(lines)
    frame = frame.with_columns(*simplified.values(), pl.Series(LINE_COLUMN, numbers))
    first_rejects = list({reject.line: reject for reject in reversed(rejects)}.values())
    is_valid = np.ones(lines, dtype=np.bool_)
    is_valid[[reject.line for reject in rejects]] = False
    if schema.explode is not None:
        return parse_fields(frame.filter(is_valid), first_rejects, lines, schema)
    of_plain, of_odd = is_valid & ~is_odd, is_valid & is_odd
    plain_rows = frame.with_columns(plain.values())
    plain_rows = plain_rows if of_plain.all() else plain_rows.filter(of_plain)
    typed = frozenset(plain)
    of_plain_rows = cast_columns(plain_rows, first_rejects, lines, schema, typed=typed)
    if not of_odd.any():
        return of_plain_rows
    of_odd_rows = cast_columns(frame.filter(of_odd), [], lines, schema)
    return _merge(of_plain_rows, of_odd_rows)


def _simplify(series: pl.Series, column: Column) -> tuple[pl.Series, list[Reject]]:
    """Return a column as numbers, text, times or lists of these, and its values not UTF-8."""
    dtype = value_type = series.dtype
    text: pl.DataType = pl.String()
    if column.list_text is not None:
        if isinstance(dtype, pl.Array) and len(dtype.shape) == 1:
            series, dtype = series.arr.to_list(), pl.List(dtype.inner)
        if isinstance(dtype, pl.List):
            value_type, text = cast(pl.DataType, dtype.inner), pl.List(pl.String())
    if isinstance(value_type, pl.Categorical | pl.Enum):
        return series.cast(text), []
    if value_type == pl.Binary():
        return _decode(series, text)
    is_moment = column.role == "time" and value_type in (pl.Date(), pl.Datetime)
    if value_type.is_numeric() or value_type in _PLAIN_TYPES or is_moment:
        return series, []
    raise LogError(
        f"column {series.name!r} has the type {dtype}, which no {column.role} column of the schema "
        "can hold. Convert it, or drop it with `role: drop`."
    )


def _decode(series: pl.Series, dtype: pl.DataType) -> tuple[pl.Series, list[Reject]]:
    """Return bytes, or lists of them, as text of `dtype`, and a reject for each row not UTF-8.

    A value that is not UTF-8 becomes null.
    """
    texts: list[str | list[str | None] | None] = []
    rejects = []
    for row, value in enumerate(series.to_list()):
        try:
            texts.append(_decode_value(value))
        except UnicodeDecodeError as error:
            texts.append(None)
            rejects.append(Reject(row, series.name, "not UTF-8", preview(error.object)))
    return pl.Series(series.name, texts, dtype=dtype), rejects


def _decode_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode_value(element) for element in value]
    return None if value is None else value.decode("utf-8")


def _read_csv(
    data: bytes, lines: int, fields: tuple[str, ...], schema: Schema, number_type: pl.DataType
) -> pl.DataFrame | None:
    """Return the fields of `data` as Polars reads them, or None where a line may be malformed.

    Label and dense columns are read as `number_type`, the others as text.
    """
    separator = schema.separator
    if len(separator) > 1:
        return None
    quoted = schema.quote is not None and schema.quote.encode() in data
    if quoted or b"\0" in data or not _have_all_fields(data, lines, len(fields), separator):
        return None
    if data.startswith(UTF8_BOM):  # Polars would drop it, even in the middle of a file
        return None
    if data.count(b"\r") != data.count(b"\r\n"):  # Polars would drop it at the end of any field
        return None
    plain = schema.plain_columns
    numbers = {name for name, column in plain.items() if column.role in ("label", "dense")}
    kept = {*plain, *schema.raw_fields}
    types = {name: number_type if name in numbers else pl.String() for name in fields}
    used = [i for i, name in enumerate(fields) if name in kept]
    try:
        frame = pl.read_csv(
            data, has_header=False, separator=separator, quote_char=None, schema=types, columns=used
        )
    except (pl.exceptions.PolarsError, UnicodeDecodeError):
        return None
    return frame if frame.height == lines else None


def _have_all_fields(data: bytes, lines: int, fields: int, separator: str) -> bool:
    """Return whether there are lines, and each has `fields` fields, of which there are several."""
    text = np.frombuffer(data, dtype=np.uint8)
    separators = np.flatnonzero(text == ord(separator))
    if lines == 0 or separators.size != lines * (fields - 1):
        return False
    # As many as there should be: dealt out to the lines in order, each must lie in its own line.
    by_line = separators.reshape(lines, fields - 1)
    line_ends = np.flatnonzero(text == ord("\n"))
    return bool((by_line[:, -1] < line_ends).all() and (by_line[1:, 0] > line_ends[:-1]).all())


def _split_lines(
    data: bytes, fields: tuple[str, ...], schema: Schema
) -> tuple[pl.DataFrame, list[Reject]]:
    """Return the fields of each line as text, with `@line`, and rejects of lines without them."""
    rejects: list[Reject] = []
    line_numbers: list[int] = []
    rows: list[list[str | None]] = []
    for number, line in enumerate(data.split(b"\n")[:-1]):
        line = line.removesuffix(b"\r")
        values = _split_fields(line, len(fields), schema)
        if isinstance(values, str):
            rejects.append(Reject(number, None, values, preview(line)))
        else:
            line_numbers.append(number)
            rows.append(fields_or_null(values))
    frame = pl.DataFrame(rows, schema=dict.fromkeys(fields, pl.String()), orient="row")
    return frame.with_columns(pl.Series(LINE_COLUMN, line_numbers, dtype=pl.Int64())), rejects


def _split_fields(line: bytes, expected: int, schema: Schema) -> list[str] | str:
    """Return the fields of one line, or the reason why it is malformed."""
    if line == b"":
        return "the line is empty"
    if b"\0" in line:
        return "a NUL byte"
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {error.start + 1}"
    if schema.quote is not None and schema.quote in text:
        lines, quote = io.StringIO(text, newline=""), schema.quote
        reader = csv.reader(lines, delimiter=schema.separator, quotechar=quote, strict=True)
        try:
            values, *rest = reader
        except csv.Error:
            return "a quote is not closed on its line"
        if rest or text.endswith("\r"):  # the reader takes it for the end of the line
            return "a carriage return inside the line"
    else:
        values = text.split(schema.separator)
    if len(values) != expected:
        return f"{len(values)} fields, not {expected}"
    return values
