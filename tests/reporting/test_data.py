"""Rows and train samples are those that calibration stacked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fae.format.errors import DatasetError
from fae.hotset.problem_data import stack_rows, stack_samples
from fae.logs.files import find_logs
from fae.reporting.data import read_held_out_samples, read_rows, read_train_samples
from fae.reporting.facts import read_facts
from fae.reporting.report import write_report
from tests.support.oracle import Options
from tests.support.report_pages import as_sets, spaced, write_page
from tests.support.small_logs import LABEL, SHOP, Stages, schema_of, stages, written


def test_the_rows_are_stacked_as_calibration_stacked_them(
    shop: Stages, criteo: Stages, tmp_path: Path
) -> None:
    for made, schema in ((shop, SHOP), (criteo, criteo.staging.schema)):
        expected = stack_rows(made.frequencies, schema, made.manifest.embedding)
        samples = stack_samples(made.staging, made.frequencies)
        facts = read_facts(made.dataset)
        dataset_rows = read_rows(made.dataset, facts)
        rows, sets = read_train_samples(made.dataset, facts, dataset_rows, 1_000_000, 0)
        for stacked in (dataset_rows.stacked, rows):
            assert stacked.tables == expected.tables
            for name in ("table_offsets", "accesses", "row_bytes"):
                np.testing.assert_array_equal(getattr(stacked, name), getattr(expected, name))
        assert Counter(as_sets(sets)) == Counter(as_sets(samples))


@pytest.mark.usefixtures("quick_pictures")
def test_a_subset_is_drawn_by_the_seed_and_named_as_one(criteo: Stages, tmp_path: Path) -> None:
    page, report = write_page(criteo.dataset, tmp_path, compare_rows=500)
    assert 498 <= report.comparison.samples <= 500
    assert f"a random subset of {report.comparison.samples} of the 3,200 train samples" in page.text
    facts = read_facts(criteo.dataset)
    dataset_rows = read_rows(criteo.dataset, facts)
    first, samples = read_train_samples(criteo.dataset, facts, dataset_rows, 500, 0)
    second, _ = read_train_samples(criteo.dataset, facts, dataset_rows, 500, 1)
    assert first.accesses.sum() == 26 * samples.count
    assert (first.accesses != second.accesses).any()
    counted = np.bincount(samples.rows, minlength=first.accesses.size)
    counted[first.oov_rows] = first.accesses[first.oov_rows]
    np.testing.assert_array_equal(counted, first.accesses)


@pytest.mark.usefixtures("quick_pictures")
def test_lists_several_dims_and_empty_splits_are_read(tmp_path: Path) -> None:
    """No dense feature, no valid or test split, tables of several dims, lists that share first."""
    multi = {"encoding": "integer", "multi": {"separator": " "}}
    columns = [
        LABEL,
        {"name": "item", "role": "sparse", "encoding": "integer", "dim": 8},
        {"name": "seen", "role": "sparse", "table": "item", "dim": 8, **multi},
        {"name": "tags", "role": "sparse", "encoding": "hex", "multi": {"separator": " "}},
    ]
    schema = schema_of(columns)
    lines = "".join(
        f"{i % 2},{i % 7},{i % 3} {i % 4},{' '.join(f'{x:x}' for x in range(8, 8 + i % 20))}\n"
        for i in range(60)
    )
    paths = written(tmp_path, {"log.csv": lines})
    options = Options(budget=500, valid="0", test="0", sample=0.5)
    made = stages(find_logs(paths, schema), schema, tmp_path, options)
    page, report = write_page(made.dataset, tmp_path)
    splits = {row["split"]: row for row in page.table("Samples by split")}
    assert (splits["test"]["samples"], splits["test"]["hot share"]) == ("0", "–")
    assert "subset of 50.0 %" in spaced(page.text)
    expected = stack_rows(made.frequencies, schema, made.manifest.embedding)
    facts = read_facts(made.dataset)
    exact = np.concatenate(
        [[0, *made.frequencies.read_accesses(table)["accesses"]] for table in expected.tables]
    )
    np.testing.assert_array_equal(read_rows(made.dataset, facts).stacked.accesses, exact)
    assert report.comparison.samples == 60


@pytest.mark.parametrize("column", ["id", "accesses"])
def test_a_damaged_vocabulary_is_refused(shop_copy: Path, tmp_path: Path, column: str) -> None:
    path = shop_copy / "vocabulary" / "city.parquet"
    frame = pl.read_parquet(path)
    changed = frame.with_columns(pl.col("id") + 1) if column == "id" else frame.drop("accesses")
    changed.write_parquet(path)
    with pytest.raises(DatasetError, match=r"city\.parquet"):
        write_report(shop_copy, tmp_path / "report.html")


def test_ids_outside_their_table_are_refused(shop_copy: Path, tmp_path: Path) -> None:
    path = next((shop_copy / "split=train" / "temperature=hot").iterdir())
    frame = pl.read_parquet(path).with_columns(city=pl.lit(99, dtype=pl.Int32()))
    frame.write_parquet(path)
    with pytest.raises(DatasetError, match="'city' has ids outside its table"):
        write_report(shop_copy, tmp_path / "report.html")


def test_held_out_samples_are_those_of_valid_and_test(shop: Stages, tmp_path: Path) -> None:
    facts = read_facts(shop.dataset)
    rows = read_rows(shop.dataset, facts)
    held_out = read_held_out_samples(shop.dataset, facts, rows, 1_000_000, 0)
    # q and r are valid, s and t are test; r has an unknown city and s an unknown item.
    assert held_out.samples.count == 4
    known = shop.hot_set.known_inputs.values()
    assert held_out.is_known.sum() == sum(counts["hot"] + counts["cold"] for counts in known)
    assert read_held_out_samples(shop.dataset, facts, rows, 2, 0).samples.count == 2
