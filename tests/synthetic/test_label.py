"""The best possible AUC is that of known probabilities."""

import numpy as np
import pytest

from fae.synthetic.label import compute_best_auc, tally


def test_best_auc_of_known_probabilities():
    assert compute_best_auc(tally(np.full(10, 0.3))) == pytest.approx(0.5)
    # Pairs of a click and a non-click: 0.9 above 0.1 wins, equals are a toss.
    assert compute_best_auc(tally(np.array([0.1, 0.9]))) == pytest.approx(0.81 + 0.09)
