"""All embedding rows in one numbering, as rules rank them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Order: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class StackedRows:
    """The rows of all tables in one numbering: table by table, by access rank in each.

    Row `first[t] + r` is rank r of table t; rank 0 is out of vocabulary. `accesses` (rows,) counts
    accesses in train, or in the sample where there is one. `row_bytes` (tables,) is the price of a
    row with its optimiser state.
    """

    tables: tuple[str, ...]
    first: npt.NDArray[np.int64]
    accesses: npt.NDArray[np.int64]
    row_bytes: npt.NDArray[np.int64]

    @cached_property
    def table_of(self) -> npt.NDArray[np.int32]:
        """The table of each row, shape (rows,)."""
        sizes = np.diff(self.first)
        return np.repeat(np.arange(len(self.tables), dtype=np.int32), sizes)

    @cached_property
    def seen(self) -> npt.NDArray[np.bool_]:
        """Which rows may be ranked: accessed, and not out of vocabulary; shape (rows,)."""
        seen: npt.NDArray[np.bool_] = self.accesses > 0
        seen[self.first[:-1]] = False
        return seen
