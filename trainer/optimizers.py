"""How rows and the network learn.

The rules for rows are pure functions of the distinct rows of a batch, their state and their
gradient, so that they read alike for hot rows on a device and cold rows on the host. The gradient
of a row that occurs often is the sum over its occurrences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

#: Added to the root of a row's state, as in FBGEMM's row-wise Adagrad.
EPSILON = 1e-8

RowRule = Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class RowOptimizer:
    """A rule (rows, state, gradient, rate) → (rows, state), and the scalars of state a row has.

    Rows and gradient are (distinct, dim), the state is (distinct, state_width).
    """

    rule: RowRule
    state_width: int


def sgd(rows: Tensor, state: Tensor, gradient: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """Stochastic gradient descent; it has no state."""
    return rows - rate * gradient, state


def rowwise_adagrad(
    rows: Tensor, state: Tensor, gradient: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    """Adagrad with one scalar a row: the sum over steps of the mean square of its gradient.

    It is FBGEMM's EXACT_ROWWISE_ADAGRAD, which needs 1/dim of Adagrad's state (Duchi et al., 2011).
    """
    state = state + gradient.square().mean(dim=1, keepdim=True)
    return rows - rate * gradient / (state.sqrt() + EPSILON), state


ROW_OPTIMIZERS = {
    "sgd": RowOptimizer(sgd, state_width=0),
    "rowwise_adagrad": RowOptimizer(rowwise_adagrad, state_width=1),
}


def network_optimizer(
    name: str, weights: Iterable[torch.nn.Parameter], rate: float
) -> torch.optim.Optimizer:
    """The optimiser of the network that goes with the row optimiser `name`: SGD or Adagrad."""
    if name == "sgd":
        return torch.optim.SGD(weights, lr=rate)
    return torch.optim.Adagrad(weights, lr=rate)
