"""What one case of fuzzing is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class WrongError(AssertionError):
    """The program ended well and was wrong; how many rows were lost by that."""

    def __init__(self, message: str, lost_rows: int = 0) -> None:
        super().__init__(message)
        self.lost_rows = lost_rows


@dataclass(frozen=True)
class Trial:
    """An input, and what must hold of it and of any smaller one.

    `check` gets the input and an empty folder, and raises where the program does anything but what
    it should. `damaged` says that the input must not be taken for good.
    """

    what: str
    data: bytes
    check: Callable[[bytes, Path], None]
    damaged: bool = False
