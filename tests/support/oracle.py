"""The pipeline once more, slowly and plainly: lists, dictionaries and exact fractions.

It shares nothing with the pipeline but the schema, so that where the two agree both are right.
A category is held as the vocabulary writes it: hexadecimal digits in lower case, an int or text;
None is the missing category.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import numpy as np
import xxhash

from fae.logs.columns import DenseColumn, LabelColumn, SparseColumn, TimeColumn
from fae.logs.schema import Schema

Row = dict[str, Any]
TIME = "@time"
SPLITS = ("train", "valid", "test")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
INTEGER = re.compile(r"[+-]?0*[0-9]{1,19}(\.0)?")
MASK = 2**64 - 1
#: Seconds after which the calendar repeats, weekdays too; datetime knows no year past 9999.
FOUR_CENTURIES = 146_097 * 86_400
TIMES_FROM, TIMES_TO = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (1740, 2200))
GOLDEN = 0x9E3779B97F4A7C15


class MalformedError(Exception):
    """A line that gives no row."""


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────


def read_log(data: bytes, schema: Schema) -> tuple[list[Row], list[int]]:
    """Return the rows of a file's uncompressed bytes and its malformed lines, numbered from 1."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    fields = [column.name for column in schema.fields]
    first = 1
    if schema.header:
        header = lines.pop(0).removesuffix(b"\r").decode()
        fields = [name.strip() for name in split_fields(header, schema)]
        first = 2
    rows, rejects = [], []
    for number, line in enumerate(lines, start=first):
        try:
            rows.append(read_line(line.removesuffix(b"\r"), fields, schema))
        except (MalformedError, UnicodeDecodeError):
            rejects.append(number)
    return rows, rejects


