"""Growth: whether a measure that is sampled after each cycle stays flat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

MIB = 1 << 20
#: Fewer samples than this show nothing.
MIN_SAMPLES = 16


@dataclass
class Series:
    """Memory in bytes and open files of one process, sampled once a cycle.

    The first half is warm-up: imports, compiled code, pools and bounded logs that fill.
    """

    memory: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def describe_growth(self, bytes_a_cycle: float, files_a_cycle: float) -> str:
        """Return what grew by more than these amounts over the second half, or an empty text."""
        if len(self.memory) < MIN_SAMPLES:
            return ""
        memory, files = fit_slope(_second_half(self.memory)), fit_slope(_second_half(self.files))
        if memory > bytes_a_cycle:
            return f"memory grows by {memory / MIB:.2f} MiB a cycle"
        if files > files_a_cycle:
            return f"open files grow by {files:.2f} a cycle"
        return ""

    def __str__(self) -> str:
        first, last = self.memory[0] / MIB, self.memory[-1] / MIB
        rising = fit_slope(_second_half(self.memory)) / MIB
        return (
            f"{first:.0f} to {last:.0f} MiB ({rising:+.3f} a cycle in the second half), "
            f"{self.files[0]} to {self.files[-1]} open files, {len(self.memory)} cycles"
        )


def fit_slope(values: Sequence[float]) -> float:
    """Return the least-squares slope of values at 0, 1, 2, …; 0 for fewer than two."""
    if len(values) < 2:
        return 0.0
    return float(np.polyfit(np.arange(len(values)), np.array(values, dtype=np.float64), 1)[0])


def _second_half(values: Sequence[int]) -> Sequence[int]:
    return values[len(values) // 2 :]
