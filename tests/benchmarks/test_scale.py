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


def test_logs_of_more_parts_than_tasks_may_open_are_merged_first() -> None:
    from scale import LOGS, plan_rounds

    terabyte, petabyte = (plan_rounds(log, 32 * 2**20) for log in LOGS)
    assert not [one.name for one in terabyte if one.name.startswith("merge")]
    assert [one.name for one in petabyte if one.name.startswith("merge")] == [
        "merge dictionaries*", "merge scattered*"
    ]  # fmt: skip
    assert all(one.tasks > 0 and one.memory > 0 for one in (*terabyte, *petabyte))
