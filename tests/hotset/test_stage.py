"""Calibration: a budget of bytes, dims, dtype and state; hot shares counted on the samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given

from fae.execution.executor import Executor
from fae.format.budget import Budget, Embedding
from fae.format.errors import BudgetError, DatasetError, ParameterError
from fae.hotset.hot_set import HotSet, HotShares
from fae.hotset.parameters import CalibrateParameters
from fae.hotset.rules import RULES, peeling
from fae.hotset.stage import calibrate
from fae.ingestion.parameters import IngestParameters
from fae.ingestion.stage import ingest
from fae.logs.files import find_logs
from fae.logs.schema_files import load_schema
from fae.profiling.parameters import ProfileParameters
from fae.profiling.stage import profile
from fae.synthetic.log import write_log
from tests.support import oracle
from tests.support.quick_workers import quick_workers
from tests.support.random_logs import FEW_EXAMPLES, RandomLog, logs
from tests.support.shown_progress import ShownProgress
from tests.support.small_logs import LABEL, SHOP_BUDGET, Stages, schema_of, stages, written


def calibrate_shop(shop: Stages, out: Path, **parameters: Any) -> HotSet:
    options = {"hot_budget": SHOP_BUDGET, "rule": "accesses", **parameters}
    return calibrate(
        shop.staging, shop.frequencies, out, Executor(1), CalibrateParameters.of(**options)
    )


def test_six_rows_are_hot_in_the_twenty_rows(shop: Stages) -> None:
    hot_set = shop.hot_set
    # Id 0 of both tables, then items 7 (12 accesses), Oslo (8), item 5 (6), and of Rome and
    # item 3 (4 each) the one of the first table.
    hot = {table.name: table.hot_rows for table in hot_set.tables}
    assert hot == {"city": 3, "item": 3}
    assert [(t.name, t.rows, t.dim, t.row_bytes) for t in hot_set.tables] == [
        ("city", 6, 4, 20),
        ("item", 5, 4, 20),
    ]
    assert hot_set.budget == Budget(SHOP_BUDGET, 120, "accesses")
    assert hot_set.embedding == Embedding("float32", "rowwise_adagrad")
    assert hot_set.access_share == (8 + 4 + 12 + 6) / (16 + 23)


def test_samples_are_hot_if_all_their_accesses_are(shop: Stages) -> None:
    # Cold in train are e, f, i, j, m and p; the valid q is hot and r accesses id 0, hot too;
    # so are both test rows: 8 is unknown, and unknown is id 0.
    assert shop.hot_set.inputs == {
        "train": {"hot": 10, "cold": 6},
        "valid": {"hot": 2, "cold": 0},
        "test": {"hot": 2, "cold": 0},
    }
    assert shop.hot_set.hot_share("train") == 10 / 16
    assert shop.hot_set.hot_share("test") == 1.0


def test_held_out_samples_count_as_known_if_all_their_values_have_a_row(shop: Stages) -> None:
    # Of valid, r has an unknown city; of test, s has an unknown item.
    known = shop.hot_set.known_inputs
    assert known == {split: {"hot": 1, "cold": 0} for split in ("valid", "test")}
    assert shop.hot_set.known_hot_share("valid") == 1.0
    assert shop.hot_set.known_hot_share("train") is None


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_shares_of_a_rule_stand_beside_those_of_accesses(
    shop: Stages, tmp_path: Path, rule: str
) -> None:
    chosen, *others = calibrate_shop(shop, tmp_path / "out", rule=rule).shares
    hot_set = HotSet.read(tmp_path / "out")
    assert (chosen.rule, chosen.train) == (rule, hot_set.hot_share("train"))
    held_out = [hot_set.inputs[split] for split in ("valid", "test")]
    hot, cold = (sum(counts[kind] for counts in held_out) for kind in ("hot", "cold"))
    assert chosen.held_out == hot / (hot + cold)
    if rule == "accesses":
        assert others == []
    else:
        assert others == list(shop.hot_set.shares)


@pytest.mark.parametrize(
    ("train", "held_out", "expected"),
    [(0.4, 0.3, True), (0.4, 0.345, False), (0.1, 0.3, False), (0.4, None, False)],
)
def test_a_rule_is_reversed_if_it_is_better_in_train_and_worse_held_out(
    train: float, held_out: float | None, expected: bool
) -> None:
    accesses = HotShares("accesses", 0.2, 0.35, None)
    assert HotShares("inputs", train, held_out, None).is_reversed(accesses) == expected


def test_ids_are_access_ranks_if_the_rule_ranks_by_accesses(shop: Stages) -> None:
    assert shop.hot_set.read_ids()["city"].tolist() == [0, 1, 2, 3, 4, 5]
    assert shop.hot_set.read_ids()["item"].dtype == np.uint32


@pytest.mark.parametrize(
    ("dtype", "optimizer", "row_bytes"),
    [
        ("float32", "sgd", 16),
        ("float32", "rowwise_adagrad", 20),
        ("float32", "adagrad", 32),
        ("float32", "adam", 48),
        ("float16", "sgd", 8),
        ("bfloat16", "rowwise_adagrad", 12),
        ("float64", "adam", 96),
    ],
)
def test_a_row_costs_its_elements_and_its_state(
    shop: Stages, tmp_path: Path, dtype: str, optimizer: str, row_bytes: int
) -> None:
    hot_set = calibrate_shop(
        shop, tmp_path / "out", dtype=dtype, optimizer=optimizer, hot_budget=5 * row_bytes + 1
    )
    assert {table.row_bytes for table in hot_set.tables} == {row_bytes}
    assert sum(table.hot_rows for table in hot_set.tables) == 5
    assert hot_set.budget.used_bytes == 5 * row_bytes


def test_tables_of_several_dims_share_one_budget(tmp_path: Path) -> None:
    schema = schema_of(
        [
            LABEL,
            {"name": "wide", "role": "sparse", "dim": 8},
            {"name": "slim", "role": "sparse", "dim": 2},
        ]
    )
    log = "1,a,x\n" * 5 + "0,b,y\n" * 3 + "0,b,z\n" * 2
    files = find_logs(written(tmp_path, {"a.txt": log}), schema)
    # Rows of 32 and 8 bytes: per byte x has 5/8, y 3/8, z 2/8, and a and b 5/32 each.
    options = oracle.Options(budget=40 + 24 + 32, valid="0", test="0", optimizer="sgd")
    made = stages(files, schema, tmp_path, options)
    assert {table.name: table.hot_rows for table in made.hot_set.tables} == {
        "wide": 2,
        "slim": 4,
    }
    assert made.hot_set.inputs["train"] == {"hot": 5, "cold": 5}


def test_a_table_of_a_256th_of_the_budget_is_hot_as_a_whole_even_if_not_sampled(
    shop: Stages, tmp_path: Path
) -> None:
    schema = schema_of([LABEL, {"name": "a", "role": "sparse"}, {"name": "b", "role": "sparse"}])
    # The sample of this seed lacks the first two rows, and so two of the three values of `b`.
    log = "".join(f"1,{i},{min(i, 2)}\n" for i in range(1200))
    options = oracle.Options(budget=256 * 64, valid="0", test="0", optimizer="sgd", sample=0.05)
    files = find_logs(written(tmp_path, {"a.txt": log}), schema)
    made = stages(files, schema, tmp_path, options)
    a, b = made.hot_set.tables
    assert not any(oracle.in_sample(i, 0.05, 0) for i in range(2))
    assert (b.rows, b.hot_rows) == (4, 4)
    assert (a.rows, a.hot_rows) == (1201, 1024 - 4)


@pytest.mark.parametrize("rule", ["inputs", "accesses", "per-table", "threshold"])
def test_bytes_that_a_sample_leaves_over_buy_the_rows_that_it_missed(
    tmp_path: Path, rule: str
) -> None:
    schema = schema_of([LABEL, {"name": "n", "role": "sparse", "encoding": "integer"}])
    log = "".join(f"1,{i}\n" for i in range(1000))
    files = find_logs(written(tmp_path, {"a.txt": log}), schema)
    made = stages(files, schema, tmp_path, oracle.Options(budget=20, valid="0", sample=0.05))
    parameters = CalibrateParameters.of(hot_budget=2**30, rule=rule, optimizer="sgd")
    sources = made.staging, made.frequencies
    hot_set = calibrate(*sources, tmp_path / "out", Executor(1), parameters)
    assert hot_set.hot_share("train") == 1.0
    assert hot_set.budget.used_bytes == hot_set.tables[0].rows * 16
    assert hot_set.sample is not None
    assert hot_set.sample.others == 1.0


def test_the_curve_includes_the_chosen_budget(shop: Stages) -> None:
    point = shop.hot_set.read_curve().filter(budget_bytes=SHOP_BUDGET).row(0, named=True)
    assert point == {
        "budget_bytes": 120,
        "hot_rows": 6,
        "access_share": 30 / 39,
        "train_hot_share": 10 / 16,
        "valid_hot_share": 1.0,
        "test_hot_share": 1.0,
        "held_out_hot_share": 1.0,
        "known_hot_share": 1.0,
    }
    last = shop.hot_set.read_curve().row(-1, named=True)
    assert (last["budget_bytes"], last["hot_rows"], last["train_hot_share"]) == (220, 11, 1.0)


def test_a_split_without_rows_has_no_hot_share(tmp_path: Path) -> None:
    schema = schema_of([LABEL, {"name": "city", "role": "sparse"}])
    files = find_logs(written(tmp_path, {"a.txt": "1,a\n0,b\n"}), schema)
    made = stages(files, schema, tmp_path, oracle.Options(budget=100))
    assert made.hot_set.inputs["valid"] == {"hot": 0, "cold": 0}
    assert made.hot_set.hot_share("valid") is None
    assert "valid_hot_share" not in made.hot_set.read_curve().columns


def test_a_budget_below_one_row_per_table_is_an_error(shop: Stages, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match=r"one row of each of the 2 tables.*at least 40 bytes"):
        calibrate_shop(shop, tmp_path / "out", hot_budget=39)
    assert list(tmp_path.iterdir()) == []


def test_a_finished_hot_set_is_kept_and_other_parameters_are_refused(
    shop: Stages, tmp_path: Path
) -> None:
    first = calibrate_shop(shop, tmp_path / "out")
    before = (tmp_path / "out" / "_SUCCESS").stat().st_mtime_ns
    assert calibrate_shop(shop, tmp_path / "out") == first == HotSet.read(tmp_path / "out")
    assert (tmp_path / "out" / "_SUCCESS").stat().st_mtime_ns == before
    assert first.inputs == shop.hot_set.inputs
    for other in ({"hot_budget": 140}, {"dtype": "float16"}, {"optimizer": "sgd"}):
        with pytest.raises(DatasetError, match="--overwrite"):
            calibrate_shop(shop, tmp_path / "out", **other)


def test_a_directory_without_a_hot_set_is_refused(shop: Stages, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a finished output"):
        HotSet.read(tmp_path)
    with pytest.raises(DatasetError, match="frequencies"):
        HotSet.read(shop.frequencies.directory)


def has_no_unknown_value(ids: tuple[Any, ...]) -> bool:
    """Return whether none of a sample's ids, some of which are lists, is out of vocabulary."""
    return all(0 not in one if isinstance(one, tuple) else one != 0 for one in ids)


