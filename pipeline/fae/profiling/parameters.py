"""Parameters of profiling: the splits, which ids are folded, and the sample."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from fae.commit.stage_parameters import StageParameters
from fae.format.errors import ParameterError
from fae.profiling.splits import HeldOut


def _parse_held_out(value: Any) -> Any:
    return value if isinstance(value, HeldOut | dict) else HeldOut.parse(str(value))


class ProfileParameters(StageParameters):
    """How much is held out, the accesses that an id needs for a row of its own, and the sample.

    `min_count` maps tables to the fewest accesses that earn a row; "" stands for all others.
    """

    stage: ClassVar[str] = "ProfileParameters"

    valid: Annotated[HeldOut, BeforeValidator(_parse_held_out)] = HeldOut(share=0.1)
    test: Annotated[HeldOut, BeforeValidator(_parse_held_out)] = HeldOut(share=0.1)
    min_count: dict[str, Annotated[int, Field(ge=1, lt=2**63)]] = Field(default_factory=dict)
    sample: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0, lt=2**63)

    def get_min_count(self, table: str) -> int:
        """Return the fewest accesses that earn an id of `table` a row of its own."""
        return self.min_count.get(table, self.min_count.get("", 1))


def parse_min_counts(texts: Sequence[str]) -> dict[str, int]:
    """Return min_count by table from texts such as `10`, for all tables, and `C3=20`, for one.

    Raises ParameterError for other texts and for tables that come twice.
    """
    counts: dict[str, int] = {}
    for text in texts:
        table, _, number = text.rpartition("=")
        if not re.fullmatch("[0-9]{1,18}", number) or int(number) < 1:
            remedy = "give a number of 1 or more for every table, or TABLE=N."
            raise ParameterError(f"--min-count {text!r}: {remedy}")
        if table in counts:
            raise ParameterError(f"--min-count is given twice for {table or 'every table'}.")
        counts[table] = int(number)
    return counts
