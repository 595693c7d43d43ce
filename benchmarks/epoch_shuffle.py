"""How often rows meet in a batch, and what AUC it costs, that an epoch mixes within windows only.

    python benchmarks/epoch_shuffle.py DIR [--windows 65536 10000000] [--mixed 1 8] [--epochs 3]

DIR is a prepared data set without lists; windows larger than its files mix each file as a whole. A
small network trains for each window, number of windows mixed at a time, and seed, with the same
initial values and learning rates; the AUC is that of the valid split after the last epoch.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn
from torch.nn import functional

from fae_trainer import HotColdEmbedding, HotColdLoader, HotColdOptimizer
from fae_trainer.data.batches import Batch, Ints
from fae_trainer.data.windows import cut_windows
from fae_trainer.run.metrics import compute_metrics


def compare_meetings(loader: HotColdLoader, data: str, window: int) -> tuple[float, float]:
    """Return how often two cold rows meet in a batch, as a ratio to a full shuffle.

    The first ratio is that of rows of the same window of so many rows, the second of others.
    """
    sizes = []
    for file in loader.manifest.splits["train"]["cold"].files:
        metadata = pq.read_metadata(Path(data) / file.path)
        groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        sizes += [sum(groups[group] for group in cut) for cut in cut_windows(groups, window)]
    on_disk = HotColdLoader(data, shuffle=False)
    names = np.concatenate([name_rows(batch) for batch in on_disk if not batch.hot])
    order = np.argsort(names)
    windows = np.repeat(np.arange(len(sizes)), sizes)[order]
    met = met_in_window = 0
    for batch in loader:
        if not batch.hot:
            found = windows[np.searchsorted(names, name_rows(batch), sorter=order)]
            met += count_pairs([len(batch)])
            met_in_window += count_pairs(np.bincount(found).tolist())
    pairs, in_window = count_pairs([len(names)]), count_pairs(sizes)
    usual = met / pairs  # whatever the shuffle, as many pairs meet in all
    others = (met - met_in_window) / (pairs - in_window) if pairs > in_window else usual
    return met_in_window / in_window / usual, others / usual


def name_rows(batch: Batch) -> Ints:
    """Return a number for each row that tells it from others, but for rows that are equal."""
    dense = batch.dense.numpy().view(np.int32)
    values = np.concatenate([dense, batch.ids.numpy().reshape(len(batch), -1)], axis=1)
    factors = np.random.default_rng(0).integers(2**62, size=values.shape[1])
    named: Ints = (values * factors).sum(axis=1)
    return named


def count_pairs(sizes: list[int]) -> int:
    """Return the number of pairs within groups of so many rows."""
    return sum(size * (size - 1) // 2 for size in sizes)


def train(loader: HotColdLoader, data: str, epochs: int, seed: int) -> float:
    """Return the AUC on the valid split of a network trained with the loader's batches."""
    torch.manual_seed(seed)
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

    loader.set_epoch(0)
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
    """Print how often rows meet, the mean AUC, and its standard deviation over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", metavar="DIR")
    parser.add_argument("--windows", type=int, nargs="+", default=[65_536, 10_000_000])
    parser.add_argument("--mixed", type=int, nargs="+", default=[1])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    data = options.data
    for window, mixed in itertools.product(options.windows, options.mixed):
        loaders = [
            HotColdLoader(
                data, batch_size=options.batch_size, seed=seed, buffer_rows=window,
                mixed_windows=mixed,
            )
            for seed in range(options.seeds)
        ]  # fmt: skip
        same, others = np.mean([compare_meetings(one, data, window) for one in loaders], axis=0)
        found = [train(one, data, options.epochs, seed) for seed, one in enumerate(loaders)]
        spread = statistics.stdev(found) if len(found) > 1 else 0.0
        print(
            f"windows of {window:,} rows, {mixed} mixed: rows of a window meet {same:.2f} times as "
            f"often as in a full shuffle, others {others:.3f} times; AUC "
            f"{statistics.mean(found):.5f} ± {spread:.5f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
