"""What a schema can say, one small log each: see `log_cases/`, where a case is a few lines."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import yaml

from fae.format.errors import LogError
from fae.ingestion.rejects import REJECTS_FILE, parse_rejects
from fae.ingestion.staging import Staging
from fae.logs.blocks import Block, cut_blocks
from fae.logs.files import find_logs
from fae.logs.schema import Schema
from fae.logs.schema_files import parse_schema
from tests.support.small_logs import cells, staged

CASES: dict[str, dict[str, Any]] = {
    name: case
    for path in sorted((Path(__file__).parent / "log_cases").glob("*.yaml"))
    for name, case in yaml.safe_load(path.read_text("utf-8")).items()
}


def schema_of_case(case: dict[str, Any]) -> Schema:
    return parse_schema(yaml.safe_dump({"name": "case", **case["schema"]}), "case")


def read_columns(staging: Staging) -> dict[str, list[Any]]:
    """Every staged column in the order of the lines, with the values that codes stand for."""
    sparse = {column.name for column in staging.schema.sparse}
    found: dict[str, list[Any]] = {}
    rows = 0
    for number, part in enumerate(staging.parts):
        opened = staging.open_part(number)
        for name in opened.list_columns():
            values = found.setdefault(name, [0] * rows)  # only parts with microseconds have them
            if name in sparse:
                values += cells(opened.read_codes(name), opened.read_values(name).to_pylist())
            else:
                values += opened.read_columns([name])[name].to_pylist()
        rows += part.rows
        for values in found.values():
            values += [0] * (rows - len(values))
    return found


@pytest.mark.parametrize("way", ["whole", "in blocks of a line", "compressed"])
@pytest.mark.parametrize("name", list(CASES))
def test_a_log_gives_these_rows_and_rejects(tmp_path: Path, name: str, way: str) -> None:
    case = CASES[name]
    schema = schema_of_case(case)
    data = case["log"].encode(schema.charset)
    path = tmp_path / ("log.txt.gz" if way == "compressed" else "log.txt")
    path.write_bytes(gzip.compress(data) if way == "compressed" else data)
    size = 1 if way == "in blocks of a line" else 1 << 20
    staging = staged(find_logs([str(path)], schema), schema, tmp_path / "out", block_bytes=size)
    assert read_columns(staging) == case["rows"]
    rejects = parse_rejects((tmp_path / "out" / REJECTS_FILE).read_text("utf-8").splitlines())
    found = [[reject.line, reject.column, reject.reason, reject.text] for reject in rejects]
    assert found == case.get("rejects", [])
    (log,) = staging.logs
    assert (log.rows, log.rejects) == (staging.rows, len(found))
    assert log.lines == len(data.splitlines()) - schema.skip_lines - schema.header


def test_an_open_quote_does_not_swallow_the_log(tmp_path: Path) -> None:
    case = {**CASES["line breaks between quotes"]}
    schema = schema_of_case(case)
    path = tmp_path / "log.txt"
    path.write_text('y,text\n1,a\n1,"open\n' + "1,b\n" * 100_000)
    with pytest.raises(LogError, match=r"log\.txt, line 3: a quote that begins here"):
        staged(find_logs([str(path)], schema), schema, tmp_path / "out")


def test_a_log_whose_records_hold_line_breaks_is_one_block(tmp_path: Path) -> None:
    schema = schema_of_case(CASES["line breaks between quotes"])
    path = tmp_path / "log.txt"
    path.write_text('y,text\n1,"a\nb"\n' * 9)
    (log,) = find_logs([str(path)], schema)
    assert cut_blocks(log, 1) == [Block(log, log.start, -1)]
