"""Faulty logs and their outcomes, which docs/faulty-input.md lists."""

from __future__ import annotations

import gzip
import io
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fae.logs.schema import Schema
from tests.support.small_logs import LABEL, schema_of, written

PRICE = {"name": "price", "role": "dense", "transform": "none"}
CITY = {"name": "city", "role": "sparse"}
ITEM = {"name": "item", "role": "sparse", "encoding": "integer"}
KIND = {"name": "kind", "role": "sparse", "encoding": "hex", "digits": 4}
TIME = {"name": "at", "role": "time"}
PLAIN = schema_of([LABEL, CITY])
HEADED = schema_of([LABEL, CITY], header=True)
QUOTED = schema_of([LABEL, CITY], quote='"')
PRICED = schema_of([LABEL, PRICE, CITY])
ITEMS = schema_of([LABEL, ITEM])
KINDS = schema_of([LABEL, KIND])
TIMED = schema_of([LABEL, CITY, TIME])
WIDE = schema_of([LABEL, CITY, {"name": "id", "role": "drop"}])

ROWS = [(1, "Oslo"), (0, "Rome"), (1, "Bonn")]
LINES = b"1,Oslo\n0,Rome\n1,Bonn\n"
Reject = tuple[str, int, str | None, str]
NO_LABEL, NO_NUMBER = "the label is not 0 or 1", "not a finite number"
NO_INTEGER, NO_HEX = "not a 64-bit integer", "not 4 hexadecimal digits"
NUL, EMPTY, UNCLOSED = "a NUL byte", "the line is empty", "a quote is not closed on its line"
HUGE = 110_000_000


@dataclass(frozen=True)
class Hostile:
    """Files below one directory, and what preparing them gives: `rows`, or the error `refused`.

    `rejects` are (file, line, column, reason). `patterns` name the logs, by default all files.
    `then` changes the directory after the logs were found and before they are read.
    """

    name: str
    files: Mapping[str, bytes] | Callable[[Path], None]
    rows: list[tuple[Any, ...]] | None = None
    rejects: tuple[Reject, ...] = ()
    refused: str = ""
    schema: Schema = PLAIN
    patterns: tuple[str, ...] = ("*",)
    then: Callable[[Path], None] | None = None

    def write(self, directory: Path) -> list[str]:
        """Write the files below `directory`, and return the paths and globs of the logs."""
        directory.mkdir(parents=True, exist_ok=True)
        if callable(self.files):
            self.files(directory)
        else:
            written(directory, self.files)
        return [f"{directory}/{pattern}" for pattern in self.patterns]

    @property
    def outcome(self) -> str:
        """The outcome as the table has it."""
        if self.rows is None:
            return f"error: “{self.refused}”"
        count = f"{len(self.rows):,} row" + "s" * (len(self.rows) != 1)
        reasons = Counter(
            f"{column}: {reason}" if column else reason for *_, column, reason in self.rejects
        )
        rejected = ", ".join(f"{reason} ({n})" for reason, n in reasons.items())
        return f"{count}; rejected: {rejected}" if rejected else count


def table() -> str:
    """Return the corpus as the table of docs/faulty-input.md."""
    rows = [f"| {case.name} | {case.outcome} |" for case in CORPUS]
    return "\n".join(["| Log | Outcome |", "| --- | --- |", *rows, ""])


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def rejected(reason: str, *lines: int, column: str | None = None, file: str = "a.csv") -> Any:
    return tuple((file, line, column, reason) for line in lines)


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    with io.BytesIO() as file:
        pq.write_table(pa.table(columns), file, **options)
        return file.getvalue()


