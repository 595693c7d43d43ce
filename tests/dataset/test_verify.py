"""Verification: a whole data set has no fault, and every kind of damage is found and named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fae.dataset.verify import Verification, verify
from fae.execution.executor import Executor
from fae.format.errors import DatasetError
from fae.format.manifest import Manifest
from fae.logs.schema_files import check_schema
from fae.storage import decoding
from fae_trainer.data.loader import HotColdLoader
from tests.support.small_logs import (
    SHOP,
    SHOP_LOG,
    Stages,
    edit_manifest,
    resigned,
    shop_stages,
)

HOT = "split=train/temperature=hot/part-00000.parquet"
COLD = "split=train/temperature=cold/part-00000.parquet"
TEST = "split=test/temperature=hot/part-00000.parquet"
CITY = "vocabulary/city.parquet"


def faults(dataset: Path) -> tuple[str, ...]:
    return verify(dataset, Executor(1)).faults


def rewritten(dataset: Path, file: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Change a Parquet file and make its size and checksum in the manifest right again."""
    frame = pl.read_parquet(dataset / file, hive_partitioning=False)
    arrow = change(frame).to_arrow()
    kept = pq.read_schema(dataset / file)
    fields = [
        kept.field(name).with_nullable(True) if name in kept.names else arrow.schema.field(name)
        for name in arrow.column_names
    ]
    pq.write_table(arrow.cast(pa.schema(fields)), dataset / file)
    resigned(dataset, file)


def put(column: str, row: int, value: Any) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """A change of one cell."""

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        values = frame[column].to_list()
        values[row] = value
        return frame.with_columns(pl.Series(column, values, frame[column].dtype))

    return change


def test_a_whole_data_set_has_no_fault(shop: Stages) -> None:
    assert verify(shop.dataset, Executor(2)) == Verification(files=8, rows=20, faults=())


