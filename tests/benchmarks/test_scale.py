"""The simulation of large preparations counts work, the scheduler and the longest task."""

from __future__ import annotations

import pytest

from tests.support.project import ROOT


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_a_round_takes_its_share_of_the_workers_its_longest_task_or_the_scheduler() -> None:
    from scale import DISPATCH_SECONDS, Round, simulate

    heavy = Round("heavy", 1_000, 5_000.0, 0, 0, 0)
    assert simulate(heavy, 1) == pytest.approx(5_000, rel=0.01)
    assert simulate(heavy, 10) == pytest.approx(500, rel=0.05)
    one_long = Round("long", 1_000, 5_000.0, 0, 0, 0, longest=900.0)
    assert simulate(one_long, 10) == pytest.approx(900)
    for tasks in (50_000, 500_000):
        light = Round("light", tasks, tasks * 1e-4, 0, 0, 0)
        assert simulate(light, 256) == pytest.approx(tasks * DISPATCH_SECONDS, rel=0.01)


def test_logs_of_more_parts_have_more_rounds() -> None:
    from scale import FAN_IN, LOGS, Log, plan_rounds

    block_bytes = 32 * 2**20
    small = Log("small", 100 * FAN_IN, 1e6)
    plans = [plan_rounds(log, block_bytes) for log in (small, *LOGS)]
    names = [[one.name for one in plan] for plan in plans]
    assert [rounds.count("merge") for rounds in names] == [0, 1, 1, 2]
    assert [rounds.count("ranks") for rounds in names] == [0, 1, 1, 1]
    assert [rounds.count("rescatter") for rounds in names] == [0, 0, 1, 1]
    assert all(one.tasks > 0 and one.memory > 0 for plan in plans for one in plan)
