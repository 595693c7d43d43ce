"""A two-layer network on a prepared data set, trained by Lightning.

    python examples/with_lightning.py DIR [--epochs 1] [--batch-size 2048] [--device cpu]

The rows have an optimiser of their own, so the module optimises by hand. Lightning's table counts
parameters alone; `count_parameters` adds the values of the rows, which are none.
"""

from __future__ import annotations

import argparse
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from fae_trainer import HotColdEmbedding, HotColdLoader, HotColdOptimizer
from fae_trainer.data.batches import Batch


class Network(lightning.LightningModule):
    """Vectors and dense features side by side, one hidden layer, and one logit."""

    def __init__(self, loader: HotColdLoader, device: str) -> None:
        """Make a network for the loader's data set."""
        super().__init__()
        self.automatic_optimization = False
        self.embedding = HotColdEmbedding(loader.manifest, device=device)
        width = len(loader.manifest.features.dense)
        width += len(self.embedding.features) * self.embedding.dim
        self.network = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 1))

    def count_parameters(self) -> int:
        """Return the number of all values that learn: parameters, and the embedding's rows."""
        return sum(each.numel() for each in self.parameters()) + self.embedding.parameter_count

    def forward(self, batch: Batch) -> Tensor:
        """Return logits, (batch,)."""
        vectors = self.embedding.of(batch).flatten(1)
        logit: Tensor = self.network(torch.cat([batch.dense, vectors], dim=1))
        return logit.squeeze(1)

    def training_step(self, batch: Batch, _: int) -> None:
        """Step all optimisers on a batch."""
        optimizers: Any = self.optimizers()
        loss = functional.binary_cross_entropy_with_logits(self(batch), batch.label)
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in optimizers:
            optimizer.step()

    def validation_step(self, batch: Batch, _: int) -> None:
        """Log a batch's mean log loss."""
        loss = functional.binary_cross_entropy_with_logits(self(batch), batch.label)
        self.log("valid_log_loss", loss, batch_size=len(batch), prog_bar=True)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the network's optimiser and the rows'."""
        network = torch.optim.Adam(self.network.parameters(), lr=0.001)
        return [network, HotColdOptimizer(self.embedding, lr=0.02)]


def train(data: str, epochs: int, batch_size: int, device: str) -> tuple[Network, list[float]]:
    """Train; return the network, and the log loss on the valid split before and after."""
    lightning.seed_everything(0, verbose=False)
    loader = HotColdLoader(data, batch_size=batch_size)
    model = Network(loader, device)
    valid = DataLoader(HotColdLoader(data, "valid", batch_size=8192, shuffle=False))
    trainer = lightning.Trainer(
        accelerator="gpu" if device == "cuda" else "cpu", devices=1, max_epochs=epochs,
        logger=False, enable_checkpointing=False,
    )  # fmt: skip
    measures = [trainer.validate(model, valid, verbose=False)[0]["valid_log_loss"]]
    trainer.fit(model, DataLoader(loader), valid)
    measures.append(float(trainer.callback_metrics["valid_log_loss"]))
    return model, measures


def main() -> None:
    """Train, and print the number of parameters and the valid split's log loss."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", metavar="DIR")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    model, measures = train(options.data, options.epochs, options.batch_size, options.device)
    print(f"{model.count_parameters():,} parameters, rows of the embedding with them")
    print("valid log loss: " + " → ".join(f"{value:.4f}" for value in measures))


if __name__ == "__main__":
    main()