def test_a_directory_without_a_data_set_is_an_error(shop: Stages, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a finished data set"):
        verify(tmp_path, Executor(1))
    with pytest.raises(DatasetError, match="not a finished data set"):
        verify(shop.staging.directory, Executor(1))


# ── Files ────────────────────────────────────────────────────────────────────────────────────────

FILES = [HOT, COLD, TEST, "split=valid/temperature=hot/part-00000.parquet", CITY]
FILES += ["vocabulary/item.parquet", "rejects/rejects.jsonl", "curve.csv"]


def test_the_files_are_these(shop: Stages) -> None:
    assert sorted(file.path for file in shop.manifest.files()) == sorted(FILES)


@pytest.mark.parametrize("file", [file for file in FILES if "rejects" not in file])
def test_a_flipped_byte_is_found_in_every_file(shop_copy: Path, file: str) -> None:
    data = bytearray((shop_copy / file).read_bytes())
    data[len(data) // 2] ^= 1
    (shop_copy / file).write_bytes(data)
    assert faults(shop_copy) == (f"{file}: its sha256 is not the manifest's",)


def test_a_file_that_polars_panics_over_is_unreadable(
    shop_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def panics(*_: object, **__: object) -> None:
        raise pl.exceptions.PanicException("index out of bounds")

    monkeypatch.setattr(pl, "read_parquet", panics)
    assert f"{CITY}: unreadable: index out of bounds" in faults(shop_copy)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_found(shop_copy: Path, file: str) -> None:
    (shop_copy / file).unlink()
    assert faults(shop_copy) == (f"{file}: missing",)


@pytest.mark.parametrize("file", FILES)
def test_a_longer_file_is_found(shop_copy: Path, file: str) -> None:
    before = (shop_copy / file).stat().st_size
    with (shop_copy / file).open("ab") as stream:
        stream.write(b"x")
    assert faults(shop_copy) == (f"{file}: {before + 1:,} bytes, not {before:,}",)


@pytest.mark.parametrize(
    "name", ["stranger.txt", "split=train/temperature=hot/part-00001.parquet", "vocabulary/x"]
)
def test_a_file_that_the_manifest_does_not_name_is_found(shop_copy: Path, name: str) -> None:
    (shop_copy / name).write_text("x")
    assert faults(shop_copy) == (f"{name}: not in the manifest",)


def test_swapped_files_are_found(shop_copy: Path) -> None:
    (shop_copy / HOT).rename(shop_copy / "aside")
    (shop_copy / COLD).rename(shop_copy / HOT)
    (shop_copy / "aside").rename(shop_copy / COLD)
    found = faults(shop_copy)
    assert len(found) == 2
    assert {fault.split(":")[0] for fault in found} == {HOT, COLD}


def test_swapped_files_are_found_even_where_the_manifest_agrees(shop_copy: Path) -> None:
    test_swapped_files_are_found(shop_copy)
    resigned(shop_copy, HOT)
    resigned(shop_copy, COLD)
    found = faults(shop_copy)
    assert any("6 rows have a cold id" in fault for fault in found)
    assert any("10 rows have no cold id" in fault for fault in found)


def test_leaves_swapped_in_the_manifest_are_found(shop: Stages, shop_copy: Path) -> None:
    hot, cold = (
        {"rows": leaf.rows, "files": [vars(file) for file in leaf.files]}
        for leaf in (shop.manifest.splits["train"][kind] for kind in ("hot", "cold"))
    )
    edit_manifest(shop_copy, "splits", "train", value={"hot": cold, "cold": hot})
    found = faults(shop_copy)
    assert f"{COLD}: the manifest lists it under train/hot" in found
    assert f"{HOT}: the manifest lists it under train/cold" in found


def test_a_truncated_file_that_the_manifest_agrees_with_is_found(shop_copy: Path) -> None:
    for file in (HOT, CITY):
        (shop_copy / file).write_bytes((shop_copy / file).read_bytes()[:-9])
        resigned(shop_copy, file)
    found = faults(shop_copy)
    for file in (HOT, CITY):
        assert any(fault.startswith(file) for fault in found)


# ── The manifest ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("keys", "value", "named"),
    [
        (("tables", 0, "rows"), 7, CITY),
        (("tables", 0, "hot_rows"), 2, "have a cold id"),
        (("tables", 1, "hot_rows"), 5, "have no cold id"),
        (("tables", 0, "vocabulary", "rows"), 4, CITY),
        (("preparation", "logs", 0, "rows"), 21, "the logs had 21 rows, but the data set has 20"),
        (("fingerprint",), "0" * 32, "_SUCCESS: does not match the fingerprint"),
        (("budget", "used_bytes"), 100, "used_bytes"),
        (("tables", 0, "dim"), 8, "used_bytes"),
        (("embedding", "optimizer"), "sgd", "used_bytes"),
        (("features", "dense"), [], HOT),
    ],
)
def test_an_edited_manifest_is_found(
    shop_copy: Path, keys: tuple[str | int, ...], value: Any, named: str
) -> None:
    edit_manifest(shop_copy, *keys, value=value)
    assert any(named in fault for fault in faults(shop_copy))


def test_edited_row_counts_are_found(shop_copy: Path) -> None:
    for keys, rows in [(("splits", "train", "hot"), 9), (("splits", "train", "cold"), 7)]:
        edit_manifest(shop_copy, *keys, "rows", value=rows)
        edit_manifest(shop_copy, *keys, "files", 0, "rows", value=rows)
    assert set(faults(shop_copy)) == {f"{HOT}: 10 rows, not 9", f"{COLD}: 6 rows, not 7"}


def test_counts_that_do_not_add_up_are_an_error(shop_copy: Path) -> None:
    edit_manifest(shop_copy, "splits", "train", "hot", "rows", value=9)
    with pytest.raises(DatasetError, match="train/hot rows differ from its files'"):
        faults(shop_copy)


def test_a_manifest_without_its_preparation_is_a_fault_or_an_error(shop_copy: Path) -> None:
    edit_manifest(shop_copy, "preparation", value={})
    try:
        found = faults(shop_copy)
    except DatasetError as error:
        found = (str(error),)
    assert any("preparation" in fault for fault in found)


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_hot_row_with_a_cold_id_is_found(shop_copy: Path) -> None:
    rewritten(shop_copy, HOT, put("item", 3, 3))
    found = faults(shop_copy)
    assert f"{HOT}, row group 0: 1 rows have a cold id" in found


def test_a_hot_list_with_a_cold_id_is_found(shop_copy: Path) -> None:
    rewritten(shop_copy, TEST, put("seen", 0, [1, 4]))
    assert f"{TEST}, row group 0: 1 rows have a cold id" in faults(shop_copy)


def test_a_cold_row_without_a_cold_id_is_found(shop_copy: Path) -> None:
    def change(frame: pl.DataFrame) -> pl.DataFrame:
        for column, value in [("city", 1), ("item", 1), ("seen", [])]:
            frame = put(column, 2, value)(frame)
        return frame

    rewritten(shop_copy, COLD, change)
    assert f"{COLD}, row group 0: 1 rows have no cold id" in faults(shop_copy)


@pytest.mark.parametrize(
    ("column", "value", "last"), [("city", 6, 5), ("city", -1, 5), ("item", 5, 4), ("seen", [9], 4)]
)
def test_an_id_out_of_range_is_found(shop_copy: Path, column: str, value: Any, last: int) -> None:
    rewritten(shop_copy, COLD, put(column, 0, value))
    assert f"{COLD}, row group 0: {column} has ids outside 0 to {last}" in faults(shop_copy)


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [
        ("label", 2, "the label is not 0 or 1"),
        ("label", None, "label has nulls"),
        ("price", float("nan"), "price is not a finite float32"),
        ("price", float("inf"), "price is not a finite float32"),
        ("city", None, "city has nulls"),
        ("seen", None, "seen has nulls"),
    ],
)
def test_a_value_outside_the_contract_is_found(
    shop_copy: Path, column: str, value: Any, named: str
) -> None:
    rewritten(shop_copy, HOT, put(column, 0, value))
    assert any(fault.startswith(HOT) and named in fault for fault in faults(shop_copy))


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        ("label", pl.Int32()),
        ("price", pl.Float64()),
        ("city", pl.Float64()),
        ("city", pl.String()),
        ("seen", pl.List(pl.Float32())),
    ],
)
def test_a_column_of_another_type_is_found(
    shop_copy: Path, column: str, dtype: pl.DataType
) -> None:
    for file in (HOT, COLD):
        frame = pl.read_parquet(shop_copy / file, hive_partitioning=False)
        frame.with_columns(pl.col(column).cast(dtype)).write_parquet(shop_copy / file)
        resigned(shop_copy, file)
    found = faults(shop_copy)
    for file in (HOT, COLD):
        assert any(fault.startswith(file) and column in fault for fault in found)


