"""Distributions have their shares, hashes do not collide, and merges stay in their zones."""

import numpy as np
import pytest

from fae.synthetic.distributions import Skew, Zone, assign_parents, merge_ids, mix


def test_a_skew_draws_its_shares():
    skew = Skew(((1, 0.5), (10, 0.9), (100, 1.0)))
    drawn = skew.draw((np.arange(100_000) + 0.5) / 100_000)
    shares = np.bincount(drawn, minlength=100) / 100_000
    assert shares[0] == pytest.approx(0.5, abs=1e-4)
    assert shares[:10].sum() == pytest.approx(0.9, abs=1e-4)
    assert shares == pytest.approx(skew.shares(), abs=2e-5)


def test_mixing_is_a_bijection():
    assert len(np.unique(mix(np.arange(1 << 20, dtype=np.uint32), "test"))) == 1 << 20


def test_merging_moves_the_share_below_the_zone():
    ids = np.arange(100_000, dtype=np.uint32)
    parents = merge_ids(ids, (Zone(1_000, 0.3, 10, 500),), "test")
    assert (parents[:1_000] == ids[:1_000]).all()
    moved = parents != ids
    assert moved[1_000:].mean() == pytest.approx(0.3, abs=0.01)
    assert parents[moved].min() >= 10
    assert parents[moved].max() < 500


def test_every_parent_gets_children():
    children = np.array([0.4, 0.2, 0.1, 0.1, 0.1, 0.06, 0.04])
    parents = assign_parents(children, np.array([0.6, 0.3, 0.1]))
    assert np.bincount(parents, children) == pytest.approx([0.6, 0.3, 0.1], abs=0.1)
