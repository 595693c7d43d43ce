"""Frequencies count train rows exactly, rank values hottest first and fold rare ids."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fae.execution.executor import Executor
from fae.format.errors import DatasetError, ParameterError
from fae.ingestion.staging import Staging
from fae.logs.files import find_logs
from fae.profiling import dictionary_tree, value_ranges
from fae.profiling.frequencies import Frequencies, OutOfVocabulary
from fae.profiling.parameters import ProfileParameters
from fae.profiling.stage import profile
from tests.support import oracle
from tests.support.random_logs import FEW_EXAMPLES, RandomLog, logs
from tests.support.small_logs import (
    LABEL,
    SHOP,
    SHOP_LOG,
    Stages,
    ranks_of,
    schema_of,
    splits_of,
    staged,
    staged_rows,
    written,
)


def shop_staging(directory: Path) -> Staging:
    found = find_logs(written(directory, {"shop.csv": SHOP_LOG}), SHOP)
    return staged(found, SHOP, directory / "staging")


def profiled(directory: Path, **parameters: Any) -> Frequencies:
    """Profile the twenty rows of the shop log."""
    staging = shop_staging(directory)
    return profile(
        staging, directory / "frequencies", Executor(1), ProfileParameters.of(**parameters)
    )


def test_counts_are_of_the_train_rows_hottest_first_and_ties_by_value(shop: Stages) -> None:
    assert shop.frequencies.read_accesses("city").rows() == [
        ("Oslo", 8, 8),
        ("Rome", 4, 4),
        (None, 2, 2),
        ("Bonn", 1, 1),
        ("Lima", 1, 1),
    ]
    assert shop.frequencies.read_accesses("item").rows() == [
        (7, 12, 12),
        (5, 6, 6),
        (3, 4, 4),
        (9, 1, 1),
    ]
    assert shop.frequencies.split_rows == {"train": 16, "valid": 2, "test": 2}


def test_out_of_vocabulary_accesses_are_counted_by_column_and_split(shop: Stages) -> None:
    city, item = shop.frequencies.tables
    assert (city.name, city.rows, city.accesses) == ("city", 6, 16)
    assert (item.name, item.rows, item.accesses) == ("item", 5, 23)
    assert city.columns == {
        "city": {
            "train": OutOfVocabulary(16, 0),
            "valid": OutOfVocabulary(2, 1),
            "test": OutOfVocabulary(2, 0),
        }
    }
    assert item.columns["item"]["test"] == OutOfVocabulary(2, 1)
    assert item.columns["seen"] == {
        "train": OutOfVocabulary(7, 0),
        "valid": OutOfVocabulary(1, 0),
        "test": OutOfVocabulary(2, 1),
    }


def test_rows_are_written_as_access_ranks(shop: Stages) -> None:
    city = ranks_of(shop.staging, shop.frequencies, "city")
    ranks = {"Oslo": 1, "Rome": 2, None: 3, "Bonn": 4, "Lima": 5, "Kyiv": 0}
    rows = staged_rows(shop.staging)
    assert city == [ranks[row[2]] for row in rows]
    seen = ranks_of(shop.staging, shop.frequencies, "seen")
    items = {7: 1, 5: 2, 3: 3, 9: 4, 8: 0}
    assert seen == [[items[one] for one in row[4]] for row in rows]
    codes = splits_of(shop.staging, shop.frequencies)
    assert codes == [0] * 16 + [1] * 2 + [2] * 2


def test_every_part_has_ranks_for_its_dictionary(tmp_path: Path) -> None:
    found = find_logs(written(tmp_path, {"shop.csv": SHOP_LOG}), SHOP)
    staging = staged(found, SHOP, tmp_path / "staging", block_bytes=60)
    assert len(staging.parts) > 3
    frequencies = profile(staging, tmp_path / "out", Executor(1), ProfileParameters.of())
    for name in ("city", "item", "seen"):
        for index in range(len(staging.parts)):
            values = staging.open_part(index).read_values(name)
            assert (
                len(frequencies.read_ranks(name, index))
                == len(values)
                == len(set(values.to_pylist()))
            )
    assert frequencies.split_rows["train"] == 16


def test_rare_ids_are_folded_into_out_of_vocabulary_and_counted(tmp_path: Path) -> None:
    frequencies = profiled(tmp_path, min_count={"": 2, "item": 5})
    city, item = frequencies.tables
    assert frequencies.read_accesses("city")["value"].to_list() == ["Oslo", "Rome", None]
    assert (city.min_count, city.rows, city.folded_ids, city.folded_accesses) == (2, 4, 2, 2)
    assert city.accesses == 16
    assert city.columns["city"]["train"] == OutOfVocabulary(16, 2)
    assert frequencies.read_accesses("item")["value"].to_list() == [7, 5]
    assert (item.min_count, item.rows, item.folded_ids, item.folded_accesses) == (5, 3, 2, 5)
    assert ranks_of(Staging.read(tmp_path / "staging"), frequencies, "item")[15] == 0


def test_all_ids_of_a_table_may_be_folded(tmp_path: Path) -> None:
    frequencies = profiled(tmp_path, min_count={"city": 100})
    assert frequencies.tables[0].rows == 1
    assert frequencies.read_accesses("city").is_empty()
    assert set(ranks_of(Staging.read(tmp_path / "staging"), frequencies, "city")) == {0}


def test_min_count_for_an_unknown_table_is_refused_with_the_tables(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="names seen, town; the tables are city, item"):
        profiled(tmp_path, min_count={"town": 2, "seen": 2})


def test_a_sample_counts_the_sampled_train_rows_beside_the_exact_counts(tmp_path: Path) -> None:
    frequencies = profiled(tmp_path, sample=0.4, seed=5)
    rows = staged_rows(shop_staging(tmp_path))
    chosen = [i for i in range(16) if oracle.in_sample(i, 0.4, 5)]
    assert 0 < len(chosen) < 16
    cities = Counter(rows[i][2] for i in chosen)
    found = frequencies.read_accesses("city")
    assert found["accesses"].to_list() == [8, 4, 2, 1, 1]
    assert found["sampled"].to_list() == [cities[value] for value in found["value"]]
    items = Counter(item for i in chosen for item in (rows[i][3], *rows[i][4]))
    found = frequencies.read_accesses("item")
    assert found["accesses"].to_list() == [12, 6, 4, 1]
    assert found["sampled"].to_list() == [items[value] for value in found["value"]]
    assert (frequencies.sample, frequencies.seed) == (0.4, 5)


def test_files_given_for_valid_and_test_are_not_counted(tmp_path: Path) -> None:
    schema = schema_of([LABEL, {"name": "city", "role": "sparse"}])
    paths = written(tmp_path, {"a.txt": "1,a\n0,a\n", "b.txt": "1,b\n", "c.txt": "1,a\n"})
    found = find_logs(paths[:1], schema)
    found += find_logs(paths[1:2], schema, "valid") + find_logs(paths[2:], schema, "test")
    staging = staged(found, schema, tmp_path / "staging")
    parameters = ProfileParameters.of(valid="0.5", test="0.5")
    frequencies = profile(staging, tmp_path / "out", Executor(1), parameters)
    assert frequencies.split_rows == {"train": 2, "valid": 1, "test": 1}
    assert frequencies.read_accesses("city").rows() == [("a", 2, 2)]
    assert frequencies.tables[0].columns["city"]["valid"] == OutOfVocabulary(1, 1)


def test_frequencies_are_written_once_and_refused_with_other_parameters(tmp_path: Path) -> None:
    first = profiled(tmp_path)
    before = (first.directory.path / "_SUCCESS").stat().st_mtime_ns
    assert profiled(tmp_path) == first == Frequencies.read(first.directory)
    assert (first.directory.path / "_SUCCESS").stat().st_mtime_ns == before
    for other in ({"valid": "0.2"}, {"min_count": {"": 2}}, {"seed": 1}, {"sample": 0.5}):
        with pytest.raises(DatasetError, match="--overwrite"):
            profiled(tmp_path, **other)


def test_a_directory_without_frequencies_is_refused(shop: Stages, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a finished output"):
        Frequencies.read(tmp_path)
    with pytest.raises(DatasetError, match="staging"):
        Frequencies.read(shop.staging.directory)


def test_a_file_of_ranks_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    found = find_logs(written(tmp_path, {"shop.csv": SHOP_LOG}), SHOP)
    staging = staged(found, SHOP, tmp_path / "staging")
    profiled = profile(staging, tmp_path / "out", Executor(1), ProfileParameters.of())
    file = tmp_path / "out" / "ranks" / "city-00000.uint32"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"city-00000\.uint32 is cut short"):
        profiled.read_ranks("city", 0)


@FEW_EXAMPLES
@given(
    log=logs(),
    block_bytes=st.sampled_from([1, 30, 1 << 20]),
    max_entries=st.sampled_from([1, 3, value_ranges.MAX_ENTRIES_PER_RANGE]),
    fan_in=st.sampled_from([2, 3, dictionary_tree.MAX_FAN_IN]),
)
def test_counts_and_ranks_equal_the_oracles(
    tmp_path_factory: pytest.TempPathFactory,
    log: RandomLog,
    block_bytes: int,
    max_entries: int,
    fan_in: int,
) -> None:
    options = log.options
    right = oracle.prepare(
        [file.plain for file in log.files], [file.split for file in log.files], log.schema, options
    )
    assume("train" in right.splits)
    directory = tmp_path_factory.mktemp("frequencies")
    staging = staged(
        log.find(directory), log.schema, directory / "staging", block_bytes=block_bytes
    )
    parameters = ProfileParameters.of(
        valid=options.valid,
        test=options.test,
        min_count=dict(options.min_count),
        sample=options.sample,
        seed=options.seed,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(value_ranges, "MAX_ENTRIES_PER_RANGE", max_entries)
        patch.setattr(value_ranges, "MIN_ENTRIES_PER_PART", 0)
        patch.setattr(dictionary_tree, "MAX_FAN_IN", fan_in)
        found = profile(staging, directory / "out", Executor(1), parameters)
    assert not [name for name in found.directory.list_files() if ".partial" in name]
    codes = splits_of(staging, found)
    assert [oracle.SPLITS[code] for code in codes] == right.splits
    for table, known in zip(found.tables, right.tables, strict=True):
        counted = found.read_accesses(table.name)
        assert counted["accesses"].to_list() == [known.accesses[v] for v in known.values]
        assert counted["sampled"].to_list() == [known.sampled[v] for v in known.values]
        assert table.accesses == sum(known.accesses.values())
        assert table.folded_ids == len(known.accesses) - len(known.values)
        kept = sum(known.accesses[v] for v in known.values)
        assert table.folded_accesses == table.accesses - kept
        rank = {value: i for i, value in enumerate(known.values, start=1)}
        for column in log.schema.tables[table.name]:
            ranks = ranks_of(staging, found, column.name)
            expected = [
                [rank.get(v, 0) for v in oracle.accessed(row, column)] for row in right.rows
            ]
            assert ranks == (expected if column.multi else [one for (one,) in expected])
            for split in oracle.SPLITS:
                cells = [
                    one
                    for cell, of in zip(expected, right.splits, strict=True)
                    if of == split
                    for one in cell
                ]
                counts = OutOfVocabulary(len(cells), cells.count(0))
                assert table.columns[column.name][split] == counts


def test_ranks_are_unsigned_32_bit_integers(shop: Stages) -> None:
    assert shop.frequencies.read_ranks("city", 0).dtype == np.uint32


@pytest.mark.parametrize("rows", [0, 1, 2**40])
def test_rows_that_a_table_does_not_have_are_refused(
    shop: Stages, tmp_path: Path, rows: int
) -> None:
    copy = shutil.copytree(shop.frequencies.directory.path, tmp_path / "frequencies")
    path = Path(copy) / "frequencies.json"
    document = json.loads(path.read_text())
    document["tables"][0]["rows"] = rows
    path.write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=rf"frequencies\.json: table .city. has {rows} rows"):
        Frequencies.read(copy).read_accesses("city")