def test_another_order_of_columns_is_found(shop_copy: Path) -> None:
    rewritten(shop_copy, HOT, lambda frame: frame.select(reversed(frame.columns)))
    assert any(fault.startswith(f"{HOT}: its columns are") for fault in faults(shop_copy))


def test_a_lost_row_is_found(shop_copy: Path) -> None:
    rewritten(shop_copy, HOT, lambda frame: frame.head(9))
    assert f"{HOT}: 9 rows, not 10" in faults(shop_copy)


@pytest.mark.parametrize(
    ("file", "column", "value"),
    [(HOT, "seen", [0] * 2**20), (CITY, "value", "x" * 2**20)],
    ids=["a long list", "a repeated text"],
)
def test_what_would_take_too_much_memory_is_found(
    shop_copy: Path, monkeypatch: pytest.MonkeyPatch, file: str, column: str, value: Any
) -> None:
    repeated = pl.lit(value).alias(column)
    rewritten(shop_copy, file, lambda frame: frame.with_columns(repeated.cast(frame[column].dtype)))
    assert (shop_copy / file).stat().st_size < 100_000
    monkeypatch.setattr(decoding, "read_most_memory", lambda: 2**24)
    (fault,) = [each for each in faults(shop_copy) if each.startswith(f"{file}: the columns")]
    assert f"column '{column}'" in fault
    assert "would take" in fault


# ── Vocabularies ─────────────────────────────────────────────────────────────────────────────────


def test_accesses_that_include_test_rows_are_found(shop_copy: Path) -> None:
    # Oslo: 8 accesses in train, and one in valid and two in test.
    rewritten(shop_copy, CITY, put("accesses", 0, 10))
    assert faults(shop_copy) == (f"{CITY}: the accesses of 1 ids are not those in train",)


