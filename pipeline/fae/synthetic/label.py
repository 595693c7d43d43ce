"""Plant a signal in the label: what each id adds to the log-odds, and the best AUC possible."""

import numpy as np

from fae.synthetic.distributions import Floats, Ids, to_unit

BINS = 20_000


def compute_effects(ids: Ids, salt: int, deviation: float) -> Floats:
    """Return what each id adds to the log-odds: fixed, of mean 0 and standard deviation `deviation`.

    Frequent and rare ids have equal deviations: per row of the log, a model gains as much by
    learning a rare id as by learning a frequent one.
    """
    added: Floats = (to_unit(ids, salt) - 0.5) * (deviation * 12.0**0.5)
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
    clicks, others = tally
    below = np.cumsum(others) - others
    return float((clicks * (below + 0.5 * others)).sum() / (clicks.sum() * others.sum()))
