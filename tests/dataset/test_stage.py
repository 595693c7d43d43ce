"""The data set: what its manifest says, and that other programs read it in one line."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

from fae.dataset.parameters import PartitionParameters
from fae.dataset.parquet import list_features
from fae.dataset.stage import write_dataset
from fae.execution.executor import Executor
from fae.format.errors import DatasetError
from fae.format.manifest import Features, Manifest, SparseFeature
from fae.logs.files import find_logs
from fae.logs.schema import Schema
from tests.support import oracle
from tests.support.small_logs import (
    SHOP,
    SHOP_BUDGET,
    SHOP_LOG,
    Stages,
    digests,
    parameters_of,
    rejects_of,
    shop_stages,
    stages,
    written,
)


def test_the_manifest_describes_the_twenty_rows(shop: Stages) -> None:
    manifest = Manifest.read(shop.dataset)
    assert manifest == shop.manifest
    assert [(t.name, t.rows, t.hot_rows, t.dim) for t in manifest.tables] == [
        ("city", 6, 3, 4),
        ("item", 5, 3, 4),
    ]
    rows = {
        split: {kind: leaf.rows for kind, leaf in leaves.items()}
        for split, leaves in manifest.splits.items()
    }
    assert rows == {
        "train": {"hot": 10, "cold": 6},
        "valid": {"hot": 2, "cold": 0},
        "test": {"hot": 2, "cold": 0},
    }
    assert manifest.seed == 0
    assert Schema.model_validate(manifest.schema) == SHOP
    assert manifest.preparation["hot_share"] == {"train": 10 / 16, "valid": 1.0, "test": 1.0}
    assert [record.path for record in manifest.records] == ["rejects/rejects.jsonl", "curve.csv"]


def test_every_file_is_in_the_manifest_with_its_checksum(shop: Stages) -> None:
    found = digests(shop.dataset)
    del found["manifest.json"], found["_SUCCESS"]
    assert {file.path: file.sha256 for file in shop.manifest.files()} == found
    for file in shop.manifest.files():
        assert (shop.dataset / file.path).stat().st_size == file.bytes


def test_success_holds_the_manifests_fingerprint_and_checksum(shop: Stages) -> None:
    fingerprint, line = (shop.dataset / "_SUCCESS").read_text().splitlines()
    assert fingerprint == shop.manifest.fingerprint
    assert line == f"{digests(shop.dataset)['manifest.json']}  manifest.json"


def test_the_manifest_is_readable_json(shop: Stages) -> None:
    document = json.loads((shop.dataset / "manifest.json").read_text(encoding="utf-8"))
    assert list(document)[:3] == ["format", "version", "fingerprint"]
    (log,) = document["preparation"]["logs"]
    assert log["name"] == "shop.csv"
    assert (log["lines"], log["rows"], log["rejects"]) == (20, 20, 0)


def test_features_are_those_of_the_schema() -> None:
    assert list_features(SHOP) == Features(
        "label",
        ("price",),
        (
            SparseFeature("city", "city", False),
            SparseFeature("item", "item", False),
            SparseFeature("seen", "item", True),
        ),
    )


def test_rejects_are_kept_with_the_data_set(tmp_path: Path) -> None:
    found = find_logs(written(tmp_path, {"shop.csv": SHOP_LOG + "u,7,1,1,Oslo,7,\n"}), SHOP)
    made = stages(found, SHOP, tmp_path, oracle.Options(budget=SHOP_BUDGET))
    (reject,) = rejects_of(made.dataset / "rejects")
    assert (reject["file"], reject["line"], reject["column"]) == ("shop.csv", 22, "click")
    assert reject["text"] == "7"
    assert made.manifest.preparation["rejects"] == {"click: the label is not 0 or 1": 1}
    assert made.manifest.records[0].rows == 1


# ── In one line each ─────────────────────────────────────────────────────────────────────────────

EXPECTED = {("train", "hot"): 10, ("train", "cold"): 6, ("valid", "hot"): 2, ("test", "hot"): 2}


def test_polars_reads_it(shop: Stages) -> None:
    frame = pl.read_parquet(f"{shop.dataset}/split=*/**/*.parquet", hive_partitioning=True)
    counts = frame.group_by("split", "temperature").len()
    assert {(split, kind): rows for split, kind, rows in counts.rows()} == EXPECTED
    assert frame["seen"].dtype == pl.List(pl.Int32())


def test_duckdb_reads_it(shop: Stages) -> None:
    source = f"read_parquet('{shop.dataset}/split=*/**/*.parquet', hive_partitioning = true)"
    query = f"select split, temperature, count(*) from {source} group by all"
    found = duckdb.sql(query).fetchall()
    assert {(split, kind): rows for split, kind, rows in found} == EXPECTED


def test_pandas_reads_it(shop: Stages) -> None:
    frame = pd.read_parquet(f"{shop.dataset}/split=train")
    assert frame.groupby("temperature", observed=True).size().to_dict() == {"hot": 10, "cold": 6}
    assert list(frame.columns) == ["label", "price", "city", "item", "seen", "temperature"]


def test_pyarrow_reads_it(shop: Stages) -> None:
    found = ds.dataset(f"{shop.dataset}/split=train", partitioning="hive")
    assert found.to_table(filter=ds.field("temperature") == "cold").num_rows == 6


# ── Again ────────────────────────────────────────────────────────────────────────────────────────


def test_a_finished_data_set_is_kept_and_another_seed_is_refused(tmp_path: Path) -> None:
    made = shop_stages(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in made.dataset.rglob("*")}
    inputs = (made.staging, made.frequencies, made.hot_set, made.dataset, Executor(1))
    seed = parameters_of(oracle.Options(budget=SHOP_BUDGET)).partition
    assert write_dataset(*inputs, seed) == made.manifest
    assert {path: path.stat().st_mtime_ns for path in made.dataset.rglob("*")} == before
    other = PartitionParameters.of(seed=1)
    with pytest.raises(DatasetError, match="--overwrite"):
        write_dataset(*inputs, other)
    assert {path: path.stat().st_mtime_ns for path in made.dataset.rglob("*")} == before
    again = write_dataset(*inputs, other, overwrite=True)
    assert again.seed == 1
    assert again.fingerprint != made.manifest.fingerprint
    assert Manifest.read(made.dataset) == again


def test_the_same_inputs_give_the_same_bytes(shop: Stages, tmp_path: Path) -> None:
    assert digests(shop_stages(tmp_path).dataset) == digests(shop.dataset)