@FEW_EXAMPLES
@given(log=logs())
def test_hot_and_cold_samples_are_the_oracles(
    tmp_path_factory: pytest.TempPathFactory, log: RandomLog
) -> None:
    files, splits = zip(*((file.plain, file.split) for file in log.files), strict=True)
    right = oracle.prepare(files, splits, log.schema, log.options)
    assume("train" in right.splits)
    directory = tmp_path_factory.mktemp("hot_set")
    hot_set = stages(log.find(directory), log.schema, directory, log.options).hot_set
    assert hot_set.inputs == {
        split: {kind: len(right.leaves[split, kind]) for kind in ("hot", "cold")}
        for split in oracle.SPLITS
    }
    assert hot_set.known_inputs == {
        split: {
            kind: sum(has_no_unknown_value(ids) for _, _, ids in right.leaves[split, kind])
            for kind in ("hot", "cold")
        }
        for split in ("valid", "test")
    }
    for table, known in zip(hot_set.tables, right.tables, strict=True):
        assert table.row_bytes == known.price
        assert hot_set.read_ids()[table.name].tolist() == [0, *(known.ids[v] for v in known.values)]
        assert table.hot_rows == known.hot_rows
    point = hot_set.read_curve().filter(budget_bytes=log.options.budget).row(0, named=True)
    assert point["hot_rows"] == sum(table.hot_rows for table in hot_set.tables)
    for split in oracle.SPLITS:
        assert point.get(f"{split}_hot_share") == hot_set.hot_share(split)
    hottest = [known.sampled[v] for known in right.tables for v in known.values]
    hot = [
        known.sampled[v]
        for known in right.tables
        for v in known.values
        if known.ids[v] < known.hot_rows
    ]
    if log.options.sample >= 1 and not log.options.min_count:
        assert hot_set.access_share == sum(hot) / max(sum(hottest), 1)


