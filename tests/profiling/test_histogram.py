"""Histograms of chunks give the ranks of all values, as sorting them would."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fae.profiling.histogram import AccessHistogram, expand_ranks, merge_histograms

chunks = st.lists(st.lists(st.integers(1, 5), max_size=8), min_size=1, max_size=5)


@given(unsorted_chunks=chunks)
def test_ranks_are_by_accesses_and_then_by_chunk(unsorted_chunks: list[list[int]]) -> None:
    accesses = [sorted(chunk, reverse=True) for chunk in unsorted_chunks]
    histograms = [AccessHistogram.from_descending(np.array(chunk, np.int64)) for chunk in accesses]
    merged, first_ranks = merge_histograms(histograms)
    pairs = zip(merged.accesses.tolist(), merged.values.tolist(), strict=True)
    assert dict(pairs) == Counter(count for chunk in accesses for count in chunk)
    assert merged.accesses.tolist() == sorted(set(merged.accesses.tolist()), reverse=True)
    ranks = [
        expand_ranks(histogram.values, first).tolist()
        for histogram, first in zip(histograms, first_ranks, strict=True)
    ]
    keys = [(-n, number, i) for number, chunk in enumerate(accesses) for i, n in enumerate(chunk)]
    rank = {key[1:]: place for place, key in enumerate(sorted(keys), start=1)}
    expected = [
        [rank[number, i] for i in range(len(chunk))] for number, chunk in enumerate(accesses)
    ]
    assert ranks == expected
