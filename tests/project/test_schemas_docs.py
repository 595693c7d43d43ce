"""What docs/schemas.md says of histories works as it is written."""

import random
from pathlib import Path

import polars as pl
import pytest

import fae
from fae.logs.schema_files import parse_schema
from tests.support.documents import find_block
from tests.support.project import ROOT

PAGE = ROOT / "docs" / "schemas.md"
SCHEMA = """name: histories
columns:
  - {name: click, role: label}
  - {name: user, role: sparse, encoding: integer}
  - {name: time, role: time}
"""


def test_the_lines_of_polars_make_histories_that_a_schema_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = random.Random(5)
    rows = [(n % 2, rng.randrange(4), rng.randrange(200), rng.randrange(30)) for n in range(300)]
    names = ["click", "user", "time", "item"]
    pl.DataFrame(rows, schema=names, orient="row").write_csv("log.csv")
    exec(find_block(PAGE, "python", "history"), {})
    found = pl.read_parquet("log.parquet")
    assert found.select(names).rows() == rows
    histories: dict[int, list[int]] = {}
    order = sorted(range(len(rows)), key=lambda row: (rows[row][2], row))
    for row in order:
        _, user, _, item = rows[row]
        assert found["history"][row].to_list() == histories.get(user, [])[-20:]
        histories.setdefault(user, []).append(item)
    assert max(map(len, histories.values())) > 40
    schema = parse_schema(SCHEMA + find_block(PAGE, "yaml", "history"), "docs/schemas.md")
    dataset = fae.prepare("log.parquet", schema=schema, hot_budget="64KiB", out="DIR", test="0.5")
    assert sum(split.rows for split in dataset.splits.values()) == len(rows)
    features = {feature.name for feature in dataset.manifest.features.sparse}
    assert features == {"user", "item", "history"}
