"""Determinism: a few variants of a preparation, and that a difference is reported by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.determinism import compare
from faults.preparations import Case, make_cases
from faults.variants import LOCAL_VARIANTS

VARIANTS = ("one core",)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """Prepare visits of three days plainly."""
    return next(make_cases(7, tmp_path_factory.mktemp("cases"), 6000, ["visits"]))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_gives_the_same_bytes(case: Case, name: str, tmp_path: Path) -> None:
    outcome = compare(7, case, tmp_path, {name: LOCAL_VARIANTS[name]})
    assert (outcome.faults, outcome.failures) == (1, [])


def test_a_difference_is_reported_with_its_variant(case: Case, tmp_path: Path) -> None:
    leaf = next(name for name in case.digests if name.startswith("split="))
    less = {name: digest for name, digest in case.digests.items() if name != leaf}

    def fails(case: Case, place: Path) -> dict[str, str]:
        raise OSError("by design")

    variants = {
        "changed": lambda case, place: case.digests | {"curve.csv": ""},
        "less": lambda case, place: less,
        "more": lambda case, place: case.digests | {"core": "0"},
        "fails": fails,
    }
    outcome = compare(7, case, tmp_path, variants)
    assert (outcome.faults, outcome.survived, outcome.lost_rows) == (4, 0, 1)
    for failure, (name, what) in zip(
        outcome.failures,
        [("changed", "curve.csv"), ("less", leaf), ("more", "core"), ("fails", "by design")],
        strict=True,
    ):
        assert f"seed 7, visits, {name}: " in failure
        assert failure.endswith(what)
