"""Contested samples: what a core of hot rows leaves open, in memory or read part by part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.arrays.run_length import RowRanges
from fae.execution.executor import Executor
from fae.format.budget import Embedding
from fae.hotset.contested import find_contested, read_contested
from fae.hotset.problem import ContestedSamples, Problem
from fae.hotset.problem_data import stack_rows, stack_samples
from fae.storage.folder import Folder
from tests.support.small_logs import Stages
from tests.support.stacked_tables import problem, problems, stacked


def in_order(rows: list[int]) -> RowRanges:
    """Return a core of these rows, in this order."""
    return RowRanges(np.array(rows, dtype=np.int64), np.ones(len(rows), dtype=np.int64))


def list_contested(contested: ContestedSamples) -> tuple[list[list[int]], dict[int, int]]:
    """Return the contested samples as lists of rows, and the charges of the others by row."""
    samples = contested.samples
    lists = np.split(samples.rows, samples.offsets[1:-1])
    charges = dict(zip(contested.charged_rows.tolist(), contested.charges.tolist(), strict=True))
    return [rows.tolist() for rows in lists if rows.size], charges


def test_a_sample_keeps_its_rows_outside_the_core_or_is_charged_to_its_coldest_row() -> None:
    rows = stacked([[0, 4, 2, 1], [0, 5, 3]], [4, 4])
    solved = problem(rows, 100, [[1, 5], [1, 3], [2, 5], [1, 2, 6], []])
    # In the core, row 5 is hottest and row 2 coldest. The sample without rows has row 0.
    contested = find_contested(solved, in_order([5, 1, 2]))
    assert list_contested(contested) == ([[3], [6]], {0: 1, 1: 1, 2: 1})
    assert contested.hot_count == 3


@given(solved=problems(), data=st.data())
def test_other_samples_are_charged_to_a_row_of_theirs(solved: Problem, data: st.DataObject) -> None:
    core = data.draw(st.permutations(range(1, solved.rows.count)))
    core = core[: data.draw(st.integers(0, len(core)))]
    samples = solved.read_samples()
    lists = [rows.tolist() for rows in np.split(samples.rows, samples.offsets[1:-1])]
    lists = lists if samples.count else []
    open_lists, charges = list_contested(find_contested(solved, in_order(core)))
    assert open_lists == [
        [row for row in rows if row not in core] for rows in lists if set(rows) - set(core)
    ]
    expected: dict[int, int] = {}
    for rows in lists:
        if not set(rows) - set(core):
            coldest = max(rows, key=core.index, default=0)
            expected[coldest] = expected.get(coldest, 0) + 1
    assert charges == expected


@pytest.mark.parametrize("threads", [1, 2])
def test_tasks_read_what_is_found_in_memory(shop: Stages, tmp_path: Path, threads: int) -> None:
    rows = stack_rows(shop.frequencies, shop.staging.schema, Embedding("float32", "sgd"))
    samples = stack_samples(shop.staging, shop.frequencies)
    seen = rows.seen_rows
    core = in_order(seen[np.argsort(-rows.accesses[seen], kind="stable")][:4].tolist())
    sources = (shop.staging, shop.frequencies, rows)
    read = read_contested(*sources, core, Folder.of(tmp_path), Executor(threads))
    found = find_contested(Problem(rows, lambda: samples, 1), core)
    assert 0 < read.hot_count < samples.count
    assert list_contested(read) == list_contested(found)
