"""A Deep & Cross Network (Wang et al., 2021) on a prepared data set, beside the package's DLRM.

    python examples/dcn.py DIR [--epochs 1] [--batch-size 2048] [--device cpu]

Of FAE it uses the loader, the embedding and its optimiser. The rest is plain torch.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from torch.nn import functional

from fae.format.manifest import Manifest
from fae_trainer import HotColdEmbedding, HotColdLoader, HotColdOptimizer
from fae_trainer.data.batches import Batch


class Cross(nn.Module):
    """Layers x ← x₀ ⊙ (W x + b) + x: products of features, of one degree more in each layer."""

    def __init__(self, width: int, layers: int) -> None:
        """Make layers of `width` inputs and outputs."""
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def forward(self, first: Tensor) -> Tensor:
        """Map (batch, width) to the same shape."""
        x = first
        for layer in self.layers:
            x = first * layer(x) + x
        return x


class Dcn(nn.Module):
    """Cross layers, an MLP after them, and one logit."""

    def __init__(self, manifest: Manifest, device: str) -> None:
        """Make a network for the data set's features."""
        super().__init__()
        self.embedding = HotColdEmbedding(manifest, device=device)
        width = len(manifest.features.dense) + len(self.embedding.features) * self.embedding.dim
        self.network = nn.Sequential(
            Cross(width, layers=2), nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 1)
        ).to(device)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits, (batch,)."""
        vectors = self.embedding.of(batch)  # (batch, features, dim)
        dense = batch.dense.to(vectors.device, non_blocking=True)
        logit: Tensor = self.network(torch.cat([dense, vectors.flatten(1)], dim=1))
        return logit.squeeze(1)


def log_loss(model: Dcn, batch: Batch) -> Tensor:
    """Return the mean log loss of a batch."""
    logit = model(batch)
    return functional.binary_cross_entropy_with_logits(logit, batch.label.to(logit.device))


def train(data: str, epochs: int, batch_size: int, device: str) -> list[float]:
    """Train; return the mean log loss on the valid split before the first epoch and after each."""
    torch.manual_seed(0)
    loader = HotColdLoader(data, batch_size=batch_size, device=device)
    valid = HotColdLoader(data, "valid", batch_size=8192, shuffle=False, device=device)
    model = Dcn(loader.manifest, device)
    optimizers = [
        torch.optim.Adam(model.network.parameters(), lr=0.001),
        HotColdOptimizer(model.embedding, lr=0.02),
    ]

    def evaluate() -> float:
        with torch.no_grad():
            losses = [log_loss(model, batch).item() * len(batch) for batch in valid]
        return sum(losses) / sum(leaf.rows for leaf in valid.manifest.splits["valid"].values())

    measures = [evaluate()]
    for _ in range(epochs):
        for batch in loader:
            for optimizer in optimizers:
                optimizer.zero_grad()
            log_loss(model, batch).backward()
            for optimizer in optimizers:
                optimizer.step()
        measures.append(evaluate())
    return measures


def main() -> None:
    """Train, and print the valid split's log loss."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", metavar="DIR")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    measures = train(options.data, options.epochs, options.batch_size, options.device)
    print("valid log loss: " + " → ".join(f"{value:.4f}" for value in measures))


if __name__ == "__main__":
    main()
