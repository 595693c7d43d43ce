"""The network above the embeddings: DLRM (Naumov et al., 2019, arXiv:1906.00091).

A bottom MLP brings the dense features to the embedding's dimension, all pairs of vectors interact
by dot product, and a top MLP makes a logit of the bottom's output and the dots.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Dlrm(nn.Module):
    """Dense features and pooled embeddings to one logit an input.

    Without dense features there is no bottom MLP: the embeddings alone interact, and their sum
    stands where the bottom's output would, so that the top sees each vector and not dots alone.
    `bottom` and `top` are layer widths; the last are the embedding's dimension and 1.
    """

    def __init__(
        self, dense: int, features: int, dim: int, bottom: Sequence[int], top: Sequence[int]
    ) -> None:
        """A network with unset weights; call `initialise` or load a state before use."""
        super().__init__()
        vectors = features + (1 if dense else 0)
        self.bottom = make_mlp([dense, *bottom], last_relu=True) if dense else None
        self.top = make_mlp([dim + vectors * (vectors - 1) // 2, *top], last_relu=False)
        self.register_buffer("lower", index_lower_triangle(vectors), persistent=False)
        self.register_buffer("mirror", index_pairs(vectors), persistent=False)

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        """(batch, dense) and (batch, features, dim) to (batch,)."""
        if self.bottom is None:
            straight, vectors = embedded.sum(dim=1), embedded
        else:
            straight = self.bottom(dense)  # (batch, dim)
            vectors = torch.cat([straight.unsqueeze(1), embedded], dim=1)
        dots: Tensor = PairwiseDots.apply(vectors, self.lower, self.mirror)  # type: ignore[no-untyped-call]
        logit: Tensor = self.top(torch.cat([straight, dots], dim=1))
        return logit.squeeze(1)

    def initialise(self, seed: int) -> None:
        """Set the weights as DLRM's authors do: normal, with variance 2/(in + out), and 1/out."""
        generator = torch.Generator().manual_seed(seed)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                spread = (2 / (layer.in_features + layer.out_features)) ** 0.5
                _fill_normal(layer.weight, spread, generator)
                _fill_normal(layer.bias, layer.out_features**-0.5, generator)


def make_mlp(widths: Sequence[int], last_relu: bool) -> nn.Sequential:
    """Linear layers from width to width with ReLU between them, and after the last if asked."""
    layers: list[nn.Module] = []
    for index in range(len(widths) - 1):
        layers.append(nn.Linear(widths[index], widths[index + 1]))
        if last_relu or index < len(widths) - 2:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def index_lower_triangle(vectors: int) -> Tensor:
    """Positions, in a flat (vectors, vectors) matrix, below its diagonal; row by row."""
    row, column = torch.tril_indices(vectors, vectors, offset=-1)
    pairs: Tensor = row * vectors + column  # (pairs,)
    return pairs


def index_pairs(vectors: int) -> Tensor:
    """Which pair each position of a flat (vectors, vectors) matrix is, both halves alike.

    The diagonal, which is no pair, has the number of pairs.
    """
    row, column = torch.tril_indices(vectors, vectors, offset=-1)
    pair = torch.full((vectors, vectors), len(row))
    pair[row, column] = torch.arange(len(row))
    return torch.minimum(pair, pair.T).flatten()


class PairwiseDots(torch.autograd.Function):
    """The dot products of all pairs of vectors: (batch, vectors, dim) to (batch, pairs).

    Its own gradient makes both directions gathers: the gradients of the pairs fill a symmetric
    matrix, which multiplies the vectors. Autograd would scatter, and multiply twice.
    """

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, lower: Tensor, mirror: Tensor) -> Tensor:
        """The dots, in the order of `lower_triangle`."""
        ctx.save_for_backward(vectors, mirror)
        return torch.bmm(vectors, vectors.mT).flatten(1).index_select(1, lower)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        """The gradient of the vectors."""
        vectors, mirror = ctx.saved_tensors
        given = gradients[0].to(vectors.dtype)  # bfloat16 where the network computes in that
        padded = functional.pad(given, (0, 1))  # (batch, pairs + 1), 0 for the diagonal
        symmetric = padded.index_select(1, mirror).view(len(vectors), vectors.shape[1], -1)
        return torch.bmm(symmetric, vectors), None, None


def _fill_normal(weights: Tensor, spread: float, generator: torch.Generator) -> None:
    """Draw normal values of that standard deviation, in float32 whatever the weights' dtype."""
    with torch.no_grad():
        weights.copy_(torch.randn(weights.shape, generator=generator) * spread)
