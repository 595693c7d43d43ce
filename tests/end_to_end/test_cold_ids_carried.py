"""Hashed cold ids where logs are added, and where a trained model goes to another data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fae.format.manifest import Manifest
from fae_trainer.run import checkpoint
from fae_trainer.run.import_run import import_run
from tests.support.oracle import Options
from tests.support.shop_days import NEWS, added, assert_same, at_once, shop_days
from tests.support.small_logs import SHOP, parameters_of, written
from tests.support.trainer_runs import run

Lines = list[tuple[Any, int, int]]
HASHED = {"cold_ids": "hashed", "cold_buckets": 1}
#: Room for one hot row a table beside id 0, so that all other values are cold.
TIGHT = parameters_of(Options(budget=4 * 20, valid="0", test="0"))
TIGHT_HASHED = replace(TIGHT, calibrate=TIGHT.calibrate.model_copy(update=HASHED))


@pytest.fixture
def days(tmp_path: Path) -> list[str]:
    return [*shop_days(tmp_path), *written(tmp_path, {"day2.csv": NEWS})]


def vocabulary(data: Path, table: str) -> Lines:
    return pl.read_parquet(data / "vocabulary" / f"{table}.parquet").rows()


def test_added_logs_give_the_bytes_of_all_at_once(tmp_path: Path, days: list[str]) -> None:
    at_once(days[:1], SHOP, tmp_path / "added", TIGHT_HASHED, keep_work=True)
    at_once(days, SHOP, tmp_path / "whole", TIGHT_HASHED)
    added(days[1:], SHOP, tmp_path / "added")
    assert_same(tmp_path / "added", tmp_path / "whole")


def test_ids_become_exact_again_without_a_word_of_buckets(tmp_path: Path, days: list[str]) -> None:
    at_once(days[:1], SHOP, tmp_path / "added", TIGHT_HASHED, keep_work=True)
    added(days[1:2], SHOP, tmp_path / "added", **HASHED)
    manifest = added(days[2:], SHOP, tmp_path / "added", cold_ids="exact")
    assert not any(table.hashed for table in manifest.tables)
    at_once(days, SHOP, tmp_path / "whole", TIGHT)
    assert_same(tmp_path / "added", tmp_path / "whole")


def test_a_mapping_has_a_line_for_each_former_value(tmp_path: Path, days: list[str]) -> None:
    out = tmp_path / "added"
    at_once(days[:1], SHOP, out, TIGHT_HASHED, keep_work=True)
    former = {name: vocabulary(out, name) for name in SHOP.tables}
    added(days[1:], SHOP, out, cold_buckets=2)
    for name, lines in former.items():
        now = {value: id_ for value, id_, _ in vocabulary(out, name)}
        mapping = pl.read_parquet(out / "mapping" / f"{name}.parquet")
        assert mapping.rows() == [
            (0, 0, 0),
            *((id_, now.get(value, 0), accesses) for value, id_, accesses in lines),
        ]


def expected_moves(old: Lines, new: Lines) -> dict[int, int]:
    """Return the old row of each known new one: that of its value with the most former accesses."""
    now = {value: id_ for value, id_, _ in new}
    found: dict[int, tuple[int, int]] = {}
    for value, id_, accesses in old:
        if value in now:
            best = found.get(now[value])
            if best is None or (-accesses, id_) < best:
                found[now[value]] = (-accesses, id_)
    return {0: 0} | {new_id: old_id for new_id, (_, old_id) in found.items()}


def assert_carried(
    before: Path, after: Path, old: dict[str, Lines], data: Path, counted: dict[str, int]
) -> int:
    """Every known row has the values and state of its old one; return how many rows had rivals."""
    former, now = checkpoint.load(before), checkpoint.load(after)
    rivals = 0
    for table in Manifest.read(data).tables:
        new = vocabulary(data, table.name)
        moves = expected_moves(old[table.name], new)
        assert counted[table.name] == len(moves)
        for kind in ("rows", "states"):
            one, two = getattr(former, kind)[table.name], getattr(now, kind)[table.name]
            for new_id, old_id in moves.items():
                assert two[new_id].tolist() == one[old_id].tolist()
        ids = {value: id_ for value, id_, _ in old[table.name]}
        come = {(id_, ids[value]) for value, id_, _ in new if value in ids}
        rivals += len(come) - len({new_id for new_id, _ in come})
    return rivals


@pytest.mark.parametrize("hashed", [(False, True), (True, False), (True, True)])
def test_a_model_goes_between_exact_and_hashed_ids(
    tmp_path: Path, hashed: tuple[bool, bool]
) -> None:
    days = shop_days(tmp_path)
    one, two = (TIGHT_HASHED if each else TIGHT for each in hashed)
    wider = two.calibrate.model_copy(update={"hot_budget": 6 * 20})
    at_once(days, SHOP, tmp_path / "one", one)
    at_once(days, SHOP, tmp_path / "two", replace(two, calibrate=wider))
    run(tmp_path / "one", tmp_path / "old", epochs=3)
    carried = import_run(tmp_path / "old", tmp_path / "two", tmp_path / "new").tables
    rivals = assert_carried(
        tmp_path / "old",
        tmp_path / "new",
        {name: vocabulary(tmp_path / "one", name) for name in SHOP.tables},
        tmp_path / "two",
        {one.name: one.known for one in carried},
    )
    assert (rivals > 0) == (hashed == (False, True))


@pytest.mark.parametrize("parameters", [TIGHT, TIGHT_HASHED])
def test_a_model_follows_logs_that_are_added(
    tmp_path: Path, days: list[str], parameters: Any
) -> None:
    data = tmp_path / "data"
    at_once(days[:2], SHOP, data, parameters, keep_work=True)
    old = {name: vocabulary(data, name) for name in SHOP.tables}
    run(data, tmp_path / "old", epochs=3)
    added(days[2:], SHOP, data, **HASHED)
    carried = import_run(tmp_path / "old", data, tmp_path / "new").tables
    rivals = assert_carried(
        tmp_path / "old",
        tmp_path / "new",
        old,
        data,
        {one.name: one.known for one in carried},
    )
    assert (rivals > 0) == (parameters is TIGHT)
    assert all(one.known <= one.rows for one in carried)
