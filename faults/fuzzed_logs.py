"""Properties of hostile logs: lines of presets and of random schemas, compressed and damaged."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from fae.format.errors import LogError
from fae.ingestion.cast.rows import ParsedLines
from fae.ingestion.parser import parse_odd_lines, parse_text
from fae.logs.blocks import BLOCK_BYTES
from fae.logs.columns import Column
from fae.logs.files import find_logs
from fae.logs.schema import Schema
from fae.logs.schema_files import list_presets, load_schema
from faults.fuzzing import Property, WrongError
from tests.support import oracle, random_logs
from tests.support.hostile_input import mutated
from tests.support.small_logs import SHOP, SHOP_LOG, rejects_of, staged, staged_rows

_BOM = b"\xef\xbb\xbf"
_PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": partial(gzip.compress, mtime=0),
    ".zst": lambda data: bytes(pa.compress(data, codec="zstd", asbytes=True)),
}


@dataclass(frozen=True)
class LogFile:
    """A log: its text, the suffix that says how it is compressed, and its bytes on disk."""

    text: bytes
    suffix: str
    stored: bytes
    block_bytes: int
    schema: Schema


@st.composite
def log_files(draw: st.DrawFn, *, damaged: bool = False) -> LogFile:
    """Draw a log of a preset or a random schema, mutated before or, if `damaged`, after packing."""
    schema, text = draw(_RANDOM_TEXTS | st.sampled_from(_PRESET_TEXTS))
    suffix = draw(st.sampled_from((".gz", ".zst") if damaged else ("", "", ".gz", ".zst")))
    block_bytes = draw(st.sampled_from((1, 7, BLOCK_BYTES)) | st.integers(1, 300))
    if damaged:
        stored = draw(mutated(_PACKINGS[suffix](text), 2))
    else:
        text = draw(st.just(text) | mutated(text, 6))
        stored = _PACKINGS[suffix](text)
    return LogFile(text, suffix, stored, block_bytes, schema)


@st.composite
def damaged_parquet_files(draw: st.DrawFn) -> bytes:
    """Draw the shop's rows as a Parquet file of some kind, mutated."""
    table, file = pl.read_csv(SHOP_LOG.encode()).to_arrow(), io.BytesIO()
    pq.write_table(
        table,
        file,
        row_group_size=draw(st.sampled_from((5, 20))),
        compression=draw(st.sampled_from(("none", "snappy", "gzip", "zstd"))),
        use_dictionary=draw(st.booleans()),
        version=draw(st.sampled_from(("1.0", "2.6"))),
        data_page_version=draw(st.sampled_from(("1.0", "2.0"))),
        write_page_checksum=draw(st.booleans()),
    )
    return draw(mutated(file.getvalue()))


def check_log(file: LogFile, folder: Path) -> None:
    """Check that a log gives exactly the rows and rejects of the oracle, in any blocks."""
    schema, data = file.schema, file.text
    path = folder / f"log{file.suffix}"
    path.write_bytes(file.stored)
    try:
        (log,) = find_logs([str(path)], schema)
    except LogError as error:
        if _may_be_refused(data, schema):
            return
        raise WrongError(f"a good log was refused: {error}") from error
    body = data.removeprefix(_BOM)
    if schema.header:
        body = body.partition(b"\n")[2]
    general = check_alike(body, log.fields, schema)
    rows, rejects = _expected(body, log.fields, schema)
    lines = [reject.line + log.first_line for reject in general.rejects]
    _agree("rejects", [line - log.first_line for line in lines], rejects, len(rows))
    try:
        staging = staged([log], schema, folder / "staging", block_bytes=file.block_bytes)
    except LogError as error:
        if "no rows" in str(error) and not rows:
            return
        raise WrongError(f"a good log was refused: {error}", len(rows)) from error
    _agree("rows", [repr(row) for row in staged_rows(staging)], list(map(repr, rows)), len(rows))
    found = [reject["line"] for reject in rejects_of(staging.directory.path / "rejects")]
    _agree("lines of rejects", found, lines, len(rows))
    if staging.logs[0].lines != len(rows) + len(rejects):
        raise WrongError(f"{staging.logs[0].lines} lines, not {len(rows) + len(rejects)}")


def check_damaged_log(file: LogFile, folder: Path) -> None:
    """Check that a damaged log is refused, or gives what another program unpacks from it."""
    path = folder / f"log{file.suffix}"
    path.write_bytes(file.stored)
    try:
        (log,) = find_logs([str(path)], file.schema)
        staged([log], file.schema, folder / "staging", block_bytes=file.block_bytes)
    except LogError:
        return
    if file.suffix == ".gz":
        try:
            unpacked = gzip.decompress(file.stored)
        except (OSError, EOFError, zlib.error) as error:
            raise WrongError(f"a damaged log was accepted, where gzip says: {error}") from error
        (folder / "unpacked").mkdir()
        plain = replace(file, text=unpacked, suffix="", stored=unpacked)
        check_log(plain, folder / "unpacked")
        return
    whole = _PACKINGS[file.suffix](file.text)
    if whole.startswith(file.stored) and file.stored != whole:
        raise WrongError("a log that is cut short was accepted", file.text.count(b"\n"))


