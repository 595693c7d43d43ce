"""Growth: whether a measure that is sampled after each cycle stays flat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

MIB = 1 << 20
#: Fewer samples than this show nothing.
MIN_SAMPLES = 16
#: A slope is sure to be above a limit if it is so many standard errors above it.
SURE_ERRORS = 2


@dataclass
class Series:
    """Memory in bytes and open files of one process, sampled once a cycle.

    The first half is warm-up: imports, compiled code, pools and bounded logs that fill.
    """

    memory: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def describe_growth(self, bytes_a_cycle: float, files_a_cycle: float) -> str:
        """Return what surely grew by more than these amounts over the second half, or nothing.

        Kinds of cycle need different libraries, so memory goes up and down by tens of MiB.
        """
        if len(self.memory) < MIN_SAMPLES:
            return ""
        memory, memory_error = fit_slope(_second_half(self.memory))
        files, files_error = fit_slope(_second_half(self.files))
        if memory - SURE_ERRORS * memory_error > bytes_a_cycle:
            return f"memory grows by {memory / MIB:.2f} MiB a cycle"
        if files - SURE_ERRORS * files_error > files_a_cycle:
            return f"open files grow by {files:.2f} a cycle"
        return ""

    def __str__(self) -> str:
        first, last = self.memory[0] / MIB, self.memory[-1] / MIB
        rising, error = (part / MIB for part in fit_slope(_second_half(self.memory)))
        return (
            f"{first:.0f} to {last:.0f} MiB ({rising:+.3f} ± {error:.3f} a cycle in the second "
            "half), "
            f"{self.files[0]} to {self.files[-1]} open files, {len(self.memory)} cycles"
        )


def fit_slope(values: Sequence[float]) -> tuple[float, float]:
    """Return the least-squares slope of values at 0, 1, 2, …, and its standard error.

    Both are 0 for fewer than three values.
    """
    if len(values) < 3:
        return 0.0, 0.0
    places = np.arange(len(values)) - (len(values) - 1) / 2
    spread = places @ places
    slope = places @ np.array(values, dtype=np.float64) / spread
    residuals = np.array(values) - np.mean(values) - slope * places
    return float(slope), float(np.sqrt(residuals @ residuals / (len(values) - 2) / spread))


def _second_half(values: Sequence[int]) -> Sequence[int]:
    return values[len(values) // 2 :]
