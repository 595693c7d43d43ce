"""Splits hold out the latest rows by time, then by position; files keep their stated split."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.format.errors import ParameterError
from fae.ingestion.cast.times import MICROSECONDS_PER_SECOND
from fae.logs.schema import SplitOrder
from fae.profiling.splits import HeldOut, Timeline, find_split_points
from tests.support import oracle

DAY = 86_400
NAMES = ("train", "valid", "test")


def split(
    valid: str,
    test: str,
    times: Sequence[float] | None = None,
    given_splits: str = "",
    rows: int = 10,
    order: SplitOrder = "time",
) -> str:
    """Return the splits of some rows as letters: t, v and e for train, valid and test."""
    rows = len(times) if times is not None else rows
    letters = given_splits.ljust(rows, ".")
    seconds = np.array(times if times is not None else [0] * rows)
    moments = (seconds * MICROSECONDS_PER_SECOND).astype(np.int64)
    runs = [[*run] for _, run in itertools.groupby(range(rows), key=lambda row: letters[row])]
    parts = [part for run in runs for part in (run[:2], run[2:]) if part]
    free = [part for part in parts if letters[part[0]] == "."]
    line = Timeline(
        lambda window: [window.count(moments[part]) for part in free],
        lambda part, time: np.array([row for row in free[part] if moments[row] == time]),
    )
    stated = {name: letters.count(letter) for letter, name in zip("tve", NAMES, strict=True)}
    limits = HeldOut.parse(valid), HeldOut.parse(test)
    points, counts = find_split_points(
        line, stated, *limits, order="position" if times is None else order
    )
    names = dict(zip("tve", NAMES, strict=True))
    codes = [points.assign(names.get(letters[part[0]]), part[0], moments[part]) for part in parts]
    found = "".join("tve"[code] for code in np.concatenate(codes))
    assert counts == {name: found.count(letter) for letter, name in names.items()}
    return found


def test_rows_of_one_value_share_a_split() -> None:
    users = [5, 1, 5, 3, 3, 1, 5, 1, 1, 1]
    assert split("0.2", "0.2", times=users, order="value") == "etevvtettt"


def test_a_column_gives_the_splits_whatever_is_to_be_held_out() -> None:
    codes = [0, 2e-6, 1e-6, 0, 0, 2e-6]
    assert split("0.5", "0.1", times=codes, order="given") == "tevtte"
    assert split("0", "0", times=[1e-6, 0], order="given") == "vt"


def test_without_a_time_the_last_rows_are_held_out() -> None:
    assert split("0.2", "0.3") == "tttttvveee"


def test_with_a_time_the_latest_rows_are_held_out_wherever_they_lie() -> None:
    assert split("0.2", "0.2", times=[50, 10, 40, 20, 30]) == "etvtt"


def test_of_rows_at_one_time_the_last_by_position_are_held_out() -> None:
    assert split("0.2", "0.2", times=[5] * 10) == "ttttttvvee"


def test_ties_at_a_split_point_go_by_position() -> None:
    # By (time, position): rows 1, 3, 6 (time 1), then 0, 2, 4, 5, 7 (time 2).
    assert split("0.25", "0.25", times=[2, 1, 2, 1, 2, 2, 1, 2]) == "ttvtvete"


def test_days_are_whole_and_in_utc() -> None:
    times = [0, DAY - 1, DAY, 2 * DAY - 1, 2 * DAY, 3 * DAY]
    assert split("1d", "1d", times=times) == "ttttve"
    assert split("1d", "2d", times=times) == "ttvvee"
    assert split("0d", "1d", times=times) == "ttttte"


def test_a_day_without_rows_counts_as_a_day() -> None:
    assert split("0", "2d", times=[0, 3 * DAY, 5 * DAY]) == "tte"


def test_times_before_1970_have_days_too() -> None:
    assert split("0", "1d", times=[-DAY - 1, -DAY, -1]) == "tee"


def test_files_with_a_stated_split_are_that_split_and_it_takes_no_other_rows() -> None:
    assert split("0.2", "0.2", given_splits="..vv......") == "ttvvttttte"
    assert split("0.2", "0.2", given_splits="..vvee....") == "ttvveetttt"
    assert split("0.2", "0.2", given_splits="tttttttttt") == "tttttttttt"


def test_a_share_is_of_the_rows_that_have_no_split_yet() -> None:
    assert split("0.1", "0", given_splits="." * 10 + "e" * 90, rows=100) == "t" * 9 + "v" + "e" * 90
    assert split("0", "0.2", given_splits="vvvv......") == "vvvvttttte"


def test_nothing_is_held_out_of_too_few_rows() -> None:
    assert split("0.1", "0.1", rows=9) == "t" * 9


@pytest.mark.parametrize("share", ["0.29", "0.57", "0.58", "0.07", "0.14", "0.55"])
def test_a_share_that_floats_round_down_is_held_out_in_full(share: str) -> None:
    assert split("0", share, rows=100).count("e") == int(share.removeprefix("0."))


def test_a_log_without_train_rows_is_refused() -> None:
    with pytest.raises(ParameterError, match="no row is left to train on"):
        split("0.5", "0.5")
    with pytest.raises(ParameterError, match="no row is left to train on"):
        split("0", "1d", times=[5, 6, 7])


def test_rows_of_one_second_are_ordered_within_it() -> None:
    assert split("0.2", "0.2", times=[5.75, 5.25, 6, 5.5, 5]) == "vtett"
    assert split("0", "0.4", times=[5.5, 5.25, 5.5, 5.25, 5.5]) == "ttete"
    assert split("0", "1d", times=[DAY - 0.5, DAY, DAY + 0.5]) == "tee"


def test_days_need_a_time() -> None:
    with pytest.raises(ParameterError, match="only if the schema has a time column"):
        split("1d", "0.1")


@given(
    times=st.none() | st.lists(st.integers(-2 * DAY, 4 * DAY), min_size=1, max_size=30),
    rows=st.integers(1, 30),
    valid=st.sampled_from(["0", "0.1", "0.25", "0.5", "1d", "2d"]),
    test=st.sampled_from(["0", "0.1", "0.25", "0.5", "1d", "2d"]),
    letters=st.text("tve....", max_size=30),
)
def test_splits_equal_the_oracles(
    times: list[int] | None, rows: int, valid: str, test: str, letters: str
) -> None:
    rows = rows if times is None else len(times)
    if times is None and "d" in valid + test:
        return
    names = {"t": "train", "v": "valid", "e": "test", ".": None}
    given_splits = [names[letter] for letter in letters[:rows].ljust(rows, ".")]
    expected = oracle.split_rows(given_splits, times, valid, test)
    if "train" not in expected:
        with pytest.raises(ParameterError):
            split(valid, test, times, letters[:rows], rows)
        return
    found = split(valid, test, times, letters[:rows], rows)
    assert [NAMES["tve".index(letter)] for letter in found] == expected


@given(times=st.lists(st.integers(0, 5), min_size=4, max_size=30))
def test_no_train_row_is_later_than_a_held_out_one(times: list[int]) -> None:
    found = split("0.25", "0.25", times)
    latest = max(time for time, letter in zip(times, found, strict=True) if letter == "t")
    assert all(time >= latest for time, letter in zip(times, found, strict=True) if letter != "t")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", HeldOut()),
        ("0.1", HeldOut(share=0.1)),
        (".5", HeldOut(share=0.5)),
        ("1d", HeldOut(days=1)),
        ("14d", HeldOut(days=14)),
    ],
)
def test_shares_and_days_are_parsed(text: str, expected: HeldOut) -> None:
    assert HeldOut.parse(text) == expected


@pytest.mark.parametrize("text", ["1", "-0.1", "1.5", "d", "1.5d", "-1d", "nan", "inf", "", "ten"])
def test_an_invalid_share_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 0\.1"):
        HeldOut.parse(text)
