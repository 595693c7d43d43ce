"""The model as a whole, embedding tables and network, and one step of its training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.manifest import Manifest
from trainer.batches import Batch
from trainer.dlrm import Dlrm
from trainer.layout import Lookup, Planner, layout
from trainer.optimizers import ROW_OPTIMIZERS, network_optimizer
from trainer.parameters import TrainParameters, embedding_dim
from trainer.tables import Gathered, Tables, pooled

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def hot_rows(manifest: Manifest, placement: str) -> list[int]:
    """How many rows of each table live on the device under a placement."""
    if placement == "gpu":
        return [table.rows for table in manifest.tables]
    if placement == "hot-cold":
        return [table.hot_rows for table in manifest.tables]
    return [0 for _ in manifest.tables]


class Recommender:
    """A DLRM whose rows are placed as the parameters say.

    Its arithmetic does not depend on the placement: on the CPU all four give the same bits.
    """

    def __init__(self, manifest: Manifest, parameters: TrainParameters) -> None:
        """A model without values; call `initialise` or restore a checkpoint before use."""
        dim = embedding_dim(manifest)
        places = layout(manifest, hot_rows(manifest, parameters.placement))
        self.device = torch.device(parameters.device)
        self.dtype = _DTYPES[parameters.dtype]
        self.lr = parameters.lr
        rule = ROW_OPTIMIZERS[parameters.optimizer]
        self.tables = Tables(places, dim, self.device, self.dtype, rule)
        self.network = Dlrm(
            len(manifest.features.dense),
            len(manifest.features.sparse),
            dim,
            parameters.bottom_mlp,
            parameters.top_mlp,
        ).to(self.device, self.dtype)
        self.network_optimizer = network_optimizer(
            parameters.optimizer, self.network.parameters(), parameters.dense_lr
        )
        self._planner = Planner(places)

    def initialise(self, seed: int) -> None:
        """Set every weight as the seed says; the same for every placement."""
        self.tables.initialise(seed)
        self.network.initialise(seed)

    def planned(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Lookup]]:
        """Each batch with its lookup, which depends on no weight and so may be made ahead."""
        for batch in batches:
            yield batch, self._planner.lookup(batch)

    def step(self, batch: Batch, lookup: Lookup) -> Tensor:
        """Learn from a batch; the mean log loss before the update, a scalar on the device."""
        gathered = self.tables.gather(lookup)
        label = batch.label.to(self.device, self.dtype, non_blocking=True)
        loss = functional.binary_cross_entropy_with_logits(
            self._logit(batch, lookup, gathered), label
        )
        self.network_optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.network_optimizer.step()
        self.tables.learn(gathered, self.lr)
        return loss.detach()

    @torch.no_grad()
    def logits(self, batch: Batch, lookup: Lookup) -> Tensor:
        """(batch,) logits on the device."""
        return self._logit(batch, lookup, self.tables.gather(lookup))

    def _logit(self, batch: Batch, lookup: Lookup, gathered: Gathered) -> Tensor:
        dense = batch.dense.to(self.device, self.dtype, non_blocking=True)
        embedded = pooled(gathered.rows, lookup.inverse, lookup.offsets, len(batch))
        logit: Tensor = self.network(dense, embedded)
        return logit
