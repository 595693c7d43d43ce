"""`fae prepare --append`: what is given, what stays, and how it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import Result, assert_mistake, fae, plain
from tests.support.shop_days import NEWS, assert_same
from tests.support.small_logs import written

BUDGET = ["--hot-budget", "120", "--rule", "accesses"]
LOGS = ["shop.csv", "news.csv"]


@pytest.fixture
def shop_and_news(place: Path) -> Path:
    """A working directory with the twenty rows, prepared as `added`, and a day after them."""
    written(place, {"news.csv": NEWS})
    assert prepare(LOGS[:1], "added", "--seed", "5", "--keep-work").exit_code == 0
    return place


def prepare(logs: list[str], out: str, *more: str) -> Result:
    return fae("prepare", *logs, "--schema", "shop.yaml", "--out", out, *BUDGET, *more)


def append(*more: str) -> Result:
    return fae("prepare", "news.csv", "--append", "--out", "added", *more)


def test_what_is_not_given_stays(shop_and_news: Path) -> None:
    result = append()
    assert result.exit_code == 0, result.output
    assert "former hot set" in plain(result.stdout)
    assert "former hot set" in plain(fae("summary", "added").stdout)
    prepare(LOGS, "whole", "--seed", "5")
    assert_same(shop_and_news / "added", shop_and_news / "whole")


def test_an_option_counts_even_where_it_repeats_a_default(shop_and_news: Path) -> None:
    given = ["--seed", "0", "--hot-share", "0.4", "--min-count", "city=2", "--valid", "0.2"]
    result = append(*given, "--schema", "shop.yaml")
    assert result.exit_code == 0, result.output
    budget = BUDGET[2:]
    fae("prepare", *LOGS, "--schema", "shop.yaml", "--out", "whole", *budget, *given)
    assert_same(shop_and_news / "added", shop_and_news / "whole")


def test_it_neither_overwrites_nor_begins(shop_and_news: Path) -> None:
    assert_mistake(append("--overwrite"), "--append and --overwrite exclude each other")
    other = fae("prepare", "news.csv", "--append", "--out", "none")
    assert_mistake(other, "none is not a finished data set")
    assert append().exit_code == 0
    assert_mistake(append(), "news.csv is in the data set already")
