"""Train, valid and test: the latest rows are held out, as they would be in production."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from pipeline.errors import ParameterError

TRAIN, VALID, TEST = 0, 1, 2
NOT_GIVEN = -1
_DAY = 86_400

SplitCodes = npt.NDArray[np.int8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class HeldOut:
    """How much is held out: a share of all rows, or the last whole days (UTC) of the log."""

    share: float = 0.0
    days: int = 0

    @classmethod
    def parse(cls, text: str) -> HeldOut:
        """From `0.1` (a share) or `1d` (days); ParameterError otherwise."""
        if re.fullmatch("[0-9]{1,9}d", text):
            return cls(days=int(text[:-1]))
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if not 0 <= share < 1:
            raise ParameterError(
                f"{text!r} is no share to hold out. Give a number from 0 to below 1 such as 0.1, "
                "or days such as 1d where the schema has a time column."
            )
        return cls(share=share)


def split_codes(
    given: SplitCodes, times: npt.NDArray[np.int64] | None, valid: HeldOut, test: HeldOut
) -> SplitCodes:
    """The split of each row, as TRAIN, VALID or TEST.

    `given` (rows) holds the splits that the user stated by file, NOT_GIVEN elsewhere; only the
    latter are cut, and a split stated by file takes no further rows. Order is by time, then by
    position; by position alone where `times` (rows, seconds) is None.
    """
    codes = given.copy()
    for held_out, code in ((test, TEST), (valid, VALID)):
        if not (given == code).any():
            _hold_out(codes, times, held_out, code)
    codes[codes == NOT_GIVEN] = TRAIN
    if not (codes == TRAIN).any():
        raise ParameterError("no row is left to train on. Hold out less for valid and test.")
    return codes


def _hold_out(
    codes: SplitCodes, times: npt.NDArray[np.int64] | None, held_out: HeldOut, code: int
) -> None:
    """Give `code` to the last of the rows that have no split yet."""
    free = np.flatnonzero(codes == NOT_GIVEN)
    if held_out.days:
        if times is None:
            raise ParameterError("days can be held out only where the schema has a time column.")
        if free.size:
            days = times[free] // _DAY
            codes[free[days > days.max() - held_out.days]] = code
        return
    held = int(Fraction(str(held_out.share)) * codes.size)  # 0.29 of 100 rows is 29
    kept = free.size - min(held, free.size)
    if times is None:
        codes[free[kept:]] = code
    else:
        codes[free[~_first(times[free], kept)]] = code


def _first(times: npt.NDArray[np.int64], count: int) -> Mask:
    """Which rows are the first `count` by (time, position)."""
    if count >= times.size:
        return np.ones(times.size, dtype=np.bool_)
    cut = np.partition(times, count)[count]
    first: Mask = times < cut
    ties = np.flatnonzero(times == cut)
    first[ties[: count - int(first.sum())]] = True
    return first
