"""Further labels, weights and keys reach the data set with their rows; serving needs none."""

from __future__ import annotations

import polars as pl
import pytest

import fae
from fae.dataset.shuffle.row_codec import pack_texts, unpack_texts
from fae.logs.schema_files import parse_schema

SCHEMA = """
name: shop
separator: ","
header: true
nulls: [NA]
split_by: user
columns:
  - {name: click, role: label, missing: keep}
  - {name: bought, role: label, positive: ["yes"]}
  - {name: importance, field: weight, role: weight}
  - {name: id, role: key}
  - {name: user_key, field: user, role: key}
  - {name: user, role: sparse, encoding: unsigned}
  - {name: fold, field: split, role: sparse}
  - {name: hash, role: sparse, encoding: hex, digits: 20}
  - {name: price, role: dense, transform: none, clip: [0, 10]}
  - {name: price_bucket, field: price, role: sparse, encoding: integer, buckets: [1, 5]}
"""
ROWS = 500


def line(row: int) -> str:
    click = ["0", "1", "NA"][row % 3]
    bought = ["yes", "no"][row % 2]
    return (
        f"{click},{bought},{row / 8},é{row},{2**63 + row % 9},s{row % 4},{row % 7:020X},{row / 10}"
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> fae.Dataset:
    directory = tmp_path_factory.mktemp("passed")
    (directory / "log.csv").write_text(
        "click,bought,weight,id,user,split,hash,price\n"
        + "".join(f"{line(row)}\n" for row in range(ROWS))
    )
    schema = parse_schema(SCHEMA, "shop")
    out = directory / "out"
    return fae.prepare(directory / "log.csv", schema=schema, out=out, hot_budget="1KiB", threads=1)


def test_every_row_keeps_its_labels_weight_and_keys(dataset: fae.Dataset) -> None:
    rows = pl.concat([dataset.read(split) for split in ("train", "valid", "test")])
    rows = rows.sort(pl.col("id").str.slice(1).cast(pl.Int64))
    assert rows["id"].to_list() == [f"é{row}" for row in range(ROWS)]
    assert rows["user_key"].to_list() == [str(2**63 + row % 9) for row in range(ROWS)]
    assert rows["label"].to_list() == [[0, 1, -1][row % 3] for row in range(ROWS)]
    assert rows["bought"].to_list() == [1 - row % 2 for row in range(ROWS)]
    assert rows["importance"].to_list() == [row / 8 for row in range(ROWS)]
    assert rows["price"].to_list() == pytest.approx([min(row / 10, 10) for row in range(ROWS)])
    features = dataset.manifest.features
    assert (features.labels, features.weight) == (("bought",), "importance")
    assert (features.keys, features.unlabeled) == (("id", "user_key"), True)


def test_it_verifies_and_a_users_rows_share_a_split(dataset: fae.Dataset) -> None:
    assert dataset.verify().faults == ()
    splits = [set(dataset.read(split)["user_key"]) for split in ("train", "valid", "test")]
    assert [a & b for a, b in zip(splits, splits[1:] + splits[:1], strict=True)] == [set()] * 3
    assert all(splits)


def test_rows_are_encoded_by_the_logs_names(dataset: fae.Dataset) -> None:
    train = dataset.read("train").sort("id")
    lines = [line(int(key[1:])).split(",") for key in train["id"]]
    names = ["click", "bought", "weight", "id", "user", "split", "hash", "price"]
    raw = [dict(zip(names, values, strict=True)) for values in lines]
    encoded = dataset.encoder().encode(raw)
    assert encoded.equals(train.select(encoded.columns))
    assert dataset.encoder().encode([{}])["price_bucket"].to_list() == [0]


@pytest.mark.parametrize("texts", [[], [""], ["a", "", "äöü", "1234", "12345", "", "𝄞"]])
def test_texts_survive_packing(texts: list[str]) -> None:
    series = pl.Series(texts, dtype=pl.String).to_arrow()
    assert unpack_texts(*pack_texts(series)).to_pylist() == texts
    assert unpack_texts(*pack_texts(series[1:])).to_pylist() == texts[1:]
