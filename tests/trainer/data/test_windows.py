"""Windows cover a file's row groups, and their orders depend on the seed, the epoch and a key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fae_trainer.data.windows import Shuffle, cut_windows


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
