"""Random small logs of random schemas, for properties that hold of every log."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import settings
from hypothesis import strategies as st

from fae.logs.files import Log, find_logs
from fae.logs.schema import Schema
from tests.support.oracle import Options, row_price
from tests.support.small_logs import written

#: Few values, so that they recur; several spellings of one value; the extremes.
VALUES = {
    "hex2": ["00", "0a", "0A", "ff", "Ff", "7b", ""],
    "hex": ["0", "a", "0a", "A", "ffffffffffffffff", "123456789abcdef0", ""],
    "integer": [
        "1",
        "1.0",
        "01",
        "-5",
        "0",
        "9223372036854775807",
        "-9223372036854775808",
        " 1",
        "",
    ],
    "string": ["a", "b", "A", "a b", " a", "é", "日本", "-", "null", "0", ""],
}
NUMBERS = ["0", "1", "2.5", "-3", "1e3", "+4", ".5", "7.", "100000", ""]
BAD = {
    "label": ["2", "", "x", "-1", "nan"],
    "dense": ["x", "nan", "NaN", "inf", "1e400", "-inf", "1,5x", "0x10"],
    "hex2": ["zz", "123", "1", "+1"],
    "hex": ["g", "11111111111111111", "-1", "0x1"],
    "integer": ["x", "1.5", "9223372036854775808", "1e3", "1 1"],
    "time": ["", "soon", "99999999999999999999", "1700049600000"],
}

#: For properties whose every example is a whole preparation: a sixth of the usual examples.
FEW_EXAMPLES = settings(max_examples=settings().max_examples // 6)


@dataclass(frozen=True)
class File:
    """One log: its bytes as they are on disk and unpacked, and the split that it is given for."""

    name: str
    stored: bytes
    plain: bytes
    split: str | None


@dataclass(frozen=True)
class RandomLog:
    """Files of one schema, and the options to prepare them with."""

    schema: Schema
    files: tuple[File, ...]
    options: Options

    def find(self, directory: Path) -> list[Log]:
        """Write the logs below `directory` and find them, in order."""
        paths = written(directory, {file.name: file.stored for file in self.files})
        return [
            log
            for path, file in zip(paths, self.files, strict=True)
            for log in find_logs([path], self.schema, file.split)
        ]


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """Any mixture of columns, in any order, with tables of several columns and dims."""
    separator = draw(st.sampled_from("\t,|"))
    tables = []
    for name in ["one", "two", "three"][: draw(st.integers(1, 3))]:
        kind = draw(st.sampled_from(sorted(VALUES)))
        encoding = {"encoding": kind.removesuffix("2")}
        if kind == "hex2":
            encoding["digits"] = 2
        if dim := draw(st.sampled_from([None, 1, 4])):
            encoding["dim"] = dim
        tables.append({"table": name, **encoding})
    columns: list[dict[str, Any]] = [{"name": "click", "role": "label"}]
    for number in range(draw(st.integers(0, 2))):
        transform = draw(st.sampled_from(["none", "log1p"]))
        missing = draw(st.sampled_from([0, -1, 2.5]))
        columns.append(
            {"name": f"d{number}", "role": "dense", "transform": transform, "missing": missing}
        )
    for number in range(draw(st.integers(1, 4))):
        column = {"name": f"c{number}", "role": "sparse", **draw(st.sampled_from(tables))}
        if draw(st.booleans()):
            column["multi"] = {"separator": ";"}
            if draw(st.booleans()):
                column["multi"]["max_length"] = 2
        columns.append(column)
    if draw(st.booleans()):
        columns.append({"name": "extra", "role": "drop"})
    derived = []
    if draw(st.booleans()):
        form = draw(st.sampled_from(["unix", "%y%m%d%H"]))
        columns.append({"name": "when", "role": "time", "format": form})
        names = draw(st.lists(st.sampled_from(["hour_of_day", "day_of_week"]), unique=True))
        made = {"role": "sparse", "encoding": "integer", "source": "when"}
        derived = [{"name": name, "derive": name, **made} for name in names]
    return Schema.model_validate(
        {
            "name": "random",
            "separator": separator,
            "header": draw(st.booleans()),
            "quote": draw(st.sampled_from([None, '"'])),
            "embedding": {"dim": 2},
            "columns": [*draw(st.permutations(columns)), *derived],
        }
    )


def kind_of(column: Any) -> str:
    """Return the key of a column's values in VALUES or BAD."""
    if column.role != "sparse":
        return str(column.role)
    return "hex2" if column.digits else str(column.encoding)