def test_a_value_from_test_is_found(shop_copy: Path, shop: Stages) -> None:
    # Kyiv is in valid alone.
    extra = pl.DataFrame({"value": ["Kyiv"], "id": [6], "accesses": [1]})
    rewritten(shop_copy, CITY, lambda frame: frame.vstack(extra))
    edit_manifest(shop_copy, "tables", 0, "rows", value=7)
    edit_manifest(shop_copy, "tables", 0, "vocabulary", "rows", value=6)
    assert faults(shop_copy) == (f"{CITY}: the accesses of 1 ids are not those in train",)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (put("value", 1, "Oslo"), "a value has two ids"),
        (put("id", 1, 9), "its ids are not 1 to 5 in order"),
        (put("id", 1, None), CITY),
        (put("accesses", 4, 0), "a value has an id but no access in train"),
        (put("accesses", 4, None), CITY),
        (lambda frame: frame.head(4), "4 values for a table of 6 rows"),
        (lambda frame: frame.rename({"value": "raw"}), CITY),
        (lambda frame: frame.drop("accesses"), CITY),
    ],
)
def test_a_wrong_vocabulary_is_found(
    shop_copy: Path, change: Callable[[pl.DataFrame], pl.DataFrame], named: str
) -> None:
    rewritten(shop_copy, CITY, change)
    found = faults(shop_copy)
    assert any(fault.startswith(CITY) and named in fault for fault in found)


def test_a_vocabulary_of_lists_is_found(shop_copy: Path) -> None:
    lists = pl.read_parquet(shop_copy / CITY).with_columns(pl.concat_list("value"))
    lists.write_parquet(shop_copy / CITY)
    resigned(shop_copy, CITY)
    assert f"{CITY}: value is List(String), not text or integers" in faults(shop_copy)


def test_out_of_vocabulary_accesses_are_no_fault(tmp_path: Path) -> None:
    made = shop_stages(tmp_path, min_count={"": 3})
    assert faults(made.dataset) == ()
    assert made.manifest.tables[0].rows == 3


def test_a_damaged_schema_is_read_once_for_all_hashed_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shop_stages(tmp_path, budget=4 * 20, cold_buckets=1)
    hashed = sum(table.hashed for table in made.manifest.tables)
    assert hashed > 1
    assert faults(made.dataset) == ()
    edit_manifest(made.dataset, "schema", "columns", value=[])
    check = Mock(wraps=check_schema)
    monkeypatch.setattr("fae.dataset.verify.check_schema", check)
    mistake, *damaged = faults(made.dataset)
    assert mistake.startswith("manifest.json: its schema: ")
    assert ["schema is damaged" in fault for fault in damaged] == [True] * hashed
    assert check.call_count == 1


def test_an_unknown_key_of_the_schema_is_found(shop_copy: Path) -> None:
    edit_manifest(shop_copy, "schema", "columns", 4, "encodng", value="hex")
    (fault,) = faults(shop_copy)
    assert fault.startswith("manifest.json: its schema: column 'city': `encodng`: unknown key.")


def test_all_faults_are_reported_together(shop_copy: Path) -> None:
    (shop_copy / TEST).unlink()
    (shop_copy / "stranger").write_text("")
    shutil.copyfile(shop_copy / HOT, shop_copy / COLD)
    assert len(faults(shop_copy)) == 3


def test_the_manifest_is_that_of_the_log(shop: Stages) -> None:
    manifest = Manifest.read(shop.dataset)
    assert sum(log["lines"] for log in manifest.preparation["logs"]) == SHOP_LOG.count("\n") - 1
    assert manifest.schema == SHOP.document()


def test_a_column_name_that_is_no_text_is_a_fault(shop_copy: Path) -> None:
    data = (shop_copy / HOT).read_bytes()
    (shop_copy / HOT).write_bytes(data.replace(b"city", b"\x93ity"))
    resigned(shop_copy, HOT)
    (fault,) = verify(shop_copy, Executor(1)).faults
    assert fault.startswith(f"{HOT}: unreadable: ")
    with pytest.raises(DatasetError, match=r"part-00000\.parquet cannot be read as Parquet"):
        list(HotColdLoader(shop_copy, batch_size=4))
