"""Train a model's values with dense tables and dense gradients, sharing no code with its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from fae_trainer.data.batches import Batch
    from fae_trainer.model.recommender import Recommender

#: Added to the root of a row's state.
EPSILON = 1e-8


def train_densely(model: Recommender, batches: list[Batch]) -> dict[str, torch.Tensor]:
    """Return each table's rows after row-wise Adagrad on the batches, from the model's values.

    Every table is a whole tensor whose gradient autograd makes; one id a feature, a feature a
    table. The model's network is trained too.
    """
    tables = {name: rows.requires_grad_() for name, rows in model.tables.rows().items()}
    sums = {name: torch.zeros(len(rows), dtype=rows.dtype) for name, rows in tables.items()}
    device = model.device
    for batch in batches:
        ids = batch.ids.view(len(batch), -1).long()
        vectors = torch.stack(
            [functional.embedding(ids[:, at], rows) for at, rows in enumerate(tables.values())], 1
        ).to(device)
        label, dense = (each.to(device, model.dtype) for each in (batch.label, batch.dense))
        loss = functional.binary_cross_entropy_with_logits(model.network(dense, [vectors]), label)
        weights = model.network_optimizer.weights
        gradients = torch.autograd.grad(loss, [*tables.values(), *weights])
        for weight, gradient in zip(weights, gradients[len(tables) :], strict=True):
            weight.grad = gradient
        model.network_optimizer.update()
        with torch.no_grad():
            for (name, rows), gradient in zip(tables.items(), gradients, strict=False):
                sums[name] += gradient.square().mean(1)
                rows -= model.lr * gradient / (sums[name].sqrt() + EPSILON)[:, None]
    return {name: rows.detach() for name, rows in tables.items()}