def check_damaged_parquet(data: bytes, folder: Path) -> None:
    """Check that a damaged Parquet log is refused, or that every row of its footer is read.

    Rejected rows count as read. Values may differ in files without checksums.
    """
    path = folder / "log.parquet"
    path.write_bytes(data)
    try:
        (log,) = find_logs([str(path)], SHOP)
        staging = staged([log], SHOP, folder / "staging")
    except LogError:
        return
    found = len(staged_rows(staging)) + len(rejects_of(staging.directory.path / "rejects"))
    rows = pq.read_metadata(path).num_rows
    if not found == staging.logs[0].lines == rows:
        raise WrongError(f"{found} of {rows} rows are staged or rejected", abs(rows - found))


def _may_be_refused(data: bytes, schema: Schema) -> bool:
    """Return whether a log is empty, UTF-16, or has a header that is not the schema's."""
    if data == b"" or data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    if not schema.header:
        return data.startswith((b"PK\x03\x04", b"PAR1", b"\x1f\x8b"))
    line = data.removeprefix(_BOM).partition(b"\n")[0]
    try:
        names = oracle.split_fields(line.decode().rstrip("\r"), schema)
        if b"\r" in line.rstrip(b"\r"):
            return True
    except (UnicodeDecodeError, oracle.MalformedError):
        return True
    return sorted(name.strip() for name in names) != sorted(c.name for c in schema.fields)


def _expected(
    body: bytes, fields: tuple[str, ...], schema: Schema
) -> tuple[list[tuple[Any, ...]], list[int]]:
    """Return the oracle's rows as `staged_rows` has them, and its malformed lines from 0."""
    lines = body.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    rows, rejects = [], []
    for number, line in enumerate(lines):
        try:
            row = oracle.read_line(line.removesuffix(b"\r"), list(fields), schema)
        except (oracle.MalformedError, UnicodeDecodeError):
            rejects.append(number)
            continue
        values = [row["label"], *(row[column.name] for column in schema.dense)]
        values += [_typed(row[column.name], column) for column in schema.sparse]
        rows.append((*values, row["@time"]) if schema.time else tuple(values))
    return rows, rejects


def _typed(value: Any, column: Any) -> Any:
    """Return a category as it is staged; the oracle has hexadecimal ones as digits."""
    if isinstance(value, list):
        return [_typed(one, column) for one in value]
    return int(value, 16) if column.encoding == "hex" and value is not None else value


def check_alike(text: bytes, fields: tuple[str, ...], schema: Schema) -> ParsedLines:
    """Return what the general parser reads.

    Raises WrongError where the fast parser reads anything else.
    """
    whole = text if text.endswith(b"\n") or text == b"" else text + b"\n"
    plain, general = parse_text(text, fields, schema), parse_odd_lines(whole, fields, schema)
    if plain.rejects != general.rejects:
        raise WrongError(f"the fast parser rejects {plain.rejects}, not {general.rejects}")
    one, two = ([repr(row) for row in found.rows.rows()] for found in (plain, general))
    if one != two or plain.rows.schema != general.rows.schema or plain.lines != general.lines:
        raise WrongError(f"the fast parser gives {one}, not {two}", len(two))
    return general


def _agree(what: str, found: list[Any], expected: list[Any], rows: int) -> None:
    if found != expected:
        raise WrongError(f"{what} differ: {found} found, {expected} expected", rows)


def _preset_text(random: Random, schema: Schema) -> bytes:
    """Return a few right lines of a preset."""
    lines = [[_value(random, column) for column in schema.fields] for _ in range(6)]
    if schema.header:
        lines.insert(0, [column.name for column in schema.fields])
    return b"".join(schema.separator.join(line).encode() + b"\n" for line in lines)


def _value(random: Random, column: Column) -> str:
    kind = column.role if column.role != "sparse" else column.encoding
    if column.role == "time" and column.format != "unix":
        moment = datetime.fromtimestamp(random.randrange(2**30, 2**31), UTC)
        return moment.strftime(column.format)
    if kind == "label":
        return random.choice("01")
    if kind == "hex":
        return random.choice(("", f"{random.getrandbits(32):08x}", "0000000a"))
    if column.role == "sparse" and column.multi:
        return column.multi.separator.join(str(random.randrange(99)) for _ in range(3))
    return str(random.choice((0, 1, 7, random.randrange(10**6))))


_RANDOM_TEXTS = random_logs.logs().map(lambda log: (log.schema, log.files[0].plain))
_PRESET_TEXTS = [
    (schema, _preset_text(Random(schema.name), schema))
    for schema in map(load_schema, list_presets())
]
LOG_PROPERTIES = {
    "log": Property(log_files(), check_log),
    "damaged log": Property(log_files(damaged=True), check_damaged_log, damaged=True),
    "damaged Parquet log": Property(damaged_parquet_files(), check_damaged_parquet, damaged=True),
}
