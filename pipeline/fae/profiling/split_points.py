"""The timeline: rows in the order of time, then of position, found without holding them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from fae.ingestion.part import Times

DAY = 86_400
#: Rows are counted by day, then by minutes of one day, then by second: the seconds of each step,
#: which divide those before, and what counting by it is called.
_STEPS = {DAY: "days", 300: "minutes", 1: "seconds"}

#: Rows by the number of a step, counted from 1970.
Counts = dict[int, int]


@dataclass(frozen=True)
class Window:
    """Time in steps of so many seconds: all of it, or the coarser step (seconds, number)."""

    step: int
    within: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """What counting in such steps is called."""
        return _STEPS[self.step]

    def counts(self, times: Times) -> Counts:
        """How many of `times` (rows, seconds) lie in each step."""
        if self.within is not None:
            seconds, number = self.within
            times = times[times // seconds == number]
        numbers, counts = np.unique(times // self.step, return_counts=True)
        return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True)
class Moment:
    """A place in the timeline: a time, and the row there is at that time."""

    time: int
    row: int


@dataclass(frozen=True)
class Timeline:
    """Rows in parts. `measure` counts each part's in a window; `rows_at` gives a part's at a time.

    Row numbers ascend, in a part and from part to part.
    """

    measure: Callable[[Window], Sequence[Counts]]
    rows_at: Callable[[int, int], npt.NDArray[np.integer[Any]]]

    def __len__(self) -> int:
        return sum(_merged(self._by_day).values())

    def before(self, day: int) -> int:
        """How many rows are before a day, by its number."""
        return sum(rows for number, rows in _merged(self._by_day).items() if number < day)

    def at(self, place: int) -> Moment:
        """The moment of the row that so many are before; IndexError where there are no more."""
        counts = self._by_day
        time, place = _step(counts, place)
        for coarse, step in itertools.pairwise(_STEPS):
            counts = self.measure(Window(step, (coarse, time)))
            time, place = _step(counts, place)
        for part, mine in enumerate(counts):
            here = mine.get(time, 0)
            if place < here:
                return Moment(time, int(self.rows_at(part, time)[place]))
            place -= here
        raise AssertionError("a part counted otherwise the second time")

    @cached_property
    def _by_day(self) -> Sequence[Counts]:
        return self.measure(Window(DAY))


def _step(counts: Sequence[Counts], place: int) -> tuple[int, int]:
    """The number of the step in which a place lies, and the place in the step."""
    for number, rows in sorted(_merged(counts).items()):
        if place < rows:
            return number, place
        place -= rows
    raise IndexError("the timeline has fewer rows")


def _merged(counts: Sequence[Mapping[int, int]]) -> Counter[int]:
    total: Counter[int] = Counter()
    for one in counts:
        total.update(one)
    return total
