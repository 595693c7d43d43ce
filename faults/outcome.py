"""The outcome of a campaign."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Outcome:
    """The faults that a campaign tried and how many were survived. Outcomes can be added.

    A fault is survived if the run ends in the bytes of an undisturbed run, or in one clear message
    with nothing lost. Rows are lost if a finished data set lacks them; a corruption is undetected
    if damaged data are accepted as good.
    """

    faults: int = 0
    survived: int = 0
    lost_rows: int = 0
    undetected: int = 0
    #: A sentence for each fault that was not survived: seed, fault and what happened.
    failures: list[str] = field(default_factory=list)
    #: Figures worth a line below the table, such as memory at the start and at the end.
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether every fault was survived and nothing was lost or undetected."""
        whole = self.faults == self.survived
        return whole and not (self.lost_rows or self.undetected or self.failures)

    def survive(self) -> None:
        """Count a fault that was survived."""
        self.faults += 1
        self.survived += 1

    def fail(self, what: str, *, lost_rows: int = 0, undetected: int = 0) -> None:
        """Count a fault that was not survived."""
        self.faults += 1
        self.lost_rows += lost_rows
        self.undetected += undetected
        self.failures.append(what)

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.faults + other.faults,
            self.survived + other.survived,
            self.lost_rows + other.lost_rows,
            self.undetected + other.undetected,
            self.failures + other.failures,
            self.notes | other.notes,
        )

    def write(self, path: Path) -> None:
        """Write the outcome as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Outcome:
        """Read an outcome that `write` has written."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))
