"""The network above the embeddings: DLRM (Naumov et al., 2019, arXiv:1906.00091).

A bottom MLP maps the dense features to the embedding dimension, all pairs of vectors interact by
dot product, and a top MLP maps the bottom's output and the dot products to a logit.

Embeddings of another dimension are first projected to it, by a learned linear map without bias, as
in mixed-dimension embeddings (Ginart et al., 2019, arXiv:1909.11810). There is one map for each
dimension, which the paper calls a block: so features that share a table stay alike, and a block
takes one product of matrices.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fae.format.memory import check_host_memory

#: What the network takes, by name, and what to do where it is too much.
NETWORK = "the network"
NETWORK_REMEDY = (
    "All pairs of vectors meet in the network's top MLP: make it narrower with --top-mlp, such as "
    "16-1, or drop sparse columns."
)


class Dlrm(nn.Module):
    """A network from dense features and pooled embeddings to one logit a sample.

    Without dense features there is no bottom MLP: only the embeddings interact, and their sum takes
    the place of the bottom's output, so that the top sees vectors and not only dot products.
    """

    def __init__(
        self,
        dense: int,
        features: int,
        dim: int,
        bottom: Sequence[int],
        top: Sequence[int],
        others: Iterable[int] = (),
    ) -> None:
        """Make a network with layer widths `bottom`, which ends in `dim`, and `top`, in 1.

        `others` are the dimensions of embeddings to project. Call `initialise` or load a state
        before use.
        """
        super().__init__()
        vectors = features + (1 if dense else 0)
        self.bottom = make_mlp([dense, *bottom], last_relu=True) if dense else None
        width = dim + vectors * (vectors - 1) // 2
        others = list(others)
        weights = 4 * count_weights(dense, features, dim, bottom, top, others)
        check_host_memory({NETWORK: weights}, {NETWORK: NETWORK_REMEDY})
        self.top = make_mlp([width, *top], last_relu=False)
        self.projections = nn.ModuleDict(
            {str(other): nn.Linear(other, dim, bias=False) for other in others}
        )
        self.register_buffer("lower", index_lower_triangle(vectors), persistent=False)
        self.register_buffer("mirror", index_pairs(vectors), persistent=False)

    def forward(self, dense: Tensor, embedded: Sequence[Tensor]) -> Tensor:
        """Map (batch, dense) and (batch, features, dim) of each dimension to logits, (batch,)."""
        projected = [self._project(vectors) for vectors in embedded]
        if self.bottom is None:
            vectors = projected[0] if len(projected) == 1 else torch.cat(projected, dim=1)
            straight = vectors.sum(dim=1)
        else:
            straight = self.bottom(dense)  # (batch, dim)
            vectors = torch.cat([straight.unsqueeze(1), *projected], dim=1)
        dots: Tensor = PairwiseDots.apply(vectors, self.lower, self.mirror)  # type: ignore[no-untyped-call]
        logit: Tensor = self.top(torch.cat([straight, dots], dim=1))
        return logit.squeeze(1)

    def initialise(self, seed: int) -> None:
        """Draw weights as DLRM's authors do: normal, of variance 2/(in + out); biases of 1/out."""
        generator = torch.Generator().manual_seed(seed)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                spread = (2 / (layer.in_features + layer.out_features)) ** 0.5
                _fill_normal(layer.weight, spread, generator)
                if layer.bias is not None:
                    _fill_normal(layer.bias, layer.out_features**-0.5, generator)

    def _project(self, vectors: Tensor) -> Tensor:
        """Return vectors, (batch, features, any dimension), in that of the network."""
        name = str(vectors.shape[2])
        projected: Tensor = self.projections[name](vectors) if name in self.projections else vectors
        return projected


def count_weights(
    dense: int,
    features: int,
    dim: int,
    bottom: Sequence[int],
    top: Sequence[int],
    others: Iterable[int],
) -> int:
    """Return how many weights a `Dlrm` has."""
    vectors = features + (1 if dense else 0)
    widths = [dim + vectors * (vectors - 1) // 2, *top]
    layers = [*itertools.pairwise([dense, *bottom] if dense else []), *itertools.pairwise(widths)]
    return sum(before * after + after for before, after in layers) + dim * sum(others)


def make_mlp(widths: Sequence[int], last_relu: bool) -> nn.Sequential:
    """Return linear layers of these widths with ReLU between them, optionally after the last."""
    layers: list[nn.Module] = []
    for index in range(len(widths) - 1):
        layers.append(nn.Linear(widths[index], widths[index + 1]))
        if last_relu or index < len(widths) - 2:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def index_lower_triangle(vectors: int) -> Tensor:
    """Return the positions below the diagonal of a flat (vectors, vectors) matrix, row by row."""
    row, column = torch.tril_indices(vectors, vectors, offset=-1)
    pairs: Tensor = row * vectors + column  # (pairs,)
    return pairs


def index_pairs(vectors: int) -> Tensor:
    """Return the pair's number at each position of a flat symmetric (vectors, vectors) matrix.

    Pairs are numbered as in `index_lower_triangle`. The diagonal has the number of pairs, which is
    one past the last.
    """
    row, column = torch.tril_indices(vectors, vectors, offset=-1)
    pair = torch.full((vectors, vectors), len(row))
    pair[row, column] = torch.arange(len(row))
    return torch.minimum(pair, pair.T).flatten()


class PairwiseDots(torch.autograd.Function):
    """Dot products of all pairs of vectors: (batch, vectors, dim) to (batch, pairs).

    Autograd's gradient would scatter the pairs' gradients and multiply twice. This one gathers them
    into a symmetric matrix, which it multiplies with the vectors once.
    """

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, lower: Tensor, mirror: Tensor) -> Tensor:
        """Return the dot products in the order of `index_lower_triangle`."""
        ctx.save_for_backward(vectors, mirror)
        return torch.bmm(vectors, vectors.mT).flatten(1).index_select(1, lower)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        """Return the gradient of the vectors: d(x·y) = y dx + x dy, summed over the pairs."""
        vectors, mirror = ctx.saved_tensors
        pairs = gradients[0].to(vectors.dtype)  # bfloat16 under mixed precision
        padded = functional.pad(pairs, (0, 1))  # (batch, pairs + 1), 0 for the diagonal
        symmetric = padded.index_select(1, mirror).view(len(vectors), vectors.shape[1], -1)
        return torch.bmm(symmetric, vectors), None, None


def _fill_normal(weights: Tensor, spread: float, generator: torch.Generator) -> None:
    """Draw normal values of standard deviation `spread`, in float32 for any dtype."""
    with torch.no_grad():
        weights.copy_(torch.randn(weights.shape, generator=generator) * spread)