def good_value(draw: st.DrawFn, column: Any, quoted: bool) -> str:
    """Draw a valid text of a column; it has separators only if it will be quoted."""
    if column.role == "label":
        return draw(st.sampled_from(["0", "1", "1.0"]))
    if column.role == "dense":
        return draw(st.sampled_from(NUMBERS))
    if column.role == "drop":
        return draw(st.sampled_from(["", "x", "7"]))
    if column.role == "time":
        day, hour = draw(st.integers(1, 4)), draw(st.sampled_from([0, 7, 23]))
        if column.format != "unix":
            return f"1410{day:02}{hour:02}"
        return f"{day * 86_400 + hour}{draw(st.sampled_from(['', '', '.0', '.25', '.5']))}"
    values = VALUES[kind_of(column)]
    if column.multi is not None:
        return ";".join(draw(st.lists(st.sampled_from(values), max_size=4)))
    if kind_of(column) == "string" and quoted:
        values = [*values, "a,b|\tc", 'say "a"']
    return draw(st.sampled_from(values))


@st.composite
def lines(draw: st.DrawFn, schema: Schema, order: list[Any]) -> bytes:
    """One line: mostly right, sometimes malformed in one of all ways."""
    quoted = [schema.quote is not None and draw(st.booleans()) for _ in order]
    cells = [good_value(draw, column, q) for column, q in zip(order, quoted, strict=True)]
    fault = draw(st.sampled_from([None] * 12 + ["value", "few", "many", "utf8", "nul", "empty"]))
    if fault == "empty":
        return b""
    if fault == "value":
        place = draw(st.sampled_from([i for i, c in enumerate(order) if kind_of(c) in BAD]))
        cells[place] = draw(st.sampled_from(BAD[kind_of(order[place])]))
    if schema.quote is not None:
        cells = [
            '"' + cell.replace('"', '""') + '"' if q else cell
            for cell, q in zip(cells, quoted, strict=True)
        ]
    if fault == "few":
        cells.pop()
    if fault == "many":
        cells.append("x")
    line = schema.separator.join(cells).encode()
    if fault in ("utf8", "nul"):
        at = draw(st.integers(0, len(line)))
        line = line[:at] + (b"\xff" if fault == "utf8" else b"\0") + line[at:]
    return line


@st.composite
def logs(draw: st.DrawFn) -> RandomLog:
    """One to three files, plain or packed, with at least one row of each split given."""
    schema = draw(schemas())
    files = []
    for number in range(draw(st.integers(1, 3))):
        order: list[Any] = list(schema.fields)
        data = b""
        if schema.header:
            order = draw(st.permutations(order))
            data = schema.separator.join(column.name for column in order).encode() + b"\n"
        if draw(st.integers(0, 9)) == 0:
            data = b"\xef\xbb\xbf" + data
        body = draw(st.lists(lines(schema, order), min_size=1, max_size=12))
        split = draw(st.sampled_from([None, None, "valid", "test"])) if number else None
        if number == 0 or split:
            first = [good_value(draw, column, False) for column in order]
            body.insert(0, schema.separator.join(first).encode())
        ends = draw(st.lists(st.sampled_from([b"\n", b"\r\n"]), min_size=1, max_size=3))
        for i, line in enumerate(body):
            data += line + ends[i % len(ends)]
        if draw(st.booleans()) and len(body) > 1:
            data = data.removesuffix(b"\n").removesuffix(b"\r")
        packed = draw(st.sampled_from(["", "", ".gz", ".zst"]))
        stored = data
        if packed == ".gz":
            stored = gzip.compress(data, mtime=0)
        elif packed == ".zst":
            stored = pa.compress(data, codec="zstd", asbytes=True)
        files.append(File(f"log{number}.txt{packed}", stored, data, split))
    shares = ["0", "0.1", "0.25"] + (["1d"] if schema.time else [])
    seed = draw(st.sampled_from([0, 1, 2**63 - 1]))
    dtype = draw(st.sampled_from(["float32", "float16"]))
    optimizer = draw(st.sampled_from(["sgd", "rowwise_adagrad", "adam"]))
    least = sum(
        row_price(schema.dim(columns[0]), dtype, optimizer) for columns in schema.tables.values()
    )
    spare = draw(st.integers(0, 400) | st.sampled_from([0, 100_000]))
    counts = st.sampled_from([{}, {}, {"": 2}, {next(iter(schema.tables)): 3}])
    options = Options(
        budget=least + spare,
        valid=draw(st.sampled_from(shares)),
        test=draw(st.sampled_from(shares)),
        min_count=draw(counts),
        sample=draw(st.sampled_from([1.0, 1.0, 0.5])),
        seed=seed,
        dtype=dtype,
        optimizer=optimizer,
        cold_buckets=draw(st.sampled_from([0, 0, 1, 2, 4])),
    )
    return RandomLog(schema, tuple(files), options)
