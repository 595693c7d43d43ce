"""The strongest peer: FBGEMM's tables in managed memory with a software cache on the GPU.

Where `fbgemm_gpu` is installed and torch has CUDA, benchmarks/gpu.py measures it beside the
placements, on the same batches and network, with row-wise Adagrad fused into the backward pass. The
cache holds the share of rows that the hot budget buys.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fae.format.manifest import Manifest
from fae_trainer.data.batches import Batch
from fae_trainer.data.prefetch import prefetch
from fae_trainer.embedding.optimizers import EPSILON, NetworkOptimizer
from fae_trainer.model.dlrm import Dlrm
from fae_trainer.parameters import TrainParameters, find_largest_dim


def importable() -> bool:
    """Whether FBGEMM is installed."""
    return importlib.util.find_spec("fbgemm_gpu") is not None


class UvmRecommender:
    """What benchmarks/gpu.py needs of a recommender, on FBGEMM's cached tables."""

    def __init__(self, manifest: Manifest, parameters: TrainParameters, share: float) -> None:
        """Tables whose cache holds `share` of their rows; one feature a table, of one id.

        On a CPU they are plain tables, which shows that this runs, and no more.
        """
        from fbgemm_gpu.split_embedding_configs import EmbOptimType
        from fbgemm_gpu.split_table_batched_embeddings_ops_common import (
            EmbeddingLocation,
            PoolingMode,
        )
        from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
            ComputeDevice,
            SplitTableBatchedEmbeddingBagsCodegen,
        )

        self.device, self.dtype = torch.device(parameters.device), torch.float32
        cuda = self.device.type == "cuda"
        location = EmbeddingLocation.MANAGED_CACHING if cuda else EmbeddingLocation.HOST
        compute = ComputeDevice.CUDA if cuda else ComputeDevice.CPU
        dim = find_largest_dim(manifest)
        self._tables = len(manifest.tables)
        self._embedding = SplitTableBatchedEmbeddingBagsCodegen(
            embedding_specs=[(table.rows, dim, location, compute) for table in manifest.tables],
            optimizer=EmbOptimType.EXACT_ROWWISE_ADAGRAD,
            learning_rate=parameters.lr,
            eps=EPSILON,
            cache_load_factor=share,
            pooling_mode=PoolingMode.SUM,
        )
        self.network = Dlrm(
            len(manifest.features.dense),
            self._tables,
            dim,
            parameters.bottom_mlp,
            parameters.top_mlp,
        ).to(self.device)
        self.network.initialise(0)
        self._optimizer = NetworkOptimizer(
            parameters.optimizer, self.network.parameters(), parameters.dense_lr
        )

    @contextmanager
    def prefetch(self, batches: Iterable[Batch], depth: int) -> Iterator[Iterator[Any]]:
        """Each batch with its ids, table by table, in pinned memory."""

        def arranged() -> Iterator[tuple[Batch, Tensor]]:
            for batch in batches:
                ids = batch.ids.view(len(batch), -1).T.flatten()
                yield batch, ids.pin_memory() if self.device.type == "cuda" else ids

        with prefetch(arranged(), depth) as ahead:
            yield ahead

    def step(self, batch: Batch, ids: Tensor) -> Tensor:
        """Learn from a batch; its mean log loss."""
        offsets = torch.arange(len(ids) + 1, device=self.device)
        embedded = self._embedding(ids.to(self.device, non_blocking=True), offsets)
        dense = batch.dense.to(self.device, non_blocking=True)
        label = batch.label.to(self.device, non_blocking=True)
        logit = self.network(dense, [embedded.view(len(batch), self._tables, -1)])
        loss = functional.binary_cross_entropy_with_logits(logit, label)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.update()
        return loss.detach()
