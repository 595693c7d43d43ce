"""Update rules of the embedding rows and of the network.

A rule for rows sees only the distinct rows of a batch, their state and their gradient, so the same
rule serves hot rows on a device and cold rows on the host. It changes copies in place, because
allocating memory costs more than the arithmetic. The gradient of a row that occurs several times is
the sum over its occurrences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

#: Added to the root of a row's state, as in FBGEMM's row-wise Adagrad.
EPSILON = 1e-8

RowRule = Callable[[Tensor, Tensor, Tensor, float], None]


@dataclass(frozen=True)
class RowOptimizer:
    """A rule (rows, state, gradient, rate), and the number of scalars of state for each row.

    Rows and gradient are (distinct, dim), the state is (distinct, state_width). The rule changes
    rows and state in place.
    """

    rule: RowRule
    state_width: int


def sgd(rows: Tensor, _: Tensor, gradient: Tensor, rate: float) -> None:
    """Apply stochastic gradient descent, which has no state."""
    rows.sub_(gradient, alpha=rate)


def rowwise_adagrad(rows: Tensor, state: Tensor, gradient: Tensor, rate: float) -> None:
    """Apply Adagrad with one scalar a row: the sum over steps of its gradient's mean square.

    This is FBGEMM's EXACT_ROWWISE_ADAGRAD, with 1/dim of the state of Adagrad (Duchi et al., 2011).
    """
    state.add_(gradient.square().mean(dim=1, keepdim=True))
    rows.addcdiv_(gradient, state.sqrt().add_(EPSILON), value=-rate)


ROW_OPTIMIZERS = {
    "sgd": RowOptimizer(sgd, state_width=0),
    "rowwise_adagrad": RowOptimizer(rowwise_adagrad, state_width=1),
}


class NetworkOptimizer:
    """SGD or Adagrad for the network, matching the rule of the rows, with optional clipping."""

    def __init__(
        self, name: str, weights: Iterable[torch.nn.Parameter], rate: float, clip_norm: float = 0.0
    ) -> None:
        """Make the optimiser that goes with the row optimiser `name`; 0 `clip_norm` is no limit."""
        self.weights = list(weights)
        self._clip_norm = clip_norm
        rule = torch.optim.SGD if name == "sgd" else torch.optim.Adagrad
        self._optimizer: torch.optim.Optimizer = rule(self.weights, lr=rate)

    @property
    def gradients(self) -> list[Tensor]:
        """The weights' gradients from `differentiate`."""
        return [weight.grad for weight in self.weights if weight.grad is not None]

    def differentiate(self, loss: Tensor, vectors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the gradients of the loss for `vectors`, and keep those for the weights."""
        gradients = torch.autograd.grad(loss, [*vectors, *self.weights])
        for weight, of_weight in zip(self.weights, gradients[len(vectors) :], strict=True):
            weight.grad = of_weight
        return gradients[: len(vectors)]

    def update(self) -> None:
        """Update the weights by their gradients."""
        if self._clip_norm:
            torch.nn.utils.clip_grad_norm_(self.weights, self._clip_norm)
        self._optimizer.step()

    def count_step(self) -> None:
        """Count a step that a CUDA graph made; the graph does not count Adagrad's steps."""
        for state in self._optimizer.state.values():
            if "step" in state:
                state["step"] += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the state in torch's format."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state from `state_dict`, before the first step, which a CUDA graph may capture."""
        self._optimizer.load_state_dict(state)
