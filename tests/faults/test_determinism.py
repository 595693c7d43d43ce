"""The matrix of determinism: a few of its cells, and that a difference has a name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.determinism import compared
from faults.preparations import Case, cases
from faults.repetition import RUNS, repeated
from faults.ways import LOCAL

CELLS = ("hash seed", "one core")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """Visits of three days, prepared plainly."""
    return next(cases(7, tmp_path_factory.mktemp("cases"), 6000, ["visits"]))


@pytest.mark.parametrize("name", CELLS)
def test_a_way_of_preparing_does_not_show_in_the_bytes(
    case: Case, name: str, tmp_path: Path
) -> None:
    outcome = compared(7, case, tmp_path, {name: LOCAL[name]})
    assert (outcome.faults, outcome.failures) == (1, [])


def test_training_again_gives_the_same_model(case: Case, tmp_path: Path) -> None:
    runs = {"hash seed": RUNS["hash seed"]}
    outcome = repeated(7, case.plain / "out", tmp_path / "runs", runs, threads=1)
    assert (outcome.faults, outcome.failures) == (1, [])


def test_what_differs_is_named_with_its_cell(case: Case, tmp_path: Path) -> None:
    leaf = next(name for name in case.digests if name.startswith("split="))
    less = {name: digest for name, digest in case.digests.items() if name != leaf}

    def fails(case: Case, place: Path) -> dict[str, str]:
        raise OSError("by design")

    ways = {
        "changed": lambda case, place: case.digests | {"curve.csv": ""},
        "less": lambda case, place: less,
        "more": lambda case, place: case.digests | {"core": "0"},
        "fails": fails,
    }
    outcome = compared(7, case, tmp_path, ways)
    assert (outcome.faults, outcome.survived, outcome.lost_rows) == (4, 0, 1)
    for failure, (name, what) in zip(
        outcome.failures,
        [("changed", "curve.csv"), ("less", leaf), ("more", "core"), ("fails", "by design")],
        strict=True,
    ):
        assert f"seed 7, visits, {name}: " in failure
        assert failure.endswith(what)
