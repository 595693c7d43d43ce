"""Plant a signal in the label: what each id adds to the log-odds, and the best AUC possible."""

import numpy as np

from fae.synthetic.distributions import Floats, Ids, to_unit

BINS = 20_000


def compute_effects(ids: Ids, deviation: float, *purpose: str) -> Floats:
    """Return each id's fixed addition to the log-odds, of mean 0 and the given deviation.

    Frequent and rare ids have equal deviations: per row of the log, a model gains as much by
    learning a rare id as by learning a frequent one.
    """
    # A uniform number of width 1 has the standard deviation 1 / sqrt(12).
    added: Floats = (to_unit(ids, *purpose) - 0.5) * (deviation * 12.0**0.5)
    return added


def to_probabilities(log_odds: Floats) -> Floats:
    """Return the logistic function of log-odds."""
    odds: Floats = 1.0 / (1.0 + np.exp(-log_odds))
    return odds


def tally(probability: Floats) -> Floats:
    """Return expected clicks and non-clicks by probability, shape (2, BINS).

    Tallies of chunks add up to that of all rows.
    """
    bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    rows = np.bincount(bins, minlength=BINS)
    clicks = np.bincount(bins, weights=probability, minlength=BINS)
    return np.stack([clicks, rows - clicks])


def compute_best_auc(tally: Floats) -> float:
    """Return the expected AUC of a model that knows every row's true probability."""
    # A click wins against every non-click of a lower bin, and half of those of its own.
    clicks, others = tally
    below = np.cumsum(others) - others
    return float((clicks * (below + 0.5 * others)).sum() / (clicks.sum() * others.sum()))
