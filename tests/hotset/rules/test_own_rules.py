"""Another package's rule is found by its entry point, and may not return nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest

import fae
from fae.format.errors import ParameterError
from tests.support.command_line import fae as run_fae
from tests.support.small_logs import SHOP, SHOP_LOG

MODULE = """
import numpy

def by_row(problem):
    return numpy.arange(problem.rows.count)[::-1]

def twice(problem):
    return [1, 1]

def beyond(problem):
    return [problem.rows.count]

def words(problem):
    return ["a"]

def fail(problem):
    raise ValueError("no")
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with rules."""
    (tmp_path / "site" / "mine-1.dist-info").mkdir(parents=True)
    (tmp_path / "site" / "rules_for_a_test.py").write_text(MODULE)
    metadata = tmp_path / "site" / "mine-1.dist-info"
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    names = ("by_row", "twice", "beyond", "words", "fail")
    points = "".join(f"{name} = rules_for_a_test:{name}\n" for name in names)
    (metadata / "entry_points.txt").write_text(f"[fae.rules]\n{points}")
    monkeypatch.syspath_prepend(tmp_path / "site")
    (tmp_path / "shop.csv").write_text(SHOP_LOG)


def prepare(directory: Path, rule: str) -> fae.Dataset:
    log, out = directory / "shop.csv", directory / "out"
    return fae.prepare(log, schema=SHOP, out=out, hot_budget=120, rule=rule, threads=1)


def test_a_rule_of_another_package_ranks_the_rows(tmp_path: Path) -> None:
    dataset = prepare(tmp_path, "by_row")
    assert dataset.verify().faults == ()
    assert [table.hot_rows for table in dataset.manifest.tables] == [1, 5]
    parameters = dataset.manifest.preparation["parameters"]["calibrate"]
    assert parameters["rule"] == "by_row"


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("twice", "returns a row twice"),
        ("beyond", "must return numbers of rows, 0 to"),
        ("words", "must return numbers of rows, 0 to"),
        ("fail", "'fail' failed: ValueError"),
        ("none", "must be one of inputs, accesses, threshold, per-table, by_row"),
    ],
)
def test_a_rule_that_returns_no_ranking_is_told(tmp_path: Path, rule: str, why: str) -> None:
    with pytest.raises(ParameterError, match=why):
        prepare(tmp_path, rule)


def test_the_command_knows_installed_rules_alone(tmp_path: Path) -> None:
    words = ("calibrate", "no_staging", "no_frequencies", "--hot-budget", "1KiB", "--out", "x")
    assert "invalid choice: 'best'" in run_fae(*words, "--rule", "best").stderr
    assert "invalid choice" not in run_fae(*words, "--rule", "by_row").stderr
