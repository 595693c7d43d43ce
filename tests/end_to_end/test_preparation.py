"""Prepare random small logs whole, and compare with the oracle and with other preparations."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fae.dataset.verify import verify
from fae.execution.executor import Executor
from fae.format.errors import DatasetError, LogError, ParameterError
from fae.logs.files import find_logs
from fae.preparation import prepare
from tests.support import oracle
from tests.support.random_logs import FEW_EXAMPLES, RandomLog, logs
from tests.support.small_logs import (
    LABEL,
    SHOP,
    SHOP_BUDGET,
    SHOP_LOG,
    Stages,
    digests,
    ids_by_value,
    leaf_rows,
    parameters_of,
    rejects_of,
    schema_of,
    stages,
    vocabularies,
    written,
)

BLOCKS = st.sampled_from([1, 7, 40, 200, 1 << 20])


def prepare_by_oracle(log: RandomLog) -> oracle.Prepared:
    """Return what the oracle makes of the log; skip logs that leave nothing to train on."""
    files = [file.plain for file in log.files]
    splits = [file.split for file in log.files]
    prepared = oracle.prepare(files, splits, log.schema, log.options)
    assume("train" in prepared.splits)
    return prepared


def run_stages(log: RandomLog, directory: Path, threads: int = 1, block: int = 1 << 20) -> Stages:
    return stages(
        log.find(directory),
        log.schema,
        directory,
        log.options,
        executor=Executor(threads),
        block_bytes=block,
    )


@settings(max_examples=settings().max_examples // 3)
@given(log=logs(), block=BLOCKS, threads=st.sampled_from([1, 2]))
def test_the_data_set_is_that_of_the_oracle(log: RandomLog, block: int, threads: int) -> None:
    expected = prepare_by_oracle(log)
    with tempfile.TemporaryDirectory() as directory:
        made = run_stages(log, Path(directory), threads, block)
        leaves = leaf_rows(made.dataset, made.manifest, log.schema)
        ids = ids_by_value(made.dataset, made.manifest)
        values = vocabularies(made.dataset, made.manifest)
        rejects = rejects_of(made.dataset / "rejects")
        assert verify(made.dataset, Executor(1)).faults == ()
    assert leaves == expected.leaves
    assert made.manifest.budget.used_bytes == expected.used_bytes
    for table, of_oracle in zip(made.manifest.tables, expected.tables, strict=True):
        assert (table.name, table.rows) == (of_oracle.name, of_oracle.rows)
        assert table.hot_rows == of_oracle.hot_rows
        assert ids[table.name] == of_oracle.ids
    names = [file.name for file in log.files]
    assert [(names.index(r["file"]), r["line"]) for r in rejects] == expected.rejects
    assert_every_row_is_there(log, expected, made, leaves, values)
    assert_hot_rows_touch_hot_ids_only(log, made, leaves)


def assert_every_row_is_there(
    log: RandomLog,
    expected: oracle.Prepared,
    made: Stages,
    leaves: dict[tuple[str, str], list[Any]],
    values: dict[str, dict[int, Any]],
) -> None:
    """Check that the ids decode to the raw values of every line that is not a reject."""
    tables = {table.name: table for table in expected.tables}
    decoded = Counter(
        (split, oracle.decode(row, log.schema, values))
        for (split, _), rows in leaves.items()
        for row in rows
    )
    assert decoded == Counter(
        (split, oracle.folded(row, log.schema, tables))
        for split, row in zip(expected.splits, expected.rows, strict=True)
    )
    lines = len(expected.rows) + len(expected.rejects)
    assert sum(log.rows + log.rejects for log in made.staging.logs) == lines


def assert_hot_rows_touch_hot_ids_only(
    log: RandomLog, made: Stages, leaves: dict[tuple[str, str], list[Any]]
) -> None:
    """Check that rows are hot exactly where all their ids are, and that these fit the budget."""
    options = log.options
    hot_rows = {table.name: table.hot_rows for table in made.manifest.tables}
    used_bytes = sum(
        hot_rows[name]
        * oracle.row_price(log.schema.dim(columns[0]), options.dtype, options.optimizer)
        for name, columns in log.schema.tables.items()
    )
    assert used_bytes == made.manifest.budget.used_bytes <= options.budget
    limits = [hot_rows[column.table_name] for column in log.schema.sparse]
    for (_, temperature), rows in leaves.items():
        for _, _, ids in rows:
            cells = [cell if isinstance(cell, tuple) else (cell,) for cell in ids]
            hot = all(
                id_ < limit for cell, limit in zip(cells, limits, strict=True) for id_ in cell
            )
            assert hot == (temperature == "hot")


@FEW_EXAMPLES
@given(log=logs(), blocks=st.tuples(BLOCKS, BLOCKS))
def test_the_bytes_depend_neither_on_blocks_nor_on_threads(
    log: RandomLog, blocks: tuple[int, int]
) -> None:
    prepare_by_oracle(log)
    with tempfile.TemporaryDirectory() as directory:
        first = run_stages(log, Path(directory) / "first", 1, blocks[0])
        second = run_stages(log, Path(directory) / "second", 2, blocks[1])
        assert digests(first.dataset) == digests(second.dataset)


@FEW_EXAMPLES
@given(log=logs())
def test_another_seed_shuffles_the_same_rows_differently(log: RandomLog) -> None:
    log = replace(log, options=replace(log.options, sample=1.0, seed=3))
    expected = prepare_by_oracle(log)
    other = replace(log, options=replace(log.options, seed=4))
    with tempfile.TemporaryDirectory() as directory:
        first = run_stages(log, Path(directory) / "first")
        second = run_stages(other, Path(directory) / "second")
        ordered = leaf_rows(first.dataset, first.manifest, log.schema)
        reordered = leaf_rows(second.dataset, second.manifest, log.schema)
    assert first.manifest.fingerprint != second.manifest.fingerprint
    assert reordered == prepare_by_oracle(other).leaves
    assert {k: Counter(rows) for k, rows in ordered.items()} == {
        k: Counter(rows) for k, rows in expected.leaves.items()
    }
    assert {k: Counter(rows) for k, rows in ordered.items()} == {
        k: Counter(rows) for k, rows in reordered.items()
    }


def test_the_shuffle_mixes_the_rows_of_all_files(tmp_path: Path) -> None:
    schema = schema_of([LABEL, {"name": "file", "role": "sparse"}], separator="\t")
    files = {f"{name}.tsv": f"1\t{name}\n" * 50 for name in "abcd"}
    found = find_logs(written(tmp_path, files), schema)
    made = stages(found, schema, tmp_path, oracle.Options(budget=10_000, valid="0", test="0"))
    names = vocabularies(made.dataset, made.manifest)["file"]
    rows = leaf_rows(made.dataset, made.manifest, schema)["train", "hot"]
    order = [names[ids[0]] for _, _, ids in rows]
    assert Counter(order) == dict.fromkeys("abcd", 50)
    for start in range(0, 200, 20):
        assert len(set(order[start : start + 20])) >= 3


def test_prepare_makes_what_the_four_stages_make(shop: Stages, tmp_path: Path) -> None:
    found = find_logs(written(tmp_path, {"shop.csv": SHOP_LOG}), SHOP)
    options = oracle.Options(budget=SHOP_BUDGET)
    out = tmp_path / "dataset"
    manifest, worked = prepare(found, SHOP, out, Executor(2), parameters_of(options))
    assert worked
    assert manifest == shop.manifest
    assert digests(out) == digests(shop.dataset)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["dataset", "dataset.timings.json", "shop.csv"]


def test_preparing_again_does_nothing_and_another_budget_is_refused(tmp_path: Path) -> None:
    found = find_logs(written(tmp_path, {"shop.csv": SHOP_LOG}), SHOP)
    options = oracle.Options(budget=SHOP_BUDGET)
    out = tmp_path / "dataset"
    first, _ = prepare(found, SHOP, out, Executor(1), parameters_of(options))
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again, worked = prepare(found, SHOP, out, Executor(1), parameters_of(options))
    assert (again, worked) == (first, False)
    other = parameters_of(replace(options, budget=SHOP_BUDGET * 2))
    with pytest.raises(DatasetError, match="was made from other inputs or parameters"):
        prepare(found, SHOP, out, Executor(1), other)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    second, worked = prepare(found, SHOP, out, Executor(1), other, overwrite=True)
    assert worked
    assert second.budget.bytes == SHOP_BUDGET * 2


def test_a_changed_log_is_noticed(tmp_path: Path) -> None:
    paths = written(tmp_path, {"shop.csv": SHOP_LOG})
    parameters = parameters_of(oracle.Options(budget=SHOP_BUDGET))
    out = tmp_path / "dataset"
    prepare(find_logs(paths, SHOP), SHOP, out, Executor(1), parameters)
    written(tmp_path, {"shop.csv": SHOP_LOG.replace("Lima", "Bonn")})
    with pytest.raises(DatasetError, match="--overwrite"):
        prepare(find_logs(paths, SHOP), SHOP, out, Executor(1), parameters)


def test_a_failed_prepare_keeps_finished_stages_and_leaves_no_data_set(tmp_path: Path) -> None:
    found = find_logs(written(tmp_path, {"shop.csv": SHOP_LOG}), SHOP)
    out = tmp_path / "dataset"
    parameters = parameters_of(oracle.Options(budget=SHOP_BUDGET, valid="0.5", test="0.5"))
    with pytest.raises(ParameterError, match="no row is left to train on"):
        prepare(found, SHOP, out, Executor(1), parameters)
    assert not out.exists()
    work = tmp_path / "dataset.work"
    assert sorted(path.name for path in work.iterdir()) == ["passing", "staging"]
    staged = (work / "staging" / "staging.json").stat().st_mtime_ns
    good = parameters_of(oracle.Options(budget=SHOP_BUDGET))
    _, worked = prepare(found, SHOP, out, Executor(1), good, keep_work=True)
    assert worked
    assert (work / "staging" / "staging.json").stat().st_mtime_ns == staged
    assert sorted(path.name for path in work.iterdir()) == ["frequencies", "hot_set", "staging"]


def test_a_folder_of_the_users_in_place_of_the_work_is_never_removed(tmp_path: Path) -> None:
    found = find_logs(written(tmp_path, {"shop.csv": SHOP_LOG}), SHOP)
    notes = tmp_path / "dataset.work" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    parameters = parameters_of(oracle.Options(budget=SHOP_BUDGET))
    with suppress(DatasetError):  # it may refuse
        prepare(found, SHOP, tmp_path / "dataset", Executor(1), parameters)
    assert notes.read_text() == "mine"


def test_the_manifest_has_no_paths_or_times_of_the_preparation(tmp_path: Path) -> None:
    manifests = []
    for name in ("one", "two"):
        directory = tmp_path / name
        directory.mkdir()
        log = written(directory, {"shop.csv": SHOP_LOG + "u,1,x,1,Oslo,7,\n"})
        made = stages(find_logs(log, SHOP), SHOP, directory, oracle.Options(budget=SHOP_BUDGET))
        manifests.append((made.dataset / "manifest.json").read_bytes())
    assert manifests[0] == manifests[1]
    document = json.loads(manifests[0])
    assert str(tmp_path) not in manifests[0].decode()
    assert document["preparation"]["rejects"] == {"time: not a time of the form unix": 1}
    (log_document,) = document["preparation"]["logs"]
    assert (log_document["lines"], log_document["rows"], log_document["rejects"]) == (21, 20, 1)


def test_malformed_lines_above_the_limit_stop_the_preparation_and_are_kept(
    tmp_path: Path,
) -> None:
    found = find_logs(written(tmp_path, {"shop.csv": SHOP_LOG + "bad\n"}), SHOP)
    parameters = parameters_of(oracle.Options(budget=SHOP_BUDGET))
    strict = replace(
        parameters, ingest=parameters.ingest.model_copy(update={"max_reject_share": 0.04})
    )
    with pytest.raises(LogError, match=r"1 of 21 lines \(4.76%\) are malformed"):
        prepare(found, SHOP, tmp_path / "dataset", Executor(1), strict)
    assert not (tmp_path / "dataset").exists()
    (reject,) = rejects_of(tmp_path / "dataset.work" / "staging.rejects")
    assert (reject["file"], reject["line"], reject["text"]) == ("shop.csv", 22, "bad")
