"""TorchRec's EmbeddingBagCollection on a prepared data set, fed by the loader's keyed ids.

    python examples/with_torchrec.py DIR [--epochs 1] [--batch-size 2048]

It needs the packages torchrec and fbgemm-gpu (or fbgemm-gpu-cpu). Of FAE it uses the loader alone:
`batch.to_kjt()`. Before the first epoch it checks that HotColdEmbedding, given the same rows and
keyed ids, returns the same vectors.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig

from fae.format.manifest import Manifest
from fae_trainer import HotColdEmbedding, HotColdLoader
from fae_trainer.data.batches import Batch


def make_collection(manifest: Manifest) -> EmbeddingBagCollection:
    """Return TorchRec's bags for the data set's tables."""
    features = manifest.features.sparse
    tables = [
        EmbeddingBagConfig(
            name=f"t_{table.name}",  # a name may be one that torch's modules have
            embedding_dim=table.dim,
            num_embeddings=table.rows,
            feature_names=[each.name for each in features if each.table == table.name],
        )
        for table in manifest.tables
    ]
    return EmbeddingBagCollection(tables=tables)


class Network(nn.Module):
    """Vectors and dense features side by side, one hidden layer, and one logit."""

    def __init__(self, manifest: Manifest) -> None:
        """Make a network for the data set's features."""
        super().__init__()
        self.names = [feature.name for feature in manifest.features.sparse]
        self.bags = make_collection(manifest)
        width = sum(manifest.table(each.table).dim for each in manifest.features.sparse)
        width += len(manifest.features.dense)
        self.network = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, batch: Batch) -> Tensor:
        """Return logits, (batch,)."""
        vectors = self.bags(batch.to_kjt()).to_dict()
        logit: Tensor = self.network(
            torch.cat([batch.dense, *(vectors[name] for name in self.names)], dim=1)
        )
        return logit.squeeze(1)


def check_same_vectors(model: Network, loader: HotColdLoader) -> None:
    """Raise AssertionError where the two libraries look up other vectors."""
    embedding = HotColdEmbedding(loader.manifest)
    tables = model.bags.embedding_bags.items()
    rows = {name.removeprefix("t_"): bag.weight.detach() for name, bag in tables}
    embedding.load_state_dict({f"rows.{name}": values for name, values in rows.items()})
    keyed = next(iter(loader)).to_kjt()
    vectors = model.bags(keyed).to_dict()
    expected = torch.stack([vectors[name] for name in model.names], dim=1)
    torch.testing.assert_close(embedding.of_keyed(keyed), expected)
    loader.set_epoch(0)


def log_loss(model: Network, batch: Batch) -> Tensor:
    """Return the mean log loss of a batch."""
    return functional.binary_cross_entropy_with_logits(model(batch), batch.label)


def train(data: str, epochs: int, batch_size: int) -> list[float]:
    """Train; return the mean log loss on the valid split before the first epoch and after each."""
    torch.manual_seed(0)
    loader = HotColdLoader(data, batch_size=batch_size)
    valid = HotColdLoader(data, "valid", batch_size=8192, shuffle=False)
    model = Network(loader.manifest)
    check_same_vectors(model, loader)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.02)

    def evaluate() -> float:
        with torch.no_grad():
            losses = [log_loss(model, batch).item() * len(batch) for batch in valid]
        return sum(losses) / sum(leaf.rows for leaf in valid.manifest.splits["valid"].values())

    measures = [evaluate()]
    for _ in range(epochs):
        for batch in loader:
            optimizer.zero_grad()
            log_loss(model, batch).backward()
            optimizer.step()
        measures.append(evaluate())
    return measures


def main() -> None:
    """Train, and print the valid split's log loss."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", metavar="DIR")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=2048)
    options = parser.parse_args()
    measures = train(options.data, options.epochs, options.batch_size)
    print("valid log loss: " + " → ".join(f"{value:.4f}" for value in measures))


if __name__ == "__main__":
    main()
