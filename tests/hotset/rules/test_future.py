"""The objective `future`: samples left out of their own counts, and Good and Turing's estimate."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from fae.execution.executor import Executor
from fae.hotset.parameters import CalibrateParameters
from fae.hotset.problem import Objective, Problem, StackedRows
from fae.hotset.problem_data import stack_rows
from fae.hotset.rules.future import rank_by_samples, rank_for_future
from fae.hotset.stage import calibrate
from fae.ingestion.parameters import IngestParameters
from fae.ingestion.stage import ingest
from fae.logs.files import find_logs
from fae.logs.schema_files import load_schema
from fae.profiling.parameters import ProfileParameters
from fae.profiling.stage import profile
from fae.synthetic.log import write_log
from tests.support.real_logs import find_real_log
from tests.support.stacked_tables import problem, problems, stacked

FUTURE = Objective(future=True)
SCHEMAS = {"criteo": "criteo-kaggle", "avazu": "avazu"}


def counted(tables: list[int], sets: list[list[int]], budget: int = 4) -> Problem:
    """Return a problem over tables of so many rows, one byte each, accesses counted from sets."""
    offsets = np.cumsum([0, *tables])
    accesses = np.bincount(list(itertools.chain(*sets)), minlength=int(offsets[-1]))
    counts = [accesses[begin:end].tolist() for begin, end in itertools.pairwise(offsets)]
    return problem(stacked(counts, [1] * len(tables)), budget, sets, FUTURE)


def ranked(solved: Problem) -> list[int]:
    return rank_by_samples(solved).ranked_rows.to_rows().tolist()


def test_rows_of_one_sample_come_after_those_that_several_samples_share() -> None:
    # Peeling train would buy 3 and 4, one whole sample, and 1, which with 2 would be hot in two.
    order = ranked(counted([3, 3], [[1, 4], [1, 5], [2, 4]], budget=3))
    assert order == [0, 3, *order[2:]]
    assert set(order[2:4]) == {1, 4}
    assert set(order[4:]) == {2, 5}


def test_a_sample_whose_other_values_are_its_own_needs_only_the_shared_row() -> None:
    # Left out, the first two samples need row 1 alone; the last four need 2 and 5 or 2 and 6.
    sets = [[1, 7], [1, 8], [2, 5], [2, 5], [2, 6], [2, 6]]
    order = ranked(counted([3, 6], sets, budget=3))
    assert order[:3] == [0, 3, 1]


def test_rows_seen_once_go_by_how_often_the_values_of_their_table_come_back() -> None:
    # Table 0: one value seen twice for four seen once; table 1: two for one.
    sets = [[1, 7], [1, 7], [2, 8], [3, 8], [4, 9], [5]]
    order = ranked(counted([6, 4], sets))
    assert order[-5:] == [9, 2, 3, 4, 5]


def test_a_row_that_one_sample_accesses_twice_would_not_exist_without_it() -> None:
    rows = stacked([[0, 2, 2]], [1])
    solved = problem(rows, 2, [[1], [2], [2]], FUTURE)
    solved = replace(solved, rows=stacked([[0, 4, 2]], [1]))
    assert ranked(solved) == [0, 2, 1]


def test_rows_that_a_sample_of_train_missed_are_ranked_by_their_accesses() -> None:
    rows = stacked([[0, 3, 1, 0, 0]], [1])
    everything = stacked([[0, 40, 30, 20, 1]], [1]).access_counts
    solved = Problem(rows, problem(rows, 1, [[1], [1], [1], [2]]).read_samples, 5, FUTURE)
    assert ranked(replace(solved, all_accesses=everything)) == [0, 1, 2, 3, 4]
    # Row 2 is known without its sample, so that it stays out does not make the sample hot.
    assert ranked(replace(solved, budget_bytes=2, all_accesses=everything))[1] == 1


@given(solved=problems())
def test_every_accessed_row_is_ranked_once_behind_id_0(solved: Problem) -> None:
    rows = solved.rows
    order = ranked(replace(solved, objective=FUTURE))
    assert order[: len(rows.tables)] == rows.oov_rows.tolist()
    assert sorted(order[len(rows.tables) :]) == rows.seen_rows.tolist()
    assert order == ranked(replace(solved, objective=FUTURE))


@given(solved=problems())
def test_left_out_samples_are_hot_no_less_often_than_by_accesses(solved: Problem) -> None:
    """Compare with plain sets: a row of one sample is left out of it."""
    solved = replace(solved, objective=FUTURE)
    samples = solved.read_samples()
    sets = [
        set(samples.rows[begin:end].tolist()) for begin, end in itertools.pairwise(samples.offsets)
    ]
    holders = Counter(itertools.chain(*sets))
    left_out = [{row for row in one if holders[row] > 1} for one in sets]

    def count_hot(order: list[int]) -> int:
        hot: set[int] = set()
        spent = 0
        for row in order:
            spent += int(solved.rows.cost_bytes[row])
            if spent > solved.budget_bytes:
                break
            hot.add(row)
        return sum(one <= hot for one in left_out)

    shared: StackedRows = solved.rows
    by_accesses = sorted(
        (row for row in shared.seen_rows.tolist() if holders[row] > 1),
        key=lambda row: (-shared.accesses[row] / shared.cost_bytes[row], row),
    )
    assert count_hot(ranked(solved)) >= count_hot([*shared.oov_rows.tolist(), *by_accesses])


def test_the_bound_of_left_out_samples_is_not_taken_for_one_of_train() -> None:
    assert rank_for_future(counted([3, 3], [[1, 4], [1, 5], [2, 4]])).loads is None


# ── On logs: no worse than the rule `accesses` on the held-out fifth ─────────────────────────────


def check_no_worse(kind: str, log: Path, work: Path, min_count: int = 1) -> None:
    """Calibrate for the future at several shares of all bytes, beside the rule `accesses`."""
    schema = load_schema(SCHEMAS[kind])
    executor = Executor(1)
    lenient = IngestParameters(max_reject_share=0.05)
    staging = ingest(find_logs([str(log)], schema), schema, work / "staging", executor, lenient)
    counting = ProfileParameters(min_count={"": min_count})
    frequencies = profile(staging, work / "frequencies", executor, counting)
    rows = stack_rows(frequencies, schema, CalibrateParameters.of(hot_budget=1).embedding)
    for bytes_share in (0.05, 0.1, 0.2, 0.4):
        budget = int(bytes_share * rows.total_bytes)
        parameters = CalibrateParameters.of(hot_budget=budget, rule="inputs", objective="future")
        out = work / f"hot_{bytes_share}"
        future, accesses = calibrate(staging, frequencies, out, executor, parameters).shares
        assert future.held_out is not None
        assert accesses.held_out is not None
        assert future.held_out >= accesses.held_out


@pytest.mark.parametrize("kind", ["criteo", "avazu"])
def test_no_worse_on_the_held_out_rows_of_a_real_log(kind: str, tmp_path: Path) -> None:
    check_no_worse(kind, find_real_log(kind), tmp_path)


@pytest.mark.parametrize(("seed", "min_count"), [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("kind", ["criteo", "avazu"])
def test_no_worse_on_the_held_out_rows_of_a_synthetic_log(
    kind: str, seed: int, min_count: int, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    write_log(kind, 4_000, log, seed, lambda _: None)
    check_no_worse(kind, log, tmp_path, min_count)
