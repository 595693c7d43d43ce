"""Splits: hold out the latest rows for valid and test, as a model in production sees them.

Rows are ordered by time, then by position in the logs. Where valid and test begin is found by
counting rows in ever finer steps of time, so no task holds or sorts all times.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from fae.format.errors import ParameterError
from fae.format.manifest import SPLITS
from fae.ingestion.cast.times import MICROSECONDS_PER_SECOND, SECONDS_PER_DAY
from fae.ingestion.part import IntegerArray, Times
from fae.ingestion.staging import Staging
from fae.logs.schema import SplitOrder

TRAIN, VALID, TEST = 0, 1, 2
_DAY = SECONDS_PER_DAY * MICROSECONDS_PER_SECOND
#: The steps in which rows are counted, in microseconds, and the name of each count. Each step
#: divides the one before: all rows by day, then one day by five minutes, and so on.
_STEPS = {
    _DAY: "days",
    300 * MICROSECONDS_PER_SECOND: "minutes",
    MICROSECONDS_PER_SECOND: "seconds",
    1: "microseconds",
}

SplitCodes = npt.NDArray[np.int8]
#: Rows by the number of their step, counted from 1970.
StepCounts = dict[int, int]


@dataclass(frozen=True)
class HeldOut:
    """How much is held out: a share of all rows, or the last whole days (UTC) of the log."""

    share: float = 0.0
    days: int = 0

    @classmethod
    def parse(cls, text: str) -> HeldOut:
        """Return what `0.1` (a share) or `1d` (days) says.

        Raises ValueError for any other text.
        """
        if re.fullmatch("[0-9]{1,9}d", text):
            return cls(days=int(text[:-1]))
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if not 0 <= share < 1:
            raise ValueError(
                "must be a share from 0 to below 1 such as 0.1, or days such as 1d (if the schema "
                "has a time column)"
            )
        return cls(share=share)


@dataclass(frozen=True)
class SplitPoint:
    """A position in the timeline: a time, and a row with that time.

    `time` is whole seconds since 1970, `microsecond` what follows them.
    """

    time: int
    row: int
    microsecond: int = 0

    @classmethod
    def of(cls, moment: int, row: int) -> Self:
        """Return the point at a time in microseconds since 1970."""
        seconds, microsecond = divmod(moment, MICROSECONDS_PER_SECOND)
        return cls(seconds, row, microsecond)

    @property
    def moment(self) -> int:
        """The time in microseconds since 1970."""
        return self.time * MICROSECONDS_PER_SECOND + self.microsecond


@dataclass(frozen=True)
class SplitPoints:
    """Where valid and test begin in the timeline of the rows whose logs state no split.

    None where nothing is held out. Together with the splits that logs state, this decides the split
    of each row, so no stage stores splits row by row.
    """

    valid: SplitPoint | None
    test: SplitPoint | None

    def assign(self, stated: str | None, first: int, times: Times) -> SplitCodes:
        """Return the splits of consecutive rows as TRAIN, VALID or TEST, shape (rows,).

        `stated` is the split that their log states, if any, and `first` the number of the first
        row. `times` (rows, microseconds) are all 0 where the schema has no time.
        """
        if stated is not None:
            return np.full(times.size, SPLITS.index(stated), dtype=np.int8)
        codes = np.full(times.size, TRAIN, dtype=np.int8)
        for point, code in ((self.valid, VALID), (self.test, TEST)):
            if point is not None:
                codes[times > point.moment] = code
                # Of rows at the time of the point itself, those from its row on are behind it.
                begin = max(point.row - first, 0)
                codes[begin:][times[begin:] == point.moment] = code
        return codes

    def shared_split(self, stated: str | None, first: int, rows: int, ordered: bool) -> int | None:
        """Return the one split of `rows` rows, at least one, from `first` on.

        None where they are in several splits, or where their times would have to be read.
        """
        if stated is None and ordered and (self.valid or self.test):
            return None
        zero = np.zeros(1, dtype=np.int64)
        ends = [int(self.assign(stated, row, zero)[0]) for row in (first, first + rows - 1)]
        return ends[0] if ends[0] == ends[1] else None


@dataclass(frozen=True)
class TimeWindow:
    """Time in steps of `step` microseconds: all of it, or one coarser step's.

    `within` has the coarser step's length and number.
    """

    step: int
    within: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """The name of the stage that counts rows in such steps."""
        return _STEPS[self.step]

    def count(self, times: Times) -> StepCounts:
        """Count how many of `times` (rows, microseconds) lie in each step of the window."""
        if self.within is not None:
            length, number = self.within
            times = times[times // length == number]
        numbers, counts = np.unique(times // self.step, return_counts=True)
        return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True)
class Timeline:
    """The rows of all parts in the order of time, then of position.

    `count_rows` counts the rows of each part in a window; `rows_at` returns a part's row numbers at
    a time. Row numbers ascend, in a part and from part to part.
    """

    count_rows: Callable[[TimeWindow], Sequence[StepCounts]]
    rows_at: Callable[[int, int], IntegerArray]

    def __len__(self) -> int:
        return sum(_add_counts(self._by_day).values())

    def count_before(self, moment: int) -> int:
        """Count the rows before a time in microseconds, among few different times."""
        counts = _add_counts(self.count_rows(TimeWindow(1)))
        return sum(rows for number, rows in counts.items() if number < moment)

    def count_days_before(self, day: int) -> int:
        """Count the rows before a day, by its number since 1970."""
        return sum(rows for number, rows in _add_counts(self._by_day).items() if number < day)

    def locate(self, position: int) -> SplitPoint:
        """Return the time and row at a position in the timeline, from 0.

        Raises IndexError where the timeline has fewer rows.
        """
        number, position, counts = self._find(position)
        # Rows at one time go part by part.
        for part, in_part in enumerate(counts):
            rows = in_part.get(number, 0)
            if position < rows:
                return SplitPoint.of(number, int(self.rows_at(part, number)[position]))
            position -= rows
        raise AssertionError("a part has fewer rows than it was counted to have")

    def locate_value(self, position: int) -> tuple[int, SplitPoint]:
        """Return where the rows begin that have the time of the row at a position, and the point.

        Raises IndexError where the timeline has fewer rows.
        """
        number, behind, _ = self._find(position)
        return position - behind, SplitPoint.of(number, 0)

    def _find(self, position: int) -> tuple[int, int, Sequence[StepCounts]]:
        """Return the time at a position, how far behind the first row at it, and the counts."""
        counts = self._by_day
        number, position = _find_step(counts, position)
        for coarse, step in itertools.pairwise(_STEPS):
            counts = self.count_rows(TimeWindow(step, (coarse, number)))
            number, position = _find_step(counts, position)
        return number, position, counts  # a step is a microsecond now, its number a time

    @cached_property
    def _by_day(self) -> Sequence[StepCounts]:
        return self.count_rows(TimeWindow(_DAY))


def assign_splits(staging: Staging, part: int, points: SplitPoints) -> SplitCodes:
    """Return the split of each row of a staged part, as TRAIN, VALID or TEST."""
    first_row, times = staging.first_row(part), staging.read_order(part)
    return points.assign(staging.parts[part].split, first_row, times)


def find_split_points(
    timeline: Timeline, stated: Mapping[str, int], valid: HeldOut, test: HeldOut, order: SplitOrder
) -> tuple[SplitPoints, dict[str, int]]:
    """Find where valid and test begin, and count the rows of each split.

    `timeline` has the rows whose logs state no split, of which shares are held out; `stated` counts
    the others by the split that their log states, to which no further rows go. Where a column gives
    the splits, the shares to hold out do not count. Raises ParameterError where no row is left to
    train on, and for days where rows are not ordered by time.
    """
    free = len(timeline)
    rows = free
    counts = {split: stated.get(split, 0) for split in SPLITS}
    points: dict[str, SplitPoint | None] = {}
    for held_out, code in ((test, TEST), (valid, VALID)):
        split, kept = SPLITS[code], free
        if order == "given":
            points[split] = SplitPoint.of(code, 0)
            kept = timeline.count_before(code)
        elif not counts[split]:
            kept, points[split] = _hold_out(timeline, free, rows, held_out, order)
        counts[split] += free - kept
        free = kept
    counts[SPLITS[TRAIN]] += free
    if not counts[SPLITS[TRAIN]]:
        raise ParameterError("no row is left to train on. Hold out less for valid and test.")
    return SplitPoints(points.get(SPLITS[VALID]), points.get(SPLITS[TEST])), counts


def _hold_out(
    timeline: Timeline, free: int, rows: int, held_out: HeldOut, order: SplitOrder
) -> tuple[int, SplitPoint | None]:
    """Return how many of the first `free` rows are kept, and where the rows held out begin."""
    if held_out.days:
        if order != "time":
            raise ParameterError(
                "days can be held out only if the schema has a time column and splits by it."
            )
        if not free:
            return 0, None
        first_day = timeline.locate(free - 1).time // SECONDS_PER_DAY - held_out.days + 1
        return timeline.count_days_before(first_day), SplitPoint(first_day * SECONDS_PER_DAY, 0)
    # A fraction of the text of the share: 0.29 of 100 rows is 29, which floats make 28.
    held = int(Fraction(str(held_out.share)) * rows)
    kept = free - min(held, free)
    if kept == free:
        return kept, None
    return timeline.locate_value(kept) if order == "value" else (kept, timeline.locate(kept))


def _find_step(counts: Sequence[StepCounts], position: int) -> tuple[int, int]:
    """Return the number of the step in which a position lies, and the position in that step."""
    for number, rows in sorted(_add_counts(counts).items()):
        if position < rows:
            return number, position
        position -= rows
    raise IndexError("the timeline has fewer rows")


def _add_counts(counts: Sequence[Mapping[int, int]]) -> Counter[int]:
    total: Counter[int] = Counter()
    for in_part in counts:
        total.update(in_part)
    return total
