"""Row keys are splitmix64 as published, without ties, however rows are split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.arrays.row_keys import draw_sample, generate_row_keys
from tests.support import oracle

SEEDS = st.integers(0, 2**63 - 1)


def test_the_oracle_mixes_as_splitmix64_is_published() -> None:
    # The first outputs of the reference implementation for the seed 1234567.
    state, outputs = 1234567, []
    for _ in range(3):
        outputs.append(oracle.mixed(state))
        state += oracle.GOLDEN
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(first=st.integers(0, 2**40), count=st.integers(0, 20), seed=SEEDS)
def test_keys_equal_the_oracles(first: int, count: int, seed: int) -> None:
    keys = generate_row_keys(first, count, seed)
    assert keys.tolist() == [oracle.row_key(first + i, seed) for i in range(count)]


@given(seed=SEEDS, cut=st.integers(0, 50), share=st.floats(0.01, 1))
def test_keys_and_samples_do_not_depend_on_where_the_rows_are_split(
    seed: int, cut: int, share: float
) -> None:
    pieces = [generate_row_keys(0, cut, seed), generate_row_keys(cut, 50 - cut, seed)]
    assert np.array_equal(np.concatenate(pieces), generate_row_keys(0, 50, seed))
    pieces_sampled = [draw_sample(0, cut, share, seed), draw_sample(cut, 50 - cut, share, seed)]
    assert np.array_equal(np.concatenate(pieces_sampled), draw_sample(0, 50, share, seed))


@given(seed=SEEDS, share=st.sampled_from([0.001, 0.05, 0.5, 0.999, 1.0]))
def test_samples_equal_the_oracles(seed: int, share: float) -> None:
    expected = [oracle.in_sample(i, share, seed) for i in range(40)]
    assert draw_sample(0, 40, share, seed).tolist() == expected


def test_no_two_rows_share_a_key() -> None:
    assert np.unique(generate_row_keys(0, 100_000, 7)).size == 100_000


def test_a_sample_has_about_its_share_and_is_independent_of_the_order() -> None:
    rows = 100_000
    chosen = draw_sample(0, rows, 0.05, 0)
    assert chosen.sum() == pytest.approx(0.05 * rows, rel=0.05)
    first_half = np.argsort(generate_row_keys(0, rows, 0))[: rows // 2]
    assert chosen[first_half].mean() == pytest.approx(0.05, rel=0.05)


def test_another_seed_gives_another_order_and_another_sample() -> None:
    assert not np.array_equal(
        np.argsort(generate_row_keys(0, 99, 0)), np.argsort(generate_row_keys(0, 99, 1))
    )
    assert not np.array_equal(draw_sample(0, 99, 0.5, 0), draw_sample(0, 99, 0.5, 1))
