"""Growth: whether a figure that was sampled after each cycle stays flat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

MIB = 1 << 20
#: Fewer samples than this say nothing.
FEWEST = 16


@dataclass
class Series:
    """Memory in bytes and open files of one process, a sample a cycle.

    The first half is warming up: imports, compiled code, pools and bounded logs that fill.
    """

    memory: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def grown(self, bytes_a_cycle: float, files_a_cycle: float) -> str:
        """What grew by more than that over the second half, or nothing."""
        if len(self.memory) < FEWEST:
            return ""
        memory, files = slope(_second(self.memory)), slope(_second(self.files))
        if memory > bytes_a_cycle:
            return f"memory grows by {memory / MIB:.2f} MiB a cycle"
        if files > files_a_cycle:
            return f"open files grow by {files:.2f} a cycle"
        return ""

    def __str__(self) -> str:
        first, last = self.memory[0] / MIB, self.memory[-1] / MIB
        rising = slope(_second(self.memory)) / MIB
        return (
            f"{first:.0f} to {last:.0f} MiB ({rising:+.3f} a cycle in the second half), "
            f"{self.files[0]} to {self.files[-1]} open files, {len(self.memory)} cycles"
        )


def slope(values: Sequence[float]) -> float:
    """The slope of the line of least squares through values at 0, 1, 2, …; 0 for fewer than two."""
    if len(values) < 2:
        return 0.0
    return float(np.polyfit(np.arange(len(values)), np.array(values, dtype=np.float64), 1)[0])


def _second(values: Sequence[int]) -> Sequence[int]:
    return values[len(values) // 2 :]
