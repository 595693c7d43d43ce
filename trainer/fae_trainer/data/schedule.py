"""Order an epoch's hot and cold batches, as a function of their counts, seed, epoch and feedback.

The order does not depend on where rows live, so every placement trains on the same batches. Hot
batches keep the order of their leaf, and so do cold ones. `cut_share` says how many a rank has.

- `interleaved` mixes the two as evenly as possible. Like a shuffle, it has no long phase of one
  kind and so no drift towards it, and the host has a hot batch's time to prepare the next cold one.
- `shuffled` mixes them at random.
- `phases` takes all cold batches, then all hot ones.
- `adaptive` is the shuffle scheduler of the FAE paper: R % of the cold batches, R % of the hot
  ones, then an evaluation whose loss adjusts R (`Pace`), and so on.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fae.format.errors import ParameterError

Ints = npt.NDArray[np.int64]
Kinds = npt.NDArray[np.bool_]
Spans = list[tuple[int, int]]


class Order(Protocol):
    """The order of an epoch's batches: which of them are hot, by position."""

    @property
    def batches(self) -> int:
        """The number of batches, hot and cold."""

    def hot_before(self, position: int) -> int:
        """Return the number of hot batches among the first `position`."""

    def is_hot(self, position: int) -> bool:
        """Tell whether the batch at `position` is hot."""


@dataclass(frozen=True)
class HotFirst:
    """All hot batches, then all cold ones: the order on disk."""

    hot: int
    batches: int

    def hot_before(self, position: int) -> int:
        """Return the number of hot batches among the first `position`."""
        return min(position, self.hot)

    def is_hot(self, position: int) -> bool:
        """Tell whether the batch at `position` is hot."""
        return position < self.hot


@dataclass(frozen=True, eq=False)
class Schedule:
    """Which of an epoch's batches are hot, by position, as far as it is known.

    `hot_counts` is (batches + 1,): the number of hot batches among the first 0, 1, 2, … `whole` is
    the number of batches of the epoch; only `adaptive` knows fewer at a time.
    """

    hot_counts: Ints
    whole: int

    @property
    def batches(self) -> int:
        """The number of batches, hot and cold, whose order is known."""
        return len(self.hot_counts) - 1

    @property
    def complete(self) -> bool:
        """Whether the order is known to the epoch's end."""
        return self.batches == self.whole

    def hot_before(self, position: int) -> int:
        """Return the number of hot batches among the first `position`."""
        return int(self.hot_counts[position])

    def is_hot(self, position: int) -> bool:
        """Tell whether the batch at `position`, from 0 to batches - 1, is hot."""
        return bool(self.hot_counts[position + 1] > self.hot_counts[position])


