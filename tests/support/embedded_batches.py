"""Small random tables, and batches of their ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st

from fae_trainer.data.batches import Batch
from fae_trainer.embedding.layout import Layout

SIZES = st.lists(
    st.integers(1, 30).flatmap(lambda rows: st.tuples(st.just(rows), st.integers(0, rows))),
    min_size=1,
    max_size=3,
)


@dataclass(frozen=True)
class EmbeddedBatches:
    """Tables, each (rows, hot rows), the table of each feature, and batches of one size."""

    layout: Layout
    batches: list[Batch]
    rng: np.random.Generator


@st.composite
def embedded_batches(draw: st.DrawFn, count: int, samples: int = 12) -> EmbeddedBatches:
    """Draw tables and `count` batches; ids are few and often equal, bags of any length or of 1."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, hot = (np.array(sizes, dtype=np.int64) for sizes in zip(*draw(SIZES), strict=True))
    features = rng.integers(0, len(rows), draw(st.integers(1, 3)))
    names = tuple(f"table {number}" for number in range(len(rows)))
    size, lists = draw(st.integers(1, samples)), draw(st.booleans())
    kind = draw(st.sampled_from([np.int32, np.int64]))
    batches = [draw_batch(rng, rows[features], size, lists, kind) for _ in range(count)]
    return EmbeddedBatches(Layout(names, rows, hot, features), batches, rng)


def draw_batch(
    rng: np.random.Generator, rows: np.ndarray, samples: int, lists: bool, kind: type
) -> Batch:
    """Return random ids below the `rows` of each feature; small ids are likelier."""
    lengths = rng.integers(0, 5, (samples, len(rows))) if lists else np.ones((samples, len(rows)))
    lengths = lengths.astype(np.int64).ravel()
    limits = np.repeat(np.tile(rows, samples), lengths)
    ids = torch.from_numpy((limits * rng.random(len(limits)) ** 2).astype(kind))
    offsets = None
    if lists:
        offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(kind))
    return Batch(torch.zeros(samples), torch.empty((samples, 0)), ids, offsets, hot=False)
