"""The staging as later stages read it, and its parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fae.ingestion.staging import Staging, read_log_root, write_log_root
from fae.logs.files import find_logs
from tests.support.small_logs import SHOP, SHOP_LOG, staged, written


@pytest.fixture(name="staging")
def staging_of_the_shop(tmp_path: Path) -> Staging:
    logs = find_logs(written(tmp_path, {"a.csv": SHOP_LOG}), SHOP)
    return staged(logs, SHOP, tmp_path / "staging", block_bytes=100)


def test_a_staging_is_read_back(staging: Staging) -> None:
    assert Staging.read(staging.directory) == staging
    assert staging.schema == SHOP


def test_parts_are_numbered_by_their_rows(staging: Staging) -> None:
    assert len(staging.parts) > 1
    assert staging.first_row(0) == 0
    assert staging.first_row(len(staging.parts)) == staging.rows
    for number, part in enumerate(staging.parts):
        assert staging.first_row(number + 1) - staging.first_row(number) == part.rows
        assert staging.read_order(number).size == part.rows


def test_a_buffered_part_holds_what_a_mapped_one_does(staging: Staging) -> None:
    mapped = [staging.open_part(number) for number in range(len(staging.parts))]
    for number, part in enumerate(mapped):
        buffered = staging.open_part(number, buffered=True)
        assert buffered.read_columns(["label"]).equals(part.read_columns(["label"]))
        for column in SHOP.sparse:
            codes, expected = buffered.read_codes(column.name), part.read_codes(column.name)
            rows = staging.parts[number].rows
            assert codes.codes.tolist() == expected.codes.tolist()
            assert codes.expand_rows(rows).tolist() == expected.expand_rows(rows).tolist()


def test_a_part_counts_its_values_and_how_often_each_occurs(staging: Staging) -> None:
    for number, part in enumerate(staging.parts):
        opened = staging.open_part(number)
        for column, values in zip(SHOP.sparse, part.values, strict=True):
            codes = opened.read_codes(column.name).codes.tolist()
            accesses = opened.read_accesses(column.name).tolist()
            assert accesses == [codes.count(code) for code in range(values)]
            assert len(opened.read_values(column.name)) == values
    columns = [i for i, column in enumerate(SHOP.sparse) if column.table_name == "city"]
    counted = sum(part.values[i] for part in staging.parts for i in columns)
    assert staging.count_values("city") == counted


def test_the_root_of_the_logs_is_kept_if_written(staging: Staging) -> None:
    assert read_log_root(staging.directory) is None
    write_log_root(staging.directory, "file:///logs/")
    assert read_log_root(staging.directory) == "file:///logs/"
