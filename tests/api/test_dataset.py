"""A data set as an object."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

import fae
from fae.format.errors import DatasetError, ParameterError
from tests.support.small_logs import Stages


@pytest.fixture(scope="module")
def dataset(shop: Stages) -> fae.Dataset:
    return fae.open_dataset(shop.dataset)


def test_it_says_what_it_is(dataset: fae.Dataset, shop: Stages) -> None:
    assert dataset.manifest == shop.manifest
    assert dataset.location == str(shop.dataset)
    train, empty = dataset.splits["train"], type(dataset.splits["train"])(0, 0)
    assert (train.rows, train.hot, train.cold, train.hot_share) == (16, 10, 6, 0.625)
    assert empty.hot_share is None
    assert repr(dataset) == (
        f"Dataset({str(shop.dataset)!r}): shop, 2 tables, 11 embedding rows, 6 hot\n"
        "  train 16 rows, 62.5% hot\n"
        "  valid 2 rows, 100.0% hot (100.0% of those with known values)\n"
        "  test  2 rows, 100.0% hot (100.0% of those with known values)"
    )


def test_its_page_in_a_notebook_escapes_what_it_shows(dataset: fae.Dataset) -> None:
    assert "62.5% hot" in dataset._repr_html_()
    schema = {**dataset.manifest.schema, "name": "<script>"}
    changed = fae.Dataset(dataset.location, replace(dataset.manifest, schema=schema))
    assert "<script>" not in changed._repr_html_()
    assert "&lt;script&gt;" in changed._repr_html_()


def test_it_reads_a_split_hot_rows_first(dataset: fae.Dataset) -> None:
    frame = dataset.read("train")
    assert frame.height == 16
    assert frame.columns[0] == "label"
    hot, cold = dataset.read("train", "hot"), dataset.read("train", "cold")
    assert frame.equals(pl.concat([hot, cold]))
    assert dataset.read(columns=["city"]).columns == ["city"]
    for feature in dataset.manifest.features.sparse:
        if not feature.multi:
            limit = dataset.manifest.table(feature.table).hot_rows
            assert (hot[feature.name] < limit).all()


def test_an_empty_split_has_the_columns_of_the_others(shop: Stages, tmp_path: Path) -> None:
    log = shop.dataset.parent / "shop.csv"
    empty = fae.prepare(log, schema=shop.staging.schema, out=tmp_path / "d", test=0, hot_budget=120)
    frame = empty.read("test")
    assert frame.height == 0
    assert frame.schema == empty.read("train").schema


def test_unknown_names_are_refused(dataset: fae.Dataset) -> None:
    with pytest.raises(ParameterError, match="split 'dev' is unknown: choose train or valid or"):
        dataset.read("dev")
    with pytest.raises(ParameterError, match="temperature 'warm'"):
        dataset.read("train", "warm")
    with pytest.raises(DatasetError, match="none is not a finished data set"):
        fae.open_dataset("none")


def test_it_encodes_verifies_and_reports(dataset: fae.Dataset, tmp_path: Path) -> None:
    encoded = dataset.encoder().encode([{"price": 3, "city": "Oslo", "item": 7, "seen": "7 5"}])
    assert encoded["city"].to_list() == [1]
    assert dataset.verify(threads=1).faults == ()
    report = dataset.report(tmp_path / "report.html", compare_rows=10)
    assert "shop" in report.page.read_text(encoding="utf-8")
