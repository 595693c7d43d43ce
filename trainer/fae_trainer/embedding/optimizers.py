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


@dataclass(frozen=True)
class RowStep:
    """A step of the rows: the learning rate, and what a rule needs beside it.

    `weight_decay` times a row is added to its gradient. `betas` are the rates at which Adam's
    averages of the gradient and of its square forget; `number` counts the steps from 1.
    """

    rate: float
    eps: float = EPSILON
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    number: int = 1


RowRule = Callable[[Tensor, Tensor, Tensor, RowStep], None]


@dataclass(frozen=True)
class RowOptimizer:
    """A rule (rows, state, gradient, step), and the state that it keeps for each row.

    Rows and gradient are (distinct, dim), the state is (distinct, `count_state(dim)`): so many
    scalars, and so many numbers for each element of the row. Kernels know some rules only.
    """

    rule: RowRule
    scalars: int = 0
    vectors: int = 0
    has_kernel: bool = False

    def count_state(self, dim: int) -> int:
        """Return the numbers of state of a row of `dim` elements."""
        return self.scalars + self.vectors * dim

    def update(self, rows: Tensor, state: Tensor, gradient: Tensor, step: RowStep) -> None:
        """Change rows and state in place."""
        if step.weight_decay:
            gradient = gradient.add(rows, alpha=step.weight_decay)
        self.rule(rows, state, gradient, step)


def sgd(rows: Tensor, _: Tensor, gradient: Tensor, step: RowStep) -> None:
    """Apply stochastic gradient descent, which has no state."""
    rows.sub_(gradient, alpha=step.rate)


def rowwise_adagrad(rows: Tensor, state: Tensor, gradient: Tensor, step: RowStep) -> None:
    """Apply Adagrad with one scalar a row: the sum over steps of its gradient's mean square.

    This is FBGEMM's EXACT_ROWWISE_ADAGRAD, with 1/dim of the state of Adagrad.
    """
    state.add_(gradient.square().mean(dim=1, keepdim=True))
    rows.addcdiv_(gradient, state.sqrt().add_(step.eps), value=-step.rate)


def adagrad(rows: Tensor, state: Tensor, gradient: Tensor, step: RowStep) -> None:
    """Apply Adagrad (Duchi et al., 2011), whose state is the sum of each element's squares."""
    state.addcmul_(gradient, gradient)
    rows.addcdiv_(gradient, state.sqrt().add_(step.eps), value=-step.rate)


def adam(rows: Tensor, state: Tensor, gradient: Tensor, step: RowStep) -> None:
    """Apply Adam (Kingma and Ba, 2015) to the rows of a batch, as torch's SparseAdam does.

    The averages of other rows do not change meanwhile; the correction counts all steps.
    """
    average, square = state[:, : rows.shape[1]], state[:, rows.shape[1] :]
    average.lerp_(gradient, 1 - step.betas[0])
    square.mul_(step.betas[1]).addcmul_(gradient, gradient, value=1 - step.betas[1])
    of_average, of_square = (1 - beta**step.number for beta in step.betas)
    root = square.sqrt().div_(of_square**0.5).add_(step.eps)
    rows.addcdiv_(average, root, value=-step.rate / of_average)


ROW_OPTIMIZERS = {
    "sgd": RowOptimizer(sgd, has_kernel=True),
    "rowwise_adagrad": RowOptimizer(rowwise_adagrad, scalars=1, has_kernel=True),
    "adagrad": RowOptimizer(adagrad, vectors=1),
    "adam": RowOptimizer(adam, vectors=2),
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
