"""Ids and hot sets before and after logs were added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fae.appending.drift import Drift
from fae.cli.printing import print_dataset
from fae.dataset.encoder import Encoder
from fae.dataset.verify import verify
from fae.execution.executor import Executor
from fae.format.manifest import Manifest
from fae.storage.folder import Folder
from tests.support.shop_days import NEWS, added
from tests.support.small_logs import SHOP, SHOP_BUDGET, SHOP_LOG, written


def test_the_mapping_leads_each_old_id_to_the_same_value(tmp_path: Path, day: list[str]) -> None:
    out = tmp_path / "added"
    before = Manifest.read(out)
    old = {t.name: pl.read_parquet(out / t.vocabulary.path) for t in before.tables}
    manifest = added(day[1:], SHOP, out, min_count={"city": 5})
    for table in before.tables:
        mapping = pl.read_parquet(out / "mapping" / f"{table.name}.parquet")
        assert mapping.schema == {"old": pl.Int32(), "new": pl.Int32(), "accesses": pl.Int64()}
        assert mapping["old"].to_list() == list(range(table.rows))
        now = pl.read_parquet(out / manifest.table(table.name).vocabulary.path)
        ids = dict(zip(now["value"], now["id"], strict=True))
        expected = [0, *(ids.get(value, 0) for value in old[table.name]["value"])]
        assert mapping["new"].to_list() == expected
        assert mapping["accesses"].to_list() == [0, *old[table.name]["accesses"]]
    cities = pl.read_parquet(out / "mapping" / "city.parquet")
    assert 0 in cities["new"].to_list()[1:]  # Rome is folded now
    records = {record.path: record for record in manifest.records}
    assert records["mapping/city.parquet"].rows == before.table("city").rows
    (out / "mapping" / "city.parquet").write_bytes(b"damaged")
    assert verify(out, Executor(1)).faults != ()


def test_an_encoder_keeps_the_ids_of_the_data_set_that_it_read(
    tmp_path: Path, day: list[str]
) -> None:
    encoder = Encoder(tmp_path / "added")
    written(tmp_path, {"day1.csv": NEWS})
    added(day[1:], SHOP, tmp_path / "added", valid="0", test="0")
    row = [{"city": "Rome", "item": 20}]
    now = Encoder(tmp_path / "added").encode(row)
    assert encoder.encode(row)["item"].to_list() == [0]
    assert now["item"].to_list() != [0]


@pytest.mark.parametrize(
    ("given", "train_rows"),
    [({}, 12), ({"cold_ids": "hashed", "cold_buckets": 1}, 12), ({"test": "0.25"}, 7)],
)
def test_drift_counts_what_each_hot_set_covers(
    tmp_path: Path, day: list[str], given: dict[str, Any], train_rows: int
) -> None:
    out = tmp_path / "added"
    written(tmp_path, {"day1.csv": NEWS})
    before = Manifest.read(out)
    hot_before = hot_values(out, before)
    manifest = added(day[1:], SHOP, out, **{"valid": "0", "test": "0", **given})
    assert any(table.hashed for table in manifest.tables) == ("cold_ids" in given)
    drift = Drift.read(Folder.of(out), manifest)
    assert drift is not None
    assert (drift.former, drift.budget) == (before.fingerprint, SHOP_BUDGET)
    sets = (hot_before, hot_values(out, manifest))
    new = NEWS.splitlines()[1:]
    for lines, coverage in (
        (new, drift.new_rows),
        (new[:train_rows], drift.new_train_rows),
        (new[train_rows:], drift.new_held_out_rows),
        (SHOP_LOG.splitlines()[1:11] + new, drift.all_rows),
    ):
        assert coverage is not None
        accesses = [touched(line) for line in lines]
        assert coverage.inputs == len(lines)
        assert coverage.accesses == sum(len(one) for one in accesses)
        for hot, worth in zip(sets, (coverage.former, coverage.now), strict=True):
            assert worth.inputs == sum(one <= hot for one in map(set, accesses))
            assert worth.accesses == sum(access in hot for one in accesses for access in one)
    for table in drift.tables:
        was, now = ({v for name, v in hot if name == table.name} for hot in sets)
        assert (table.entered, table.left) == (len(now - was), len(was - now))
        assert (table.former_hot_rows, table.hot_rows) == (len(was) + 1, len(now) + 1)
    assert sum(table.entered for table in drift.tables) > 0


def hot_values(dataset: Path, manifest: Manifest) -> set[tuple[str, Any]]:
    """Table and raw value of each hot row; out of vocabulary has none."""
    return {
        (table.name, value)
        for table in manifest.tables
        for value in pl.read_parquet(dataset / table.vocabulary.path)["value"][: table.hot_rows - 1]
    }


def touched(line: str) -> list[tuple[str, Any]]:
    """Table and raw value of each access of a line of the shop's."""
    _, _, _, _, city, item, seen = line.split(",")
    items = [int(one) for one in [item, *seen.split()]]
    return [("city", city or None), *(("item", one) for one in items)]


def test_the_summary_tells_of_the_drift(
    tmp_path: Path, day: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = added(day[1:], SHOP, tmp_path / "added")
    print_dataset(manifest, Folder.of(tmp_path / "added"))
    printed = capsys.readouterr().out
    assert "former hot set" in printed
    assert "new logs" in printed
