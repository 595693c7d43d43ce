"""Take the first rows of a log, and tell how its lines are written."""

import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from fae.format.errors import LogError
from fae.logs.blocks import row_groups_held
from fae.logs.compression import check_text, explain_read_errors
from fae.logs.files import UTF8_BOM, Log, locate_log, open_parquet, open_text, read_partitions

SAMPLED_BYTES, SAMPLED_ROWS = 8 << 20, 20_000
#: Tried in this order; of two that fit as well, the first is chosen.
_SEPARATORS = ("\t", "::", ",", ";", "|", "\x01", " ")
#: The share of lines that must have one number of fields.
_UNIFORM_SHARE = 0.9
_MAX_SKIPPED_LINES = 20
_NAME = re.compile(r"[^\W\d][\w .:+/-]*")

#: A raw value: text, the texts of a list, or None where it is missing.
Value = str | list[str] | None


@dataclass(frozen=True)
class Sample:
    """A log's first rows: the keys of its schema, its columns, and what is uncertain of them."""

    keys: dict[str, Any]
    columns: dict[str, list[Value]]
    doubts: list[str] = field(default_factory=list)


def read_sample(url: str) -> Sample:
    """Return the first rows of the log at `url`.

    Raises LogError where there is none, and where its lines have no fields that can be told apart.
    """
    log = locate_log(url)
    if log.parquet:
        return _read_parquet(log)
    with explain_read_errors(log.name, log.compression), open_text(log) as stream:
        check_text(stream, log.name)
        data = stream.read(SAMPLED_BYTES)
    whole = len(data) < SAMPLED_BYTES or b"\n" not in data
    data = data.removeprefix(UTF8_BOM)
    if not whole:
        data = data[: data.rindex(b"\n") + 1]
    doubts: list[str] = []
    keys: dict[str, Any] = {}
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text, keys["charset"] = data.decode("latin-1"), "latin-1"
        doubts.append("the text is not UTF-8, and is taken for Latin-1")
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    lines = lines[: SAMPLED_ROWS + _MAX_SKIPPED_LINES]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise LogError(f"{log.name} has no lines to infer a schema from.")
    if lines[0].lstrip().startswith("{"):
        return _read_objects(lines, {"format": "json", **keys}, log.name)
    return _read_fields(lines, keys, doubts, log.name)


def _read_parquet(log: Log) -> Sample:
    """Return the first rows of a Parquet log; values are as text would have them."""
    with open_parquet(log) as file:
        groups: list[int] = []
        rows = 0
        while rows < SAMPLED_ROWS and len(groups) < file.num_row_groups:
            rows += file.metadata.row_group(len(groups)).num_rows
            groups.append(len(groups))
        with row_groups_held(log, file, groups, file.schema_arrow.names, SAMPLED_ROWS):
            first = next(file.iter_batches(SAMPLED_ROWS, groups), None)
    if first is None:
        raise LogError(f"{log.name} has no rows to infer a schema from.")
    frame = pl.DataFrame(first)
    columns: dict[str, list[Value]] = {}
    for series in frame:
        if isinstance(series.dtype, pl.List | pl.Array):
            columns[series.name] = [_to_texts(value) for value in series.to_list()]
        else:
            form = "iso" if series.dtype.is_temporal() else None
            texts = series.dt.to_string(form) if form else series.cast(pl.String(), strict=False)
            columns[series.name] = texts.to_list()
    for name, value in read_partitions(log.url).items():
        columns.setdefault(name, [value] * frame.height)
    return Sample({}, columns)


def _to_texts(value: Sequence[Any] | None) -> Value:
    return None if value is None else [str(element) for element in value if element is not None]


def _read_objects(lines: list[str], keys: dict[str, Any], name: str) -> Sample:
    """Return the first objects of JSON lines; keys of objects in them are joined by points."""
    records: list[dict[str, Value]] = []
    for line in lines[:SAMPLED_ROWS]:
        try:
            found = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            records.append(dict(_flatten(found, "")))
    if not records:
        raise LogError(f"{name} looks like JSON lines, but no line is a JSON object.")
    names = dict.fromkeys(key for record in records for key in record)
    return Sample(keys, {name: [record.get(name) for record in records] for name in names})