# ── A hot share instead of a budget, and the check of a sample ───────────────────────────────────


@pytest.mark.parametrize(("share", "least"), [(0.6, 6), (0.625, 6), (0.63, 7), (1.0, 11)])
def test_a_hot_share_takes_the_fewest_rows_that_reach_it(
    shop: Stages, tmp_path: Path, share: float, least: int
) -> None:
    # Ten of the sixteen train samples are hot with six rows, as above; the eleventh row is Lima,
    # which one sample accesses.
    hot_set = calibrate_shop(shop, tmp_path / "out", hot_budget=None, hot_share=share)
    assert hot_set.budget.bytes == hot_set.budget.used_bytes == 20 * least
    reached = hot_set.hot_share("train")
    assert reached is not None
    assert reached >= share
    curve = hot_set.read_curve().select("hot_rows", "train_hot_share").rows()
    assert all(hot < share for rows, hot in curve if rows < least)


def test_a_share_that_no_budget_reaches_is_an_error(tmp_path: Path) -> None:
    schema = schema_of([LABEL, {"name": "n", "role": "sparse", "encoding": "integer"}])
    log = "".join(f"1,{i}\n" for i in range(40))
    files = find_logs(written(tmp_path, {"a.txt": log}), schema)
    made = stages(files, schema, tmp_path, oracle.Options(budget=40, valid="0"))
    # The bytes that 90 % of the samples need do not buy all rows that are accessed once, so the
    # threshold is two accesses.
    parameters = CalibrateParameters.of(hot_share=0.9, rule="threshold")
    with pytest.raises(BudgetError, match=r"90\.0% of the train samples hot at no budget"):
        calibrate(made.staging, made.frequencies, tmp_path / "out", Executor(1), parameters)
    assert not (tmp_path / "out").exists()