@dataclass(frozen=True)
class Pace:
    """The state of the shuffle scheduler: R in percent, the last loss, and its falls in a row.

    When the loss rises, R halves, down to 1, and hot and cold batches mix more finely. When it
    falls four times in a row, R doubles, up to 100, and there are fewer switches to pay for.
    """

    rate: int = 50
    loss: float | None = None
    falls: int = 0

    def after(self, loss: float) -> Pace:
        """Return the state after an evaluation measured `loss`; the first only sets the loss."""
        if self.loss is None:
            return Pace(self.rate, loss)
        if loss > self.loss:
            return Pace(max(self.rate // 2, 1), loss)
        falls = self.falls + 1 if loss < self.loss else 0
        if falls == 4:
            return Pace(min(self.rate * 2, 100), loss)
        return Pace(self.rate, loss, falls)


def make_schedule(
    hot: int,
    cold: int,
    seed: int,
    epoch: int,
    name: str = "interleaved",
    feedback: Sequence[float] = (),
) -> Schedule:
    """Return the order of an epoch's `hot` hot and `cold` cold batches, the same on every machine.

    `name` is one of SCHEDULES. `feedback` holds the loss at the end of each round of `adaptive`,
    from the run's first epoch on.
    """
    if name == "adaptive":
        counts = _count_hot(_alternate_rounds(hot, cold, epoch, feedback))
    elif name == "phases":
        counts = _count_hot(np.arange(hot + cold) >= cold)
    elif name == "shuffled":
        kinds = np.arange(hot + cold) < hot
        counts = _count_hot(np.random.default_rng([seed, epoch]).permutation(kinds))
    else:
        counts = _interleave(hot, hot + cold, seed, epoch)
    return Schedule(counts, hot + cold)


def count_batches(rows: int, batch_size: int) -> int:
    """Return the number of batches that hold `rows` rows; the last one may be partial."""
    return -(-rows // batch_size)


def _count_hot(kinds: Kinds) -> Ints:
    """Return how many of the first 0, 1, 2, … batches are hot."""
    return np.concatenate([[0], np.cumsum(kinds)]).astype(np.int64)


def _interleave(hot: int, batches: int, seed: int, epoch: int) -> Ints:
    """Return hot counts that follow the straight line from 0 to `hot`, within one batch.

    This is Bresenham's line in integers: floor((k * hot + phase) / batches). The seed and the epoch
    choose the phase, where the periodic pattern starts.
    """
    if not batches:
        return np.zeros(1, dtype=np.int64)
    phase = np.random.default_rng([seed, epoch]).integers(batches)
    line: Ints = (np.arange(batches + 1, dtype=np.int64) * hot + phase) // batches
    return line


def _alternate_rounds(hot: int, cold: int, epoch: int, feedback: Sequence[float]) -> Kinds:
    """Return which of the epoch's batches are hot, as far as the feedback determines it.

    All earlier epochs are replayed, since their losses determine R now.
    """
    pace, losses = Pace(), iter(feedback)
    for _ in range(epoch + 1):
        kinds: list[Kinds] = [np.zeros(0, dtype=np.bool_)]
        remaining = [cold, hot]
        while any(remaining):
            for kind, size in enumerate((cold, hot)):
                count = min(remaining[kind], -(-size * pace.rate // 100))  # R %, rounded up
                kinds.append(np.full(count, bool(kind)))
                remaining[kind] -= count
            loss = next(losses, None)
            if loss is None:  # the next round's length is not known yet
                return np.concatenate(kinds)
            pace = pace.after(loss)
    return np.concatenate(kinds)


def cut_spans(spans: Spans, parts: int) -> list[Spans]:
    """Cut spans of batches into consecutive parts, whose numbers of batches differ by one at most.

    A span is the batches from position `start` to before `stop`.
    """
    total = sum(stop - start for start, stop in spans)
    bounds = [total * part // parts for part in range(parts + 1)]
    return [slice_spans(spans, begin, end) for begin, end in itertools.pairwise(bounds)]


def slice_spans(spans: Spans, begin: int, end: int | None = None) -> Spans:
    """Return the batches of spans from the one numbered `begin` to before `end`, or to the last.

    Numbers count from 0 through all spans.
    """
    kept, number = [], 0  # the number of a span's first batch
    for start, stop in spans:
        first = start + max(begin - number, 0)
        last = stop if end is None else min(stop, start + end - number)
        if first < last:
            kept.append((first, last))
        number += stop - start
    return kept


@dataclass(frozen=True)
class RankShare:
    """A rank's rows of a leaf, [start, start + rows), and the batches they are cut into.

    Ranks differ by at most one row and have the same number of batches. Batches have `batch_size`
    rows, and the last one the rest; a rank without a rest moves a row there from the batch before.
    """

    start: int
    rows: int
    batches: int
    batch_size: int

    def before(self, batch: int) -> int:
        """Return the number of the share's rows before a batch, or before the end."""
        rows = min(batch * self.batch_size, self.rows)
        last_is_empty = batch == self.batches - 1 and rows == self.rows
        return rows - 1 if last_is_empty else rows


def cut_share(rows: int, batch_size: int, rank: int, world_size: int) -> RankShare:
    """Return the share of rank `rank` of `world_size` in a leaf of `rows` rows.

    Raises ParameterError where a rank would have a batch without rows.
    """
    start, stop = (rows * number // world_size for number in (rank, rank + 1))
    batches = count_batches(-(-rows // world_size), batch_size)
    shortest = rows // world_size - (batches - 1) * batch_size  # last batch of any rank
    if rows and not shortest and (batches == 1 or batch_size == 1):
        raise ParameterError(
            f"{rows} rows of one temperature cannot be split into equally many batches of "
            f"{batch_size} for each of {world_size} ranks. Use fewer ranks or larger batches."
        )
    return RankShare(start, stop - start, batches, batch_size)
