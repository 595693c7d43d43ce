"""Logs to fuzz the readers with: lines of presets and of random schemas, packed and cut anyhow."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import hypothesis
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fae.format.errors import LogError
from fae.ingestion.casting import ParsedLines
from fae.ingestion.parser import parse_odd_lines, parse_text
from fae.logs.blocks import BLOCK_BYTES
from fae.logs.files import find_logs
from fae.logs.schema import Column, Schema, list_presets, load_schema
from faults.mutators import mutated
from faults.trials import Trial, WrongError
from tests.support import oracle, random_logs
from tests.support.small_logs import SHOP, SHOP_LOG, rejects_of, staged, staged_rows

_BOM = b"\xef\xbb\xbf"
_PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": partial(gzip.compress, mtime=0),
    ".zst": lambda data: bytes(pa.compress(data, codec="zstd", asbytes=True)),
}
_RANDOM_LOGS = 60


class Logs:
    """Trials of logs; what they begin with depends on the seed alone."""

    def __init__(self, seed: int) -> None:
        self._seeds = _random_texts(seed)
        for name in list_presets():
            schema = load_schema(name)
            self._seeds += [(schema, _preset_text(Random(f"{seed}{name}"), schema))] * 8

    def trial(self, random: Random) -> Trial:
        """One log, mutated before it is packed, or after that; some are Parquet."""
        if random.random() < 0.1:
            data = mutated(random, _parquet(random), random.choice((1, 1, 2, 4)))
            return Trial("Parquet log", data, _check_parquet, damaged=True)
        schema, text = random.choice(self._seeds)
        suffix = random.choice(("", "", *_PACKINGS))
        block_bytes = random.choice((1, 7, random.randint(1, 300), BLOCK_BYTES))
        what = f"log{suffix} in blocks of {block_bytes} under {schema.model_dump_json()}"
        if suffix and random.random() < 0.3:
            stored = mutated(random, _PACKINGS[suffix](text), random.choice((1, 1, 2)))
            check = partial(_check_damaged, schema, suffix, block_bytes, text)
            return Trial(f"damaged {what}", stored, check, damaged=True)
        data = mutated(random, text, random.choice((0, 1, 1, 1, 2, 3, 6)))
        return Trial(what, data, partial(_check, schema, suffix, block_bytes))


def _check(schema: Schema, suffix: str, block_bytes: int, data: bytes, folder: Path) -> None:
    """The log gives just the rows and rejects of the slow reference, in any blocks."""
    path = folder / f"log{suffix}"
    path.write_bytes(_PACKINGS[suffix](data))
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
        staging = staged([log], schema, folder / "staging", block_bytes=block_bytes)
    except LogError as error:
        if "no rows" in str(error) and not rows:
            return
        raise WrongError(f"a good log was refused: {error}", len(rows)) from error
    _agree("rows", [repr(row) for row in staged_rows(staging)], list(map(repr, rows)), len(rows))
    found = [reject["line"] for reject in rejects_of(staging.directory.path / "rejects")]
    _agree("lines of rejects", found, lines, len(rows))
    if staging.logs[0].lines != len(rows) + len(rejects):
        raise WrongError(f"{staging.logs[0].lines} lines, not {len(rows) + len(rejects)}")


def _check_damaged(
    schema: Schema, suffix: str, block_bytes: int, text: bytes, data: bytes, folder: Path
) -> None:
    """A damaged file is refused, or holds what another program unpacks from it."""
    path = folder / f"log{suffix}"
    path.write_bytes(data)
    try:
        (log,) = find_logs([str(path)], schema)
        staged([log], schema, folder / "staging", block_bytes=block_bytes)
    except LogError:
        return
    if suffix == ".gz":
        try:
            unpacked = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise WrongError(f"a damaged log was accepted, where gzip says: {error}") from error
        (folder / "unpacked").mkdir()
        _check(schema, "", block_bytes, unpacked, folder / "unpacked")
    elif _PACKINGS[suffix](text).startswith(data) and data != _PACKINGS[suffix](text):
        raise WrongError("a log that is cut short was accepted", text.count(b"\n"))


def _parquet(random: Random) -> bytes:
    """The shop's rows as a Parquet file of some kind."""
    table, file = pl.read_csv(SHOP_LOG.encode()).to_arrow(), io.BytesIO()
    pq.write_table(
        table,
        file,
        row_group_size=random.choice((5, 20)),
        compression=random.choice(("none", "snappy", "gzip", "zstd")),
        use_dictionary=random.random() < 0.5,
        version=random.choice(("1.0", "2.6")),
        data_page_version=random.choice(("1.0", "2.0")),
        write_page_checksum=random.random() < 0.5,
    )
    return file.getvalue()


def _check_parquet(data: bytes, folder: Path) -> None:
    """A damaged Parquet log is refused, or all rows that its footer tells are staged or rejected.

    Values may differ where its writer put no checksums into it: nothing tells what they were.
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
    """Whether a log is empty, UTF-16, or has a header that is not the schema's."""
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
    """The rows of the reference as `staged_rows` has them, and the malformed lines from 0."""
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
    """A category as it is staged: the oracle has hexadecimal ones as digits."""
    if isinstance(value, list):
        return [_typed(one, column) for one in value]
    return int(value, 16) if column.encoding == "hex" and value is not None else value


def check_alike(text: bytes, fields: tuple[str, ...], schema: Schema) -> ParsedLines:
    """What the general parser makes of a text; WrongError unless the fast way makes the same."""
    whole = text if text.endswith(b"\n") or text == b"" else text + b"\n"
    plain, general = parse_text(text, fields, schema), parse_odd_lines(whole, fields, schema)
    if plain.rejects != general.rejects:
        raise WrongError(f"the fast way rejects {plain.rejects}, not {general.rejects}")
    one, two = ([repr(row) for row in found.rows.rows()] for found in (plain, general))
    if one != two or plain.rows.schema != general.rows.schema or plain.lines != general.lines:
        raise WrongError(f"the fast way gives {one}, not {two}", len(two))
    return general


def _agree(what: str, found: list[Any], expected: list[Any], rows: int) -> None:
    if found != expected:
        raise WrongError(f"{what} differ: {found} found, {expected} expected", rows)


def _random_texts(seed: int) -> list[tuple[Schema, bytes]]:
    """Logs of random schemas."""
    found: list[tuple[Schema, bytes]] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        database=None,
        deadline=None,
        max_examples=_RANDOM_LOGS,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(log=random_logs.logs())
    def draw(log: random_logs.RandomLog) -> None:
        found.append((log.schema, log.files[0].plain))

    draw()
    return found


def _preset_text(random: Random, schema: Schema) -> bytes:
    """A few right lines of a preset's."""
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
