"""The dot products of the network and their own gradient."""

from __future__ import annotations

import pytest
import torch

from fae.format.errors import ParameterError
from fae_trainer.model.dlrm import Dlrm, PairwiseDots, index_lower_triangle, index_pairs


@pytest.mark.parametrize("vectors", [1, 2, 5])
def test_pairwise_dots_and_their_gradient(vectors: int) -> None:
    x = torch.randn(3, vectors, 4, dtype=torch.float64, requires_grad=True)
    lower, both = index_lower_triangle(vectors), index_pairs(vectors)
    expected = [(x[:, i] * x[:, j]).sum(1) for i in range(vectors) for j in range(i)]
    found = PairwiseDots.apply(x, lower, both)
    assert found.shape == (3, vectors * (vectors - 1) // 2)
    if expected:
        torch.testing.assert_close(found, torch.stack(expected, 1))
    assert torch.autograd.gradcheck(lambda v: PairwiseDots.apply(v, lower, both), (x,))


def test_a_top_mlp_that_no_memory_can_hold_is_refused() -> None:
    with pytest.raises(ParameterError) as caught:
        Dlrm(1, 1_000_000, 16, bottom=(16,), top=(512, 1))
    assert "(the network 953,675" in str(caught.value)
    assert "make it narrower with --top-mlp" in str(caught.value)
