"""The planted signal: what each id adds to the log-odds, and the best AUC that it allows."""

import numpy as np

from fae.synthetic.hashing import Floats, Ids, unit

BINS = 20_000


def effects(ids: Ids, salt: int, deviation: float) -> Floats:
    """A fixed addition to the log-odds for each id, of mean 0 and the given deviation.

    Frequent and rare ids have equal deviations: a model gains as much by learning a rare id's
    row, in proportion to its rows, as a frequent one's.
    """
    added: Floats = (unit(ids, salt) - 0.5) * (deviation * 12.0**0.5)
    return added


def probabilities(log_odds: Floats) -> Floats:
    """The logistic function."""
    odds: Floats = 1.0 / (1.0 + np.exp(-log_odds))
    return odds


def tallied(probability: Floats) -> Floats:
    """Expected clicks and non-clicks by probability, (2, BINS); tallies of chunks add up."""
    bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    rows = np.bincount(bins, minlength=BINS)
    clicks = np.bincount(bins, weights=probability, minlength=BINS)
    return np.stack([clicks, rows - clicks])


def best_auc(tally: Floats) -> float:
    """The AUC that a model reaches, in expectation, which knows every row's true probability."""
    clicks, others = tally
    below = np.cumsum(others) - others
    return float((clicks * (below + 0.5 * others)).sum() / (clicks.sum() * others.sum()))