def test_a_sample_is_checked_on_the_rows_outside_it(tmp_path: Path) -> None:
    schema = schema_of([LABEL, {"name": "n", "role": "sparse", "encoding": "integer"}])
    log = "".join(f"1,{i % 25}\n" for i in range(100))
    files = find_logs(written(tmp_path, {"a.txt": log}), schema)
    options = oracle.Options(budget=20 * 8, valid="0", test="0", sample=0.2, seed=1)
    made = stages(files, schema, tmp_path, options)
    chosen = [i for i in range(100) if oracle.in_sample(i, 0.2, 1)]
    counts = oracle.Counter(i % 25 for i in chosen)
    every = oracle.Counter(i % 25 for i in range(100))
    order = oracle.ranked(every, schema.sparse[0])
    hot = sorted(counts, key=lambda value: (-counts[value], order.index(value)))[:7]
    check = made.hot_set.sample
    assert check is not None
    assert check.sampled == sum(counts[value] for value in hot) / len(chosen)
    others = [i for i in range(100) if i not in chosen]
    assert check.others == sum(i % 25 in hot for i in others) / len(others)
    assert 0 < check.low < check.others < check.high < 1
    assert check.too_small == (check.sampled > check.high + 0.01)


def test_without_a_sample_there_is_nothing_to_check(shop: Stages) -> None:
    assert shop.hot_set.sample is None


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_keeps_to_the_budget(shop: Stages, tmp_path: Path, rule: str) -> None:
    hot_set = calibrate_shop(shop, tmp_path / "out", rule=rule)
    assert hot_set.budget.rule == rule
    assert sum(t.hot_rows * t.row_bytes for t in hot_set.tables) == hot_set.budget.used_bytes <= 120
    for table in hot_set.tables:
        ids = hot_set.read_ids()[table.name]
        assert ids[0] == 0
        assert sorted(ids) == list(range(table.rows))