def _flatten(found: dict[str, Any], prefix: str) -> list[tuple[str, Value]]:
    items: list[tuple[str, Value]] = []
    for key, value in found.items():
        if isinstance(value, dict):
            items += _flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            texts = [str(one) for one in value if not isinstance(one, dict | list | None)]
            items.append((prefix + key, texts))
        else:
            text = str(value).lower() if isinstance(value, bool) else value
            items.append((prefix + key, text))
    return items


def _read_fields(lines: list[str], keys: dict[str, Any], doubts: list[str], name: str) -> Sample:
    """Return the first rows of lines with separated fields."""
    separator = _find_separator(lines, name)
    keys["separator"] = separator
    quoted = len(separator) == 1 and any(
        part.startswith('"') for line in lines for part in line.split(separator)
    )
    if quoted:
        keys["quote"] = '"'
        if any(line.count('"') % 2 for line in lines):
            keys["quoted_line_breaks"] = True
            doubts.append("a quoted field seems to hold a line break; reading is slower then")
    rows = _split(lines, separator, quoted, bool(keys.get("quoted_line_breaks")))
    width = Counter(map(len, rows)).most_common(1)[0][0]
    skipped = next(number for number, row in enumerate(rows) if len(row) == width)
    if 0 < skipped <= _MAX_SKIPPED_LINES:
        keys["skip_lines"] = skipped
    rows = [row for row in rows if len(row) == width]
    first = [text.strip() for text in rows[0]]
    if _is_header(first, rows[1:], doubts):
        keys["header"], rows = True, rows[1:]
    else:
        first = [f"field_{number}" for number in range(1, width + 1)]
    if not rows:
        raise LogError(f"{name} has a header and no rows to infer a schema from.")
    columns: dict[str, list[Value]] = {
        first[at]: [row[at] or None for row in rows[:SAMPLED_ROWS]] for at in range(width)
    }
    return Sample(keys, columns, doubts)


def _find_separator(lines: list[str], name: str) -> str:
    """Return what is between the fields of nearly all lines."""
    best, most = "", 0.0
    joined = any(line.count('"') % 2 for line in lines)
    has_quotes = any('"' in line for line in lines)
    for separator in _SEPARATORS:
        quoted = len(separator) == 1 and has_quotes
        widths = Counter(len(row) for row in _split(lines, separator, quoted, joined))
        width, count = widths.most_common(1)[0]
        share = count / widths.total()
        if width > 1 and share >= _UNIFORM_SHARE and share > most:
            best, most = separator, share
    if not best:
        raise LogError(
            f"{name}: nothing separates the same number of fields on each line. Write its schema "
            "by hand; README.md lists the keys."
        )
    return best


def _split(lines: list[str], separator: str, quoted: bool, joined: bool) -> list[list[str]]:
    """Return the fields of lines, or of records whose quotes hold line breaks if `joined`."""
    if not quoted:
        return [line.split(separator) for line in lines]
    if joined:
        return list(csv.reader((line + "\n" for line in lines), delimiter=separator))
    return [next(csv.reader([line], delimiter=separator), [""]) for line in lines]


def _is_header(first: list[str], rows: list[list[str]], doubts: list[str]) -> bool:
    """Return whether a first line names columns rather than holding values."""
    if len(set(first)) < len(first) or not all(_NAME.fullmatch(text) for text in first):
        return False
    numeric = [all(_is_number(row[at]) for row in rows[:100]) for at in range(len(first))]
    if rows and not any(numeric):
        repeated = any(first[at] in {row[at] for row in rows} for at in range(len(first)))
        doubts.append(
            "whether the first line is a header is a guess; `header` says it is "
            + ("none" if repeated else "one")
        )
        return not repeated
    return True


def _is_number(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True
