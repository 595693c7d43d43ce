"""Find the rules of other packages: entry points of the group `fae.rules`.

Such a rule takes a Problem and returns the numbers of the rows to buy, in the order in which a
budget buys them. What it ranks need not be in its answer; id 0 of each table always comes first.
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np
import numpy.typing as npt

from fae.format.errors import ParameterError
from fae.hotset.problem import Problem, Ranking

_GROUP = "fae.rules"


def list_own_rules() -> dict[str, EntryPoint]:
    """Return the installed rules of other packages, by name."""
    return {found.name: found for found in entry_points(group=_GROUP)}


def load_own_rule(name: str) -> Callable[[Problem], Ranking]:
    """Return the rule of another package that is called `name`.

    It raises ParameterError where it cannot be loaded, fails, or returns no ranking of the rows.
    """

    def rank(problem: Problem) -> Ranking:
        try:
            order = np.asarray(list_own_rules()[name].load()(problem))
        except Exception as error:  # whatever the other package raises
            raise ParameterError(f"the rule {name!r} failed: {error!r}.") from None
        _check_order(order, problem.rows.count, name)
        oov = problem.rows.oov_rows
        others = order[~np.isin(order, oov)]
        return Ranking(problem.rows.to_ranges(np.concatenate([oov, others]).astype(np.int64)))

    return rank


def _check_order(order: npt.NDArray[Any], rows: int, name: str) -> None:
    """Raise ParameterError unless `order` has numbers of rows, each once."""
    is_list = order.ndim == 1 and (order.size == 0 or np.issubdtype(order.dtype, np.integer))
    if not is_list or (order.size and not (order.min() >= 0 and order.max() < rows)):
        raise ParameterError(f"the rule {name!r} must return numbers of rows, 0 to {rows - 1:,}.")
    if np.unique(order).size != order.size:
        raise ParameterError(f"the rule {name!r} returns a row twice.")