def test_the_rule_inputs_makes_no_fewer_samples_hot(shop: Stages, tmp_path: Path) -> None:
    hot_set = calibrate_shop(shop, tmp_path / "out", rule="inputs")
    share = hot_set.hot_share("train")
    assert share is not None
    assert share >= 10 / 16
    assert hot_set.bound is not None
    assert share <= hot_set.bound <= 1


def test_a_rule_that_needs_too_much_memory_names_the_remedies(shop: Stages, tmp_path: Path) -> None:
    parameters = CalibrateParameters.of(hot_budget=200, rule="inputs")
    stages = shop.staging, shop.frequencies, tmp_path / "out"
    with pytest.raises(ParameterError, match=r"which takes .* 9 B are available.*--sample"):
        calibrate(*stages, Executor(1, memory=9), parameters)
    parameters = CalibrateParameters.of(hot_budget=200, rule="accesses")
    assert calibrate(*stages, Executor(1, memory=9), parameters).tables


def test_all_work_of_a_calibration_shows_its_progress(
    shop: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peeling, "LARGE_ACCESSES", 0)
    monkeypatch.setattr(peeling, "CORE_SHARE", 1)
    shown = ShownProgress(monkeypatch)
    calibrate_shop(shop, tmp_path / "hot", rule="inputs")
    parts = len(shop.staging.parts)
    passes = peeling.BALANCING_PASSES + peeling.LARGE_PASSES
    assert shown.steps() == {
        "stack": 1,
        **{"contested": parts, "join": 1, "rank": passes + 1},
        **{"cells": 2, "calibrate": parts, "write": 2},
    }


def test_the_rule_inputs_gives_the_same_bytes_wherever_tasks_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Treat a small log as a large one, whose loads all threads balance."""
    monkeypatch.setattr(peeling, "LARGE_ACCESSES", 0)
    logs = [tmp_path / f"{day}.tsv" for day in range(3)]
    for day, log in enumerate(logs):
        write_log("criteo", 700, log, day, lambda _: None)
    schema = load_schema("criteo-kaggle")
    found = find_logs([str(log) for log in logs], schema)
    staging = ingest(found, schema, tmp_path / "staging", Executor(1), IngestParameters())
    frequencies = profile(staging, tmp_path / "counts", Executor(1), ProfileParameters())
    parameters = CalibrateParameters.of(hot_budget=100_000, rule="inputs")
    with quick_workers(2) as on_workers:
        executors = [Executor(1), Executor(2), Executor(4), on_workers]
        for number, executor in enumerate(executors):
            calibrate(staging, frequencies, tmp_path / str(number), executor, parameters)
    for name in ("ids.uint32", "curve.csv", "hot_set.json"):
        assert len({(tmp_path / str(n) / name).read_bytes() for n in range(len(executors))}) == 1