def bomb(lines: int, line: bytes = b"1,Oslo\n") -> bytes:
    """Return much text in few bytes."""
    return gzip.compress(line * 1000, 9) * (lines // 1000)


def looped(directory: Path) -> None:
    (directory / "a.csv").symlink_to("b.csv")
    (directory / "b.csv").symlink_to("a.csv")


def linked(directory: Path) -> None:
    written(directory, {"a.csv": LINES})
    (directory / "b.csv").symlink_to("a.csv")


def with_folder(directory: Path) -> None:
    written(directory, {"a.csv": LINES, "more/b.csv": LINES})


def undecodable(directory: Path) -> None:
    (directory / os.fsdecode(b"a\xff.csv")).write_bytes(LINES + b"x\n")


def fifo(directory: Path) -> None:
    os.mkfifo(directory / "a.csv")


def gone(directory: Path) -> None:
    (directory / "a.csv").unlink()


def grown(directory: Path, name: str = "a.csv") -> None:
    path = directory / name
    more = LINES if name == "a.csv" else gzip.compress(LINES)
    path.write_bytes(path.read_bytes() + more)


def shrunk(directory: Path) -> None:
    (directory / "a.csv").write_bytes(LINES[:9])


DISTINCT = [(n % 2, f"c{n}") for n in range(200_000)]
FLIPPED = parquet(
    {"label": [1, 0], "city": ["Oslo", "Rome"]},
    write_page_checksum=True,
    compression="none",
    use_dictionary=False,
    write_statistics=False,
).replace(b"Oslo", b"Osln")
_LATIN = pa.array([b"K\xf8ge"], pa.binary())
NOT_UTF8 = parquet({"label": [1], "city": pa.StringArray.from_buffers(1, *_LATIN.buffers()[1:])})
#: In the footer's Arrow schema: a valid width of integers, and an invalid one.
STRANGE_INTEGERS = (b"gADAAIAA", b"gADAAMAA")
PARQUET = parquet({"label": [1, 0, 1], "city": ["Oslo", "Rome", "Bonn"]})

CORPUS = [
    # ── Compression ──
    Hostile("gzip, truncated", {"a.csv.gz": gzip.compress(LINES)[:-9]},
            refused="a.csv.gz is damaged or truncated"),
    Hostile("gzip without its last 8 bytes (checksum and size)",
            {"a.csv.gz": gzip.compress(LINES)[:-8]}, refused="a.csv.gz is damaged or truncated"),
    Hostile("gzip with a wrong checksum",
            {"a.csv.gz": gzip.compress(LINES)[:-8] + b"\0\0\0\0" + gzip.compress(LINES)[-4:]},
            refused="a.csv.gz is damaged or truncated"),
    Hostile("gzip followed by garbage", {"a.csv.gz": gzip.compress(LINES) + b"garbage"},
            refused="a.csv.gz is damaged or truncated"),
    Hostile("concatenated gzip members, split inside a line",
            {"a.csv.gz": gzip.compress(LINES[:10]) + gzip.compress(LINES[10:])}, ROWS),
    Hostile("concatenated gzip members, the second truncated",
            {"a.csv.gz": gzip.compress(LINES) + gzip.compress(LINES)[:-5]},
            refused="a.csv.gz is damaged or truncated"),
    Hostile("gzip of an empty file", {"a.csv.gz": gzip.compress(b"")},
            refused="the logs hold no rows"),
    Hostile("zstd, truncated", {"a.csv.zst": zstd(LINES * 1000)[:-4]},
            refused="a.csv.zst is damaged or truncated"),
    Hostile("zstd followed by garbage", {"a.csv.zst": zstd(LINES) + b"garbage"},
            refused="a.csv.zst is damaged or truncated"),
    Hostile("plain text named .gz", {"a.csv.gz": LINES},
            refused="a.csv.gz is damaged or truncated"),
    Hostile("gzip not named .gz", {"a.csv": gzip.compress(LINES)},
            refused="a.csv is gzip-compressed; rename it to end in .gz"),
    Hostile("zstd not named .zst", {"a.csv": zstd(LINES)},
            refused="a.csv is zstd-compressed; rename it to end in .zst"),
    Hostile("gzip in gzip", {"a.csv.gz": gzip.compress(gzip.compress(LINES))},
            refused="the data in a.csv.gz is gzip-compressed; decompress the file first"),
    Hostile("a zip archive", {"a.csv": b"PK\x03\x04" + b"\0" * 40},
            refused="a.csv is a zip archive; extract it"),
    Hostile("bzip2", {"a.csv": b"BZh91AY&SY" + b"\0" * 40}, refused="a.csv is bzip2-compressed"),
    Hostile("xz", {"a.csv": b"\xfd7zXZ\0" + b"\0" * 40}, refused="a.csv is xz-compressed"),
    Hostile("decompression bomb: 500,000 lines in 20 kB of gzip", {"a.csv.gz": bomb(500_000)},
            [(1, "Oslo")] * 500_000),
    Hostile("decompression bomb: a line of 1 GB in 1 MB of gzip",
            {"a.csv.gz": bomb(1_000_000, b"x" * 1000)},
            refused="a.csv.gz has a line of more than 64 MiB"),
    # ── Bytes ──
    Hostile("a line of 110 MB between others",
            lambda directory: written(
                directory, {"a.csv": LINES + b"1," + b"x" * HUGE + b"\n" + LINES}),
            refused="a.csv has a line of more than 64 MiB, at byte 33,554,432"),
    Hostile("a header of 110 MB",
            lambda directory: written(directory, {"a.csv": b"x" * HUGE}), schema=HEADED,
            refused="a.csv has a line of more than 64 MiB"),
    Hostile("NUL bytes in a line", {"a.csv": LINES + b"1,Os\0lo\n"}, ROWS, rejected(NUL, 4)),
    Hostile("a file of NUL bytes, as a system crash can leave one",
            {"a.csv": LINES, "b.csv": b"\0" * 4096}, ROWS, rejected(NUL, 1, file="b.csv")),
    Hostile("a byte order mark", {"a.csv": b"\xef\xbb\xbf" + LINES}, ROWS),
    Hostile("a byte order mark before a header", {"a.csv": b"\xef\xbb\xbflabel,city\n" + LINES},
            ROWS, schema=HEADED),
    Hostile("concatenated files with byte order marks", {"a.csv": LINES + b"\xef\xbb\xbf" + LINES},
            ROWS + ROWS[1:], rejected(NO_LABEL, 4, column="label")),
    Hostile("UTF-16 with a byte order mark", {"a.csv": LINES.decode().encode("utf-16")},
            refused="a.csv is UTF-16. Convert it"),
    Hostile("UTF-16 without a byte order mark", {"a.csv": LINES.decode().encode("utf-16-le")},
            refused="the logs hold no rows"),
    Hostile("Latin-1", {"a.csv": LINES + "0,Köln\n".encode("latin-1")}, ROWS,
            rejected("not UTF-8 at byte 4", 4)),
    Hostile("a header that is not UTF-8", {"a.csv": b"label,cit\xff\n" + LINES}, schema=HEADED,
            refused="a.csv, line 1: the header is not UTF-8"),
    # ── Lines ──
    Hostile("CRLF and LF line endings mixed", {"a.csv": b"1,Oslo\r\n0,Rome\n1,Bonn\r\n"}, ROWS),
    Hostile("CR line endings", {"a.csv": LINES.replace(b"\n", b"\r")},
            refused="the logs hold no rows"),
    Hostile("no line break at the end of the file", {"a.csv": LINES[:-1]}, ROWS),
    Hostile("empty lines", {"a.csv": LINES + b"\n\n" + LINES}, ROWS * 2, rejected(EMPTY, 4, 5)),
    Hostile("an unclosed quote", {"a.csv": b'1,"Oslo\n' + LINES}, ROWS, rejected(UNCLOSED, 1),
            schema=QUOTED),
    Hostile("a line break inside quotes (a record is one line)",
            {"a.csv": LINES + b'1,"New\nYork"\n'}, ROWS,
            (*rejected(UNCLOSED, 4), *rejected("1 fields, not 2", 5)), schema=QUOTED),
    Hostile("quotes where the schema has none", {"a.csv": b'1,"Oslo"\n'}, [(1, '"Oslo"')]),
    Hostile("another separator than the schema's", {"a.csv": LINES.replace(b",", b";")},
            refused="One column where 2 are expected; is it separated by ';'?"),
    Hostile("another separator in one line", {"a.csv": LINES + b"1;Oslo\n"}, ROWS,
            rejected("1 fields, not 2", 4)),
    Hostile("a field too few in one line and one too many in another",
            {"a.csv": b"1,Oslo,x\n1,Rome\n1,Bonn,x,y\n0,Kyiv,x\n"}, [(1, "Oslo"), (0, "Kyiv")],
            (*rejected("2 fields, not 3", 2), *rejected("4 fields, not 3", 3)), schema=WIDE),
    # ── Headers ──
    Hostile("a header where the schema has none", {"a.csv": b"label,city\n" + LINES}, ROWS,
            rejected(NO_LABEL, 1, column="label")),
    Hostile("no header where the schema has one", {"a.csv": LINES}, schema=HEADED,
            refused="a.csv: the header lacks label, city; found: 1, Oslo"),
    Hostile("the header again in the middle", {"a.csv": b"label,city\n" + LINES + b"label,city\n"},
            ROWS, rejected(NO_LABEL, 5, column="label"), schema=HEADED),
    Hostile("a header in each file",
            {"a.csv": b"label,city\n" + LINES, "b.csv": b"label,city\n" + LINES},
            ROWS * 2, schema=HEADED),
    Hostile("a second file with its columns in another order",
            {"a.csv": b"label,city\n" + LINES, "b.csv": b"city,label\nLima,0\n"},
            [*ROWS, (0, "Lima")], schema=HEADED),
    Hostile("a second file with another column",
            {"a.csv": b"label,city\n" + LINES, "b.csv": b"label,city,age\n1,Lima,7\n"},
            schema=HEADED, refused="b.csv: the header has age, unknown to the schema"),
    Hostile("a header that names a column twice", {"a.csv": b"label,city,city\n1,a,b\n"},
            schema=HEADED, refused="a.csv: the header contains city twice"),
    Hostile("a header without rows", {"a.csv": b"label,city\n"}, schema=HEADED,
            refused="the logs hold no rows"),
    # ── Files ──
    Hostile("an empty file", {"a.csv": b"", "b.csv": LINES}, refused="a.csv is empty (0 bytes)"),
    Hostile("one row", {"a.csv": b"1,Oslo"}, [(1, "Oslo")]),
    Hostile("a directory that a glob matches", with_folder, refused="more is a directory"),
    Hostile("a loop of symbolic links", looped, refused="no log found at"),
    Hostile("one file under two names", linked, refused="a.csv is named twice"),
    Hostile("a named pipe", fifo, refused="a.csv is not a regular file"),
    Hostile("a file name that is not UTF-8", undecodable, refused="is not UTF-8. Rename the file"),
    Hostile("a file deleted while it is read", {"a.csv": LINES}, then=gone,
            refused="a.csv disappeared while it was read"),
    Hostile("a file that grows while it is read", {"a.csv": LINES}, then=grown,
            refused="a.csv grew while it was read"),
    Hostile("a compressed file that grows while it is read", {"a.csv.gz": gzip.compress(LINES)},
            then=partial(grown, name="a.csv.gz"), refused="a.csv.gz grew while it was read"),
    Hostile("a file that shrinks while it is read", {"a.csv": LINES}, then=shrunk,
            refused="a.csv shrank while it was read"),
    # ── Values ──
    Hostile("integers beyond 64 bits",
            {"a.csv": b"1,7\n0,9223372036854775807\n0,9223372036854775808\n"
                      b"1,-9223372036854775809\n1," + b"9" * 400 + b"\n"},
            [(1, 7), (0, 2**63 - 1)], rejected(NO_INTEGER, 3, 4, 5, column="item"), schema=ITEMS),
    Hostile("negative ids", {"a.csv": b"1,-7\n0,-9223372036854775808\n"}, [(1, -7), (0, -(2**63))],
            schema=ITEMS),
    Hostile("hexadecimal ids of another length", {"a.csv": b"1,00ff\n0,ff\n0,000ff\n1,0xff\n1,\n"},
            [(1, 255), (1, None)], rejected(NO_HEX, 2, 3, 4, column="kind"), schema=KINDS),
    Hostile("NaN and infinities",
            {"a.csv": b"1,2,a\n0,nan,a\n0,NaN,a\n1,inf,a\n1,-Infinity,a\n"},
            [(1, 2.0, "a")], rejected(NO_NUMBER, 2, 3, 4, 5, column="price"), schema=PRICED),
    Hostile("numbers beyond float64 or float32",
            {"a.csv": b"1,2,a\n0,1e400,a\n0,-1e39,a\n1,1e-400,a\n"}, [(1, 2.0, "a"), (1, 0.0, "a")],
            rejected(NO_NUMBER, 2, 3, column="price"), schema=PRICED),
    Hostile("labels that are not 0 or 1",
            {"a.csv": LINES + b"2,a\n-1,a\n0.5,a\nyes,a\n,a\n"}, ROWS,
            rejected(NO_LABEL, 4, 5, 6, 7, 8, column="label")),
    Hostile("only one label", {"a.csv": b"0,Oslo\n" * 3}, [(0, "Oslo")] * 3),
    Hostile("a column without any value", {"a.csv": b"1,\n0,\n1,\n"},
            [(1, None), (0, None), (1, None)]),
    Hostile("milliseconds where the schema has seconds",
            {"a.csv": b"1,a,7258118399\n0,a,-7258118399\n1,a,1700049600000\n"},
            [(1, "a", 7258118399), (0, "a", -7258118399)],
            rejected("not a time of the years 1740 to 2199, read as seconds since 1970", 3,
                     column="at"), schema=TIMED),
    Hostile("200,000 distinct values",
            {"a.csv": b"".join(b"%d,%s\n" % (label, city.encode()) for label, city in DISTINCT)},
            DISTINCT),
    # ── Parquet ──
    Hostile("Parquet with other columns", {"a.parquet": parquet({"click": [1], "city": ["Oslo"]})},
            refused="a.parquet: the columns lack label; found: click, city"),
    Hostile("Parquet with other types", {"a.parquet": parquet({"label": [1], "city": [{"x": 1}]})},
            refused="a.parquet: column 'city' has the type Struct"),
    Hostile("Parquet with nulls and odd labels",
            {"a.parquet": parquet({"label": [1, None, 2], "city": [None, "Rome", "Bonn"]})},
            [(1, None)], rejected(NO_LABEL, 2, 3, column="label", file="a.parquet")),
    Hostile("Parquet without its footer", {"a.parquet": PARQUET[:-20]},
            refused="a.parquet is not a valid Parquet file"),
    Hostile("Parquet with damaged pages",
            {"a.parquet": PARQUET[:8] + b"\xff" * 32 + PARQUET[40:]},
            refused="a.parquet is damaged"),
    Hostile("Parquet with page checksums and a flipped bit", {"a.parquet": FLIPPED},
            refused="a.parquet is damaged"),
    Hostile("Parquet with text that is not UTF-8", {"a.parquet": NOT_UTF8},
            refused="a.parquet is damaged"),
    Hostile("Parquet with an unknown type in its footer",
            {"a.parquet": PARQUET.replace(*STRANGE_INTEGERS)},
            refused="a.parquet is not a valid Parquet file"),
    Hostile("Parquet without rows", {"a.parquet": parquet({"label": pa.array([], pa.int8()),
                                                           "city": pa.array([], pa.string())})},
            refused="the logs hold no rows"),
    Hostile("text named .parquet", {"a.parquet": LINES},
            refused="a.parquet is not a valid Parquet file"),
    Hostile("Parquet not named .parquet", {"a.csv": PARQUET},
            refused="a.csv is a Parquet file; rename it to end in .parquet"),
]  # fmt: skip
