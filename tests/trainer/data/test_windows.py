"""Windows cover a file's row groups, and their orders depend on the seed, the epoch and a key."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fae_trainer.data.windows import Shuffle, Window, cut_mixes, cut_windows, draw_sources


@given(st.lists(st.integers(0, 40), max_size=20), st.integers(1, 60))
def test_windows_cover_the_row_groups_and_have_enough_rows(sizes: list[int], least: int) -> None:
    found = list(cut_windows(sizes, least))
    assert [group for groups in found for group in groups] == list(range(len(sizes)))
    assert all(sum(sizes[group] for group in groups) >= least for groups in found[:-1])
    assert all(sum(sizes[group] for group in groups[:-1]) < least for groups in found)


def test_an_order_belongs_to_its_seed_epoch_and_key() -> None:
    expected = Shuffle(1, 2).permute(100, 3, 4).tolist()
    assert sorted(expected) == list(range(100))
    assert Shuffle(1, 2).permute(100, 3, 4).tolist() == expected
    others = [Shuffle(2, 2).permute(100, 3, 4), Shuffle(1, 3).permute(100, 3, 4)]
    others += [Shuffle(1, 2).permute(100, 3, 5), Shuffle(1, 2).permute(100, 3)]
    assert all(other.tolist() != expected for other in others)


@given(st.integers(1, 30), st.integers(1, 40))
def test_mixes_have_all_windows_in_order_and_are_of_equal_size(windows: int, most: int) -> None:
    every = [Window(0, number, range(number, number + 1), 9) for number in range(windows)]
    found = list(cut_mixes(every, most))
    assert [window for mix in found for window in mix] == every
    sizes = [len(mix) for mix in found]
    assert 0 < min(sizes) <= max(sizes) <= min(most, min(sizes) + 1)
    assert len(sizes) == -(-windows // most)


def test_the_rows_of_a_mix_come_from_its_windows_at_random() -> None:
    windows = [Window(file, 0, range(1), rows) for file, rows in enumerate((60, 1, 40))]
    found = draw_sources(windows, Shuffle(1, 2), True)
    assert np.bincount(found).tolist() == [60, 1, 40]
    assert found.tolist() == draw_sources(windows, Shuffle(1, 2), True).tolist()
    assert not np.array_equal(found, np.sort(found))
    assert found.tolist() != draw_sources(windows, Shuffle(1, 3), True).tolist()
    assert draw_sources(windows, None, True).tolist() == np.sort(found).tolist()
    assert draw_sources(windows[:1], Shuffle(1, 2), True).tolist() == [0] * 60
