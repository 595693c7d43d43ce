"""What every rule guarantees, whatever it optimises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from fae.hotset.problem import Problem
from fae.hotset.rules import RULES
from tests.support.stacked_tables import problem, problems, stacked


def test_the_command_line_knows_these_rules() -> None:
    assert list(RULES) == ["inputs", "accesses", "threshold", "per-table"]


@pytest.mark.parametrize("name", sorted(RULES))
@given(drawn=problems())
def test_every_rule_ranks_id_0_of_each_table_first_and_seen_rows_once(
    name: str, drawn: Problem
) -> None:
    rows = drawn.rows
    accesses_before = rows.accesses.copy()
    ranked = RULES[name](drawn).ranked_rows.to_rows()
    assert np.array_equal(rows.accesses, accesses_before)
    tables = len(rows.tables)
    assert ranked[:tables].tolist() == rows.oov_rows.tolist()
    assert len(set(ranked.tolist())) == ranked.size
    assert set(ranked[tables:].tolist()) <= set(rows.seen_rows.tolist())
    if name != "threshold":
        assert set(ranked[tables:].tolist()) == set(rows.seen_rows.tolist())
    assert np.array_equal(ranked, RULES[name](drawn).ranked_rows.to_rows())


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_rule_handles_a_log_without_accesses(name: str) -> None:
    empty = problem(stacked([[0, 0], [0]], [4, 4]), 100, [[], []])
    assert RULES[name](empty).ranked_rows.to_rows().tolist() == [0, 2]
