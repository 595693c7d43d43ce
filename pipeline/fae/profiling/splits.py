"""Train, valid and test: the latest rows are held out, as they would be in production."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from fae.format.errors import ParameterError
from fae.format.manifest import SPLITS
from fae.ingestion.part import Times
from fae.profiling.split_points import DAY, Moment, Timeline

TRAIN, VALID, TEST = 0, 1, 2

SplitCodes = npt.NDArray[np.int8]


@dataclass(frozen=True)
class HeldOut:
    """How much is held out: a share of all rows, or the last whole days (UTC) of the log."""

    share: float = 0.0
    days: int = 0

    @classmethod
    def parse(cls, text: str) -> HeldOut:
        """From `0.1` (a share) or `1d` (days); ValueError otherwise."""
        if re.fullmatch("[0-9]{1,9}d", text):
            return cls(days=int(text[:-1]))
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if not 0 <= share < 1:
            raise ValueError(
                f"{text!r} is no share to hold out. Give a number from 0 to below 1 such as 0.1, "
                "or days such as 1d where the schema has a time column."
            )
        return cls(share=share)


@dataclass(frozen=True)
class Cuts:
    """Where valid and test begin in the timeline of the rows whose logs state no split.

    None where nothing is held out. That, with the splits stated by log, decides each row's split,
    so that splits need not be kept row by row.
    """

    valid: Moment | None
    test: Moment | None

    def codes(self, given: str | None, first: int, times: Times) -> SplitCodes:
        """The splits of consecutive rows, as TRAIN, VALID or TEST, shape (rows,).

        Their log states the split `given`, if any. They are numbered from `first`, and have `times`
        (rows, seconds), which are all 0 where the schema has no time.
        """
        if given is not None:
            return np.full(times.size, SPLITS.index(given), dtype=np.int8)
        codes = np.full(times.size, TRAIN, dtype=np.int8)
        for cut, code in ((self.valid, VALID), (self.test, TEST)):
            if cut is not None:
                codes[times > cut.time] = code
                tied = codes[max(cut.row - first, 0) :]
                tied[times[max(cut.row - first, 0) :] == cut.time] = code
        return codes

    def of_all(self, given: str | None, first: int, rows: int, timed: bool) -> int | None:
        """The split of all of some rows, at least one; None where several or their times decide."""
        if given is None and timed and (self.valid or self.test):
            return None
        zero = np.zeros(1, dtype=np.int64)
        ends = [int(self.codes(given, row, zero)[0]) for row in (first, first + rows - 1)]
        return ends[0] if ends[0] == ends[1] else None


def cut(
    timeline: Timeline, given: Mapping[str, int], valid: HeldOut, test: HeldOut, timed: bool
) -> tuple[Cuts, dict[str, int]]:
    """Where the splits begin, and how many rows each has.

    `timeline` has the rows whose logs state no split; `given` counts the others by the one stated,
    which takes no further rows. Raises ParameterError where no row is left to train on, and for
    days where the rows are not `timed`.
    """
    free = len(timeline)
    rows = free + sum(given.values())
    counts, found = {split: given.get(split, 0) for split in SPLITS}, {}
    for held_out, code in ((test, TEST), (valid, VALID)):
        split, kept = SPLITS[code], free
        if not counts[split]:
            kept, found[split] = _cut(timeline, free, rows, held_out, timed)
        counts[split] += free - kept
        free = kept
    counts[SPLITS[TRAIN]] += free
    if not counts[SPLITS[TRAIN]]:
        raise ParameterError("no row is left to train on. Hold out less for valid and test.")
    return Cuts(found.get(SPLITS[VALID]), found.get(SPLITS[TEST])), counts


def _cut(
    timeline: Timeline, free: int, rows: int, held_out: HeldOut, timed: bool
) -> tuple[int, Moment | None]:
    """How many of the first `free` rows of a timeline are kept, and where the others begin."""
    if held_out.days:
        if not timed:
            raise ParameterError("days can be held out only where the schema has a time column.")
        if not free:
            return 0, None
        first_day = timeline.at(free - 1).time // DAY - held_out.days + 1
        kept = timeline.before(first_day)
        return kept, Moment(first_day * DAY, 0)
    held = int(Fraction(str(held_out.share)) * rows)  # 0.29 of 100 rows is 29
    kept = free - min(held, free)
    return kept, timeline.at(kept) if kept < free else None
