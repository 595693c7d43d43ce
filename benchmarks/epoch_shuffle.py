"""What it costs in AUC that an epoch mixes rows within windows only.

    python benchmarks/epoch_shuffle.py DIR [--windows 65536 10000000] [--epochs 3] [--seeds 3]

DIR is a prepared data set; windows larger than its files mix each file as a whole. A small network
trains for each window and seed, with the same initial values and learning rates; the AUC is that of
the valid split after the last epoch.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fae_trainer import HotColdEmbedding, HotColdLoader, HotColdOptimizer
from fae_trainer.data.batches import Batch
from fae_trainer.run.metrics import compute_metrics


def train(data: str, window: int, epochs: int, batch_size: int, seed: int) -> float:
    """Return the AUC on the valid split of a network trained with windows of so many rows."""
    torch.manual_seed(seed)
    loader = HotColdLoader(data, batch_size=batch_size, seed=seed, buffer_rows=window)
    embedding = HotColdEmbedding(loader.manifest, seed=seed)
    width = len(loader.manifest.features.dense) + len(embedding.features) * embedding.dim
    network = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 1))
    optimizers = [
        torch.optim.Adam(network.parameters(), lr=0.001),
        HotColdOptimizer(embedding, lr=0.02),
    ]

    def find_logits(batch: Batch) -> Tensor:
        logit: Tensor = network(torch.cat([batch.dense, embedding.of(batch).flatten(1)], dim=1))
        return logit.squeeze(1)

    for _ in range(epochs):
        for batch in loader:
            for optimizer in optimizers:
                optimizer.zero_grad()
            functional.binary_cross_entropy_with_logits(find_logits(batch), batch.label).backward()
            for optimizer in optimizers:
                optimizer.step()
    valid = HotColdLoader(data, "valid", batch_size=8192, shuffle=False)
    with torch.no_grad():
        scored = [(batch.label.numpy(), find_logits(batch).numpy()) for batch in valid]
    label, logit = (np.concatenate(each).astype(float) for each in zip(*scored, strict=True))
    return compute_metrics(label, logit)["auc"] or 0.0


def main() -> None:
    """Print the mean AUC of each window, and its standard deviation over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", metavar="DIR")
    parser.add_argument("--windows", type=int, nargs="+", default=[65_536, 10_000_000])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for window in options.windows:
        found = [
            train(options.data, window, options.epochs, options.batch_size, seed)
            for seed in range(options.seeds)
        ]
        spread = statistics.stdev(found) if len(found) > 1 else 0.0
        print(f"windows of {window:,} rows: AUC {statistics.mean(found):.5f} ± {spread:.5f}")


if __name__ == "__main__":
    main()
