"""Rules that rank embedding rows, hottest first; the byte budget then cuts the ranking.

A rule is a function `(rows) -> order`. `order` holds stacked row numbers, hottest first, each at
most once, without id 0 of any table and without rows that were never seen. It must be a function of
its arguments alone.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.rules.accesses import accesses
from pipeline.rules.stacked_rows import Order, StackedRows

__all__ = ["RULES", "Order", "Rule", "StackedRows"]

Rule = Callable[[StackedRows], Order]

#: The rules by the names that `--rule` knows.
RULES: dict[str, Rule] = {"accesses": accesses}
