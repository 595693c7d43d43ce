"""The shuffle: every row once, in its leaf, in an order that does not depend on the parts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from fae.dataset.parameters import PartitionParameters
from fae.dataset.shuffle import rounds
from fae.dataset.stage import write_dataset
from fae.execution.executor import Executor
from fae.format.errors import DatasetError
from fae.format.integrity import describe_file
from fae.logs.files import find_logs
from tests.support import oracle
from tests.support.small_logs import (
    LABEL,
    SHOP,
    SHOP_BUDGET,
    SHOP_LOG,
    Stages,
    digests,
    leaf_rows,
    schema_of,
    stages,
    written,
)

CITY = {"name": "city", "role": "sparse"}


def test_the_twenty_rows_are_in_the_leaves_that_an_eye_finds(shop: Stages) -> None:
    leaves = leaf_rows(shop.dataset, shop.manifest, SHOP)
    one, two = float(np.float32(np.log(2))), float(np.float32(np.log(3)))
    nine, five = float(np.float32(np.log(10))), float(np.float32(np.log(6)))
    # Rows e, f, i, j, m and p: a cold item (3, 9) or a cold city (missing, Bonn, Lima).
    assert Counter(leaves["train", "cold"]) == Counter(
        [
            (0, (one,), (1, 3, (1,))),
            (1, (one,), (3, 1, ())),
            (1, (nine,), (1, 3, ())),
            (0, (nine,), (4, 1, (3,))),
            (0, (one,), (3, 3, ())),
            (0, (five,), (5, 4, ())),
        ]
    )
    assert (0, (two,), (2, 2, (2,))) in leaves["train", "hot"]
    assert leaves["valid", "cold"] == leaves["test", "cold"] == []
    assert Counter(ids for _, _, ids in leaves["valid", "hot"]) == Counter(
        [(1, 1, (2,)), (0, 1, ())]
    )
    assert Counter(ids for _, _, ids in leaves["test", "hot"]) == Counter(
        [(1, 0, (1, 0)), (1, 1, ())]
    )


def test_rows_are_in_the_order_of_their_keys(shop: Stages) -> None:
    options = oracle.Options(budget=SHOP_BUDGET)
    right = oracle.prepare([SHOP_LOG.encode()], [None], SHOP, options)
    assert leaf_rows(shop.dataset, shop.manifest, SHOP) == right.leaves


def test_a_leaf_without_rows_has_no_file(shop: Stages) -> None:
    leaf = shop.manifest.splits["valid"]["cold"]
    assert (leaf.rows, leaf.files) == (0, ())
    assert not (shop.dataset / "split=valid" / "temperature=cold").exists()


def test_files_have_the_columns_and_types_of_the_contract(shop: Stages) -> None:
    for file in (f for leaf in shop.manifest.splits["train"].values() for f in leaf.files):
        parquet = pq.ParquetFile(shop.dataset / file.path)
        types = {field.name: str(field.type) for field in parquet.schema_arrow}
        assert types == {
            "label": "int8",
            "price": "float",
            "city": "int32",
            "item": "int32",
            "seen": "list<element: int32>",
        }
        assert parquet.schema_arrow.metadata is None
        assert parquet.metadata.row_group(0).column(0).compression == "ZSTD"
        assert parquet.metadata.num_rows == file.rows


def test_nothing_but_the_data_set_is_left_behind(shop: Stages) -> None:
    names = {path.relative_to(shop.dataset).as_posix() for path in shop.dataset.rglob("*")}
    assert names == {
        "_SUCCESS",
        "curve.csv",
        "manifest.json",
        "rejects",
        "rejects/rejects.jsonl",
        "split=test",
        "split=test/temperature=hot",
        "split=test/temperature=hot/part-00000.parquet",
        "split=train",
        "split=train/temperature=cold",
        "split=train/temperature=cold/part-00000.parquet",
        "split=train/temperature=hot",
        "split=train/temperature=hot/part-00000.parquet",
        "split=valid",
        "split=valid/temperature=hot",
        "split=valid/temperature=hot/part-00000.parquet",
        "vocabulary",
        "vocabulary/city.parquet",
        "vocabulary/item.parquet",
    }


@pytest.mark.parametrize(
    ("blocks", "scattered_files"), [((1 << 20, 64), 1 << 11), ((100, 1000), 2)]
)
def test_a_leaf_of_many_files_and_row_groups_is_one_shuffle(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    blocks: tuple[int, int],
    scattered_files: int,
) -> None:
    monkeypatch.setattr(rounds, "MAX_SCATTERED_FILES", scattered_files)
    monkeypatch.setattr(rounds, "ROWS_PER_FILE", 50)
    monkeypatch.setattr(rounds, "ROWS_PER_ROW_GROUP", 16)
    schema = schema_of([LABEL, CITY, {"name": "n", "role": "sparse", "encoding": "integer"}])
    log = "".join(f"{i % 2},{'ab'[i % 2]},{i}\n" for i in range(400))
    found = find_logs(written(tmp_path, {"a.txt": log}), schema)
    options = oracle.Options(budget=20 * 150, valid="0", test="0.1")
    made = [
        stages(found, schema, tmp_path / str(block), options, block_bytes=block) for block in blocks
    ]
    assert ("rescatter: " in capsys.readouterr().err) == (scattered_files == 2)
    assert digests(made[0].dataset) == digests(made[1].dataset)
    leaf = made[0].manifest.splits["train"]["cold"]
    assert len(leaf.files) == -(-leaf.rows // 50) > 3
    for number, file in enumerate(leaf.files):
        assert file.path.endswith(f"split=train/temperature=cold/part-{number:05d}.parquet")
        metadata = pq.ParquetFile(made[0].dataset / file.path).metadata
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        assert sizes == [16] * (file.rows // 16) + [file.rows % 16] * (file.rows % 16 > 0)
    right = oracle.prepare([log.encode()], [None], schema, options)
    assert leaf_rows(made[0].dataset, made[0].manifest, schema) == right.leaves


@pytest.mark.parametrize(
    ("parts", "together", "scattered_files"), [(1, 100, 1), (4, 16, 3), (1, 3, 1), (5, 1, 2)]
)
def test_parts_scattered_in_any_number_of_files_and_rounds_give_the_same_bytes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shop: Stages,
    parts: int,
    together: int,
    scattered_files: int,
) -> None:
    monkeypatch.setattr(rounds, "MAX_SCATTERED_FILES", scattered_files)
    monkeypatch.setattr(rounds, "_SCATTER_TASKS", parts)
    monkeypatch.setattr(rounds, "_MAX_PARTS_PER_TASK", together)
    found = find_logs(written(tmp_path, {"shop.csv": SHOP_LOG}), SHOP)
    options = oracle.Options(budget=SHOP_BUDGET)
    made = stages(found, SHOP, tmp_path, options, block_bytes=64)
    assert len(made.staging.parts) == 5
    assert digests(made.dataset) == digests(shop.dataset)


def test_a_shuffle_is_full_across_the_log(tmp_path: Path) -> None:
    schema = schema_of([LABEL, {"name": "n", "role": "sparse", "encoding": "integer"}])
    rows = 2000
    log = "".join(f"1,{i}\n" for i in range(rows))
    found = find_logs(written(tmp_path, {"a.txt": log}), schema)
    made = stages(found, schema, tmp_path, oracle.Options(budget=10**6, valid="0", test="0"))
    # Every value once: by value its rank is its place in the log.
    order = [ids[0] for _, _, ids in leaf_rows(made.dataset, made.manifest, schema)["train", "hot"]]
    assert sorted(order) == list(range(1, rows + 1))
    correlation = np.corrcoef(order, np.arange(rows))[0, 1]
    assert abs(correlation) < 0.1


def test_hot_rows_have_hot_ids_only_and_cold_rows_a_cold_one(shop: Stages) -> None:
    hot_rows = {table.name: table.hot_rows for table in shop.manifest.tables}
    hot, cold = (
        pl.read_parquet(
            shop.dataset / f"split=train/temperature={kind}/*.parquet", hive_partitioning=False
        )
        for kind in ("hot", "cold")
    )
    is_hot = (
        (pl.col("city") < hot_rows["city"])
        & (pl.col("item") < hot_rows["item"])
        & pl.col("seen").list.eval(pl.element() < hot_rows["item"]).list.all()
    )
    assert hot.select(is_hot).to_series().to_list() == [True] * 10
    assert cold.select(is_hot).to_series().to_list() == [False] * 6


def test_outputs_of_other_stages_are_refused(shop: Stages, tmp_path: Path) -> None:
    log = "".join(SHOP_LOG.splitlines(keepends=True)[:15])
    found = find_logs(written(tmp_path, {"other.csv": log}), SHOP)
    other = stages(found, SHOP, tmp_path, oracle.Options(budget=SHOP_BUDGET))
    for mixed in [
        (other.staging, shop.frequencies, shop.hot_set),
        (shop.staging, other.frequencies, shop.hot_set),
        (shop.staging, shop.frequencies, other.hot_set),
    ]:
        with pytest.raises(DatasetError):
            write_dataset(*mixed, tmp_path / "out", Executor(1), PartitionParameters.of())
        assert not (tmp_path / "out").exists()


def test_a_files_entry_is_its_size_and_sha256(tmp_path: Path) -> None:
    written(tmp_path, {"a/b.txt": b"abc"})
    entry = describe_file(tmp_path / "a/b.txt", "a/b.txt", 7)
    assert (entry.path, entry.rows, entry.bytes) == ("a/b.txt", 7, 3)
    assert entry.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