def read_line(line: bytes, fields: Sequence[str], schema: Schema) -> Row:
    if line == b"" or b"\0" in line:
        raise MalformedError
    texts = split_fields(line.decode("utf-8"), schema)
    if len(texts) != len(fields):
        raise MalformedError
    raw = dict(zip(fields, texts, strict=True))
    row: Row = {}
    for column in schema.columns:
        if isinstance(column, LabelColumn):
            row["label"] = read_label(raw[column.name])
        elif isinstance(column, DenseColumn):
            row[column.name] = read_dense(raw[column.name], column)
        elif isinstance(column, TimeColumn):
            row[TIME] = read_time(raw[column.name], column)
        elif isinstance(column, SparseColumn) and column.source is None:
            row[column.name] = read_sparse(raw[column.name], column)
    for column in schema.sparse:
        if column.source is not None:
            moment = datetime.fromtimestamp(int(row[TIME] // 1) % FOUR_CENTURIES, UTC)
            hour = column.derive == "hour_of_day"
            row[column.name] = moment.hour if hour else moment.weekday()
    return row


def split_fields(line: str, schema: Schema) -> list[str]:
    """Split a line; a field that begins with a quote ends at the next single quote."""
    fields = []
    at = 0
    while True:
        if schema.quote and line[at : at + 1] == schema.quote:
            text = ""
            at += 1
            while True:
                end = line.find(schema.quote, at)
                if end < 0:
                    raise MalformedError
                text += line[at:end]
                at = end + 1
                if line[at : at + 1] != schema.quote:
                    break
                text += schema.quote
                at += 1
            if line[at : at + 1] not in ("", schema.separator):
                raise MalformedError
        else:
            end = line.find(schema.separator, at)
            end = len(line) if end < 0 else end
            text, at = line[at:end], end
            if schema.quote and schema.quote in line and "\r" in text:
                raise MalformedError  # readers of quoted fields take it for a line's end
        fields.append(text)
        if at == len(line):
            return fields
        at += 1


def read_label(text: str) -> int:
    text = text.strip(" \t")  # blanks around a number are borne
    if not NUMBER.fullmatch(text) or float(text) not in (0, 1):
        raise MalformedError
    return int(float(text))


def read_dense(text: str, column: DenseColumn) -> float:
    number = column.missing
    text = text.strip(" \t")
    if text != "":
        if not NUMBER.fullmatch(text) or not math.isfinite(float(text)):
            raise MalformedError
        number = float(text)
    if column.transform == "log1p":
        number = math.log1p(max(number, 0.0))
    if abs(number) > float(np.finfo(np.float32).max):
        raise MalformedError
    return float(np.float32(number))


def read_time(text: str, column: TimeColumn) -> Fraction:
    """Return seconds since 1970; years other than 1740 to 2199 are malformed."""
    if column.format == "unix":
        text = text.strip(" \t")
        if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text):
            raise MalformedError
        seconds = Fraction(text)
    else:
        try:
            moment = datetime.strptime(text, column.format).replace(tzinfo=UTC)
        except ValueError:
            raise MalformedError from None
        if moment.strftime(column.format) != text:  # strptime bears fewer digits than there are
            raise MalformedError
        seconds = Fraction(int(moment.timestamp()))
    if not TIMES_FROM < seconds < TIMES_TO:
        raise MalformedError
    return seconds


def read_sparse(text: str, column: SparseColumn) -> Any:
    if column.multi is None:
        return read_category(text, column)
    text = text.removesuffix(column.multi.separator)  # it ends the last value
    if text == "":
        return []
    values = [read_category(one, column) for one in text.split(column.multi.separator)]
    return values if column.multi.max_length is None else values[-column.multi.max_length :]


def read_category(text: str, column: SparseColumn) -> Any:
    if column.encoding != "string":
        text = text.strip(" \t")
    if text == "":
        return None
    if column.encoding == "string":
        return text
    if column.encoding == "integer":
        if not INTEGER.fullmatch(text) or not -(2**63) <= int(text.removesuffix(".0")) < 2**63:
            raise MalformedError
        return int(text.removesuffix(".0"))
    allowed = [column.digits] if column.digits else range(1, 17)
    if not re.fullmatch(r"[0-9a-fA-F]+", text) or len(text) not in allowed:
        raise MalformedError
    return format(int(text, 16), f"0{column.digits or 1}x")


# ── Splits, counts and vocabularies ──────────────────────────────────────────────────────────────


def split_rows(
    given: Sequence[str | None], times: Sequence[int] | None, valid: str, test: str
) -> list[str]:
    """Return the split of each row: that `given` for its file, else a cut by share or days."""
    splits = list(given)
    rows = given.count(None)
    for name, held_out in (("test", test), ("valid", valid)):
        if name in given:
            continue
        free = [i for i, split in enumerate(splits) if split is None]
        if times is not None:
            free.sort(key=lambda i: (times[i], i))
        if held_out.endswith("d") and held_out != "0d":
            assert times is not None
            last = max((times[i] // 86_400 for i in free), default=0) - int(held_out[:-1])
            taken = [i for i in free if times[i] // 86_400 > last]
        else:
            count = min(int(Fraction(held_out.removesuffix("d")) * rows), len(free))
            taken = free[len(free) - count :]
        for i in taken:
            splits[i] = name
    return [split or "train" for split in splits]


def accessed(row: Row, column: SparseColumn) -> list[Any]:
    """Return the values that a row looks up for a column."""
    return list(row[column.name]) if column.multi else [row[column.name]]


def count_accesses(rows: Sequence[Row], schema: Schema) -> dict[str, Counter[Any]]:
    counts: dict[str, Counter[Any]] = {table: Counter() for table in schema.tables}
    for row in rows:
        for column in schema.sparse:
            counts[column.table_name].update(accessed(row, column))
    return counts


def ranked(counts: Mapping[Any, int], column: SparseColumn, fewest: int = 1) -> list[Any]:
    """Values by accesses, most first; ties by value, the missing one first."""

    def key(value: Any) -> tuple[int, bool, Any]:
        number = int(value, 16) if column.encoding == "hex" and value is not None else value
        return -counts[value], value is not None, 0 if value is None else number

    return sorted((value for value in counts if counts[value] >= fewest), key=key)


# ── The hot set ──────────────────────────────────────────────────────────────────────────────────


def row_price(dim: int, dtype: str, optimizer: str) -> int:
    """Bytes of one embedding row with its optimiser state."""
    row = dim * {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}[dtype]
    state = {"sgd": 0, "rowwise_adagrad": 4, "adagrad": row, "adam": 2 * row}[optimizer]
    return row + state


@dataclass
class Table:
    """A table as it is ranked: `values[rank - 1]`, and what each rank was accessed."""

    name: str
    price: int
    values: list[Any]
    accesses: Mapping[Any, int]
    sampled: Mapping[Any, int]
    ids: dict[Any, int] = field(default_factory=dict)
    hot_rows: int = 0
    rows: int = 0


def choose_hot(tables: Sequence[Table], budget: int) -> int:
    """Give every value its id and every table its hot rows, by the paper's rule; the bytes used.

    A row is (table, rank); rank 0 is out of vocabulary. A budget buys id 0 of every table, then
    tables of at most a 256th of the budget whole, then rows by accesses per byte.
    """
    seen = [
        (t, rank)
        for t, table in enumerate(tables)
        for rank, value in enumerate(table.values, start=1)
        if table.sampled.get(value, 0) > 0
    ]

    def density(row: tuple[int, int]) -> Fraction:
        table = tables[row[0]]
        return Fraction(table.sampled[table.values[row[1] - 1]], table.price)

    seen.sort(key=lambda row: (-density(row), row))
    whole = {
        t for t, table in enumerate(tables) if 256 * (len(table.values) + 1) * table.price <= budget
    }
    bought = [(t, 0) for t in range(len(tables))]
    bought += [row for row in seen if row[0] in whole]
    bought += [
        (t, rank)
        for t in sorted(whole)
        for rank in range(1, len(tables[t].values) + 1)
        if (t, rank) not in seen
    ]
    bought += [row for row in seen if row[0] not in whole]
    # Bytes that are left over buy rows that the sample has missed, by their accesses in train.
    missed = [
        (Fraction(table.accesses[value], table.price), (t, rank))
        for t, table in enumerate(tables)
        for rank, value in enumerate(table.values, start=1)
        if not table.sampled.get(value, 0) and table.accesses[value]
    ]
    bought_already = set(bought)
    bought += [
        row
        for _, row in sorted(missed, key=lambda one: (-one[0], one[1]))
        if row not in bought_already
    ]
    used = 0
    rest = [(t, rank) for t, table in enumerate(tables) for rank in range(len(table.values) + 1)]
    stopped = False
    next_id = [0] * len(tables)
    for t, rank in [*bought, *(row for row in rest if row not in set(bought))]:
        stopped = stopped or (t, rank) not in bought or used + tables[t].price > budget
        if not stopped:
            used += tables[t].price
            tables[t].hot_rows += 1
        if rank:
            tables[t].ids[tables[t].values[rank - 1]] = next_id[t]
        next_id[t] += 1
    return used


def share_cold_rows(table: Table, column: SparseColumn, buckets: int) -> None:
    """Say how many rows a table has, and hash its cold ids where they are more than `buckets`."""
    table.rows = len(table.values) + 1
    if not 0 < buckets < table.rows - table.hot_rows:
        return
    table.rows = table.hot_rows + buckets
    for value, one in table.ids.items():
        if one >= table.hot_rows:
            table.ids[value] = table.hot_rows + hashed(value, column) % buckets


def hashed(value: Any, column: SparseColumn) -> int:
    """64 bits of a value, whatever its order, place or count."""
    if value is None:
        return 0
    if column.encoding == "string":
        return xxhash.xxh3_64_intdigest(value.encode())
    return mixed((int(value, 16) if column.encoding == "hex" else value) & MASK)


# ── The whole preparation ────────────────────────────────────────────────────────────────────────


def mixed(state: int) -> int:
    """Splitmix64's next output after `state`."""
    state = (state + GOLDEN) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def row_key(row: int, seed: int) -> int:
    return mixed((row + mixed(seed)) & MASK)


def in_sample(row: int, share: float, seed: int) -> bool:
    return share >= 1 or mixed(row_key(row, seed) ^ GOLDEN) < int(share * 2**64)


@dataclass(frozen=True)
class Options:
    """What a user may choose."""

    budget: int
    valid: str = "0.1"
    test: str = "0.1"
    min_count: Mapping[str, int] = field(default_factory=dict)
    sample: float = 1.0
    seed: int = 0
    dtype: str = "float32"
    optimizer: str = "rowwise_adagrad"
    cold_buckets: int = 0

    def fewest(self, table: str) -> int:
        return self.min_count.get(table, self.min_count.get("", 1))


@dataclass(frozen=True)
class Prepared:
    """What the data set must hold. `leaves` maps (split, temperature) to rows in their order.

    A row is (label, dense, ids), with one int or a tuple of ints for each sparse column.
    """

    rows: list[Row]
    splits: list[str]
    rejects: list[tuple[int, int]]
    tables: list[Table]
    used_bytes: int
    leaves: dict[tuple[str, str], list[tuple[Any, ...]]]


def prepare(
    files: Sequence[bytes], given: Sequence[str | None], schema: Schema, options: Options
) -> Prepared:
    """Everything, from the (unpacked) bytes of the logs to the leaves."""
    rows: list[Row] = []
    row_given: list[str | None] = []
    rejects = []
    for number, (data, split) in enumerate(zip(files, given, strict=True)):
        found, bad = read_log(data, schema)
        rows += found
        row_given += [split] * len(found)
        rejects += [(number, line) for line in bad]
    times = [row[TIME] for row in rows] if schema.time else None
    splits = split_rows(row_given, times, options.valid, options.test)
    train = [i for i, split in enumerate(splits) if split == "train"]
    sample = [i for i in train if in_sample(i, options.sample, options.seed)]
    counts = count_accesses([rows[i] for i in train], schema)
    sampled = count_accesses([rows[i] for i in sample], schema)
    tables = [
        Table(
            name,
            row_price(schema.dim(columns[0]), options.dtype, options.optimizer),
            ranked(counts[name], columns[0], options.fewest(name)),
            counts[name],
            sampled[name],
        )
        for name, columns in schema.tables.items()
    ]
    used = choose_hot(tables, options.budget)
    for table in tables:
        share_cold_rows(table, schema.tables[table.name][0], options.cold_buckets)
    leaves: dict[tuple[str, str], list[tuple[Any, ...]]] = {
        (split, temperature): [] for split in SPLITS for temperature in ("hot", "cold")
    }
    by_name = {table.name: table for table in tables}
    for i in sorted(range(len(rows)), key=lambda i: row_key(i, options.seed)):
        row, hot = encode(rows[i], schema, by_name)
        leaves[splits[i], "hot" if hot else "cold"].append(row)
    return Prepared(rows, splits, rejects, tables, used, leaves)


def encode(row: Row, schema: Schema, tables: Mapping[str, Table]) -> tuple[tuple[Any, ...], bool]:
    """Return a row as the data set holds it, and whether it has only hot ids."""
    hot = True
    ids: list[Any] = []
    for column in schema.sparse:
        table = tables[column.table_name]
        found = tuple(table.ids.get(value, 0) for value in accessed(row, column))
        hot = hot and all(one < table.hot_rows for one in found)
        ids.append(found if column.multi else found[0])
    dense = tuple(row[column.name] for column in schema.dense)
    return (row["label"], dense, tuple(ids)), hot


def decode(
    row: tuple[Any, ...], schema: Schema, values: Mapping[str, Mapping[int, Any]]
) -> tuple[Any, ...]:
    """Replace the ids of a data set's row by raw values; `...` stands for id 0."""

    def raw(table: str, one: int) -> Any:
        return values[table][one] if one else ...

    cells = [
        tuple(raw(column.table_name, one) for one in ids)
        if column.multi
        else raw(column.table_name, ids)
        for column, ids in zip(schema.sparse, row[2], strict=True)
    ]
    return row[0], row[1], tuple(cells)


def folded(row: Row, schema: Schema, tables: Mapping[str, Table]) -> tuple[Any, ...]:
    """Return a log's row as `decode` must: `...` stands for a value without an id.

    Of values that share an id, the first by access rank stands for all.
    """
    first: dict[str, dict[int, Any]] = {
        name: {table.ids[value]: value for value in reversed(table.values)}
        for name, table in tables.items()
    }

    def known(table: str, value: Any) -> Any:
        ids = tables[table].ids
        return first[table][ids[value]] if value in ids else ...

    cells = [
        tuple(known(column.table_name, value) for value in row[column.name])
        if column.multi
        else known(column.table_name, row[column.name])
        for column in schema.sparse
    ]
    return row["label"], tuple(row[c.name] for c in schema.dense), tuple(cells)
