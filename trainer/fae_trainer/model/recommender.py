"""The model as a whole, embedding tables and network, and one step of its training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from fae.format.manifest import Manifest
from fae_trainer.data.batches import Batch
from fae_trainer.data.prefetch import prefetch
from fae_trainer.embedding.distributed import Ranks
from fae_trainer.embedding.layout import make_layout
from fae_trainer.embedding.optimizers import ROW_OPTIMIZERS, NetworkOptimizer
from fae_trainer.embedding.planner import Lookup, Plan, Planner, Slots
from fae_trainer.embedding.replicated import ReplicatedTables
from fae_trainer.embedding.shared_tables import SharedTables
from fae_trainer.embedding.tables import Tables, pool, pool_on_device
from fae_trainer.model.dlrm import Dlrm
from fae_trainer.model.graph_step import MAX_IDS, GraphStep
from fae_trainer.parameters import TrainParameters, embedding_dim

#: One process, which trains by itself.
ALONE = Ranks()

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def count_hot_rows(manifest: Manifest, placement: str) -> list[int]:
    """Return how many rows of each table live on the device under a placement."""
    if placement == "gpu":
        return [table.rows for table in manifest.tables]
    if placement in ("hot-cold", "fae"):
        return [table.hot_rows for table in manifest.tables]
    return [0 for _ in manifest.tables]


class Recommender:
    """A DLRM and its embedding tables, placed as the parameters say.

    The placement does not change the arithmetic: on the CPU all placements are bit for bit equal.
    """

    def __init__(
        self, manifest: Manifest, parameters: TrainParameters, ranks: Ranks = ALONE
    ) -> None:
        """Allocate a model; call `initialise` or restore a checkpoint before use.

        With several `ranks`, each steps on its part of every batch, and all ranks make every call.
        Raises ParameterError where memory does not suffice, and DatasetError where the tables'
        dimensions differ.
        """
        self.ranks = ranks
        dim = embedding_dim(manifest)
        self._layout = make_layout(manifest, count_hot_rows(manifest, parameters.placement))
        self._dense = len(manifest.features.dense)
        self.device = torch.device(parameters.device)
        self.dtype = _DTYPES[parameters.dtype]
        self.lr = parameters.lr
        rule = ROW_OPTIMIZERS[parameters.optimizer]
        arguments = (self._layout, dim, self.device, self.dtype, rule)
        alone = ranks.size == 1
        if not alone:
            self.tables: Tables = SharedTables(*arguments, ranks)
        else:
            tables = ReplicatedTables if parameters.placement == "fae" else Tables
            self.tables = tables(*arguments)
        cuda = self.device.type == "cuda"
        #: Whether a thread reads cold rows ahead; without a GPU it would compete for the cores.
        self.reads_ahead = alone and cuda and parameters.placement == "hot-cold"
        #: Whether scoring skips the search for distinct hot rows, which does not pay on a GPU.
        self.scores_by_slots = alone and cuda and self.tables.splits_batches
        self.network = Dlrm(
            self._dense,
            len(manifest.features.sparse),
            dim,
            parameters.bottom_mlp,
            parameters.top_mlp,
        ).to(self.device, self.dtype)
        self.network_optimizer = NetworkOptimizer(
            parameters.optimizer,
            self.network.parameters(),
            parameters.dense_lr,
            parameters.clip_norm,
        )
        self._mixed = parameters.amp == "bf16"
        self._planner = Planner(self._layout)
        self._graph_step: GraphStep | None = None
        if alone and cuda and parameters.cuda_graph:
            self.use_graph_step(parameters.batch_size)

    def use_graph_step(self, samples: int) -> None:
        """Step on batches of so many samples in arrays of fixed shapes, where that pays."""
        features = len(self._layout.feature_table)
        self._graph_step = None
        if samples * features <= MAX_IDS:
            shape = (samples, self._dense, features)
            self._graph_step = GraphStep(
                self._loss, self.tables, self.network_optimizer, shape, self.lr
            )

    def initialise(self, seed: int) -> None:
        """Set every weight to its initial value for the seed, the same for every placement."""
        self.tables.initialise(seed)
        self.network.initialise(seed)

    def plan_steps(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Plan]]:
        """Yield each batch with the plan of its step.

        A plan depends on no weight, so it can be made ahead. For a CUDA device it is in pinned
        memory, like a loader's batches, so that no step waits for its copy.
        """
        for batch in batches:
            fits = self._graph_step is not None and self._graph_step.fits(batch)
            yield batch, self._plan_slots(batch) if fits else self.plan_lookup(batch)

    def plan_scores(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Plan]]:
        """Yield each batch with the plan of its logits, like `plan_steps`."""
        for batch in batches:
            by_slots = self.scores_by_slots and batch.offsets is None
            yield batch, self._plan_slots(batch) if by_slots else self.plan_lookup(batch)

    def _plan_slots(self, batch: Batch) -> Slots:
        slots = self._planner.plan_slots(batch)
        return dataclasses.replace(slots, slots=self._pin(slots.slots))

    def plan_lookup(self, batch: Batch) -> Lookup:
        """Return the lookup of this rank's part of a batch."""
        lookup = self._planner.plan_lookup(self.ranks.local_part(batch))
        offsets = None if lookup.offsets is None else self._pin(lookup.offsets)
        return dataclasses.replace(
            lookup,
            hot=self._pin(lookup.hot),
            inverse=self._pin(lookup.inverse),
            offsets=offsets,
            shared=self.ranks.size > 1 and self._planner.has_cold_rows(batch),
        )

    def _pin(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the array, in pinned memory if the device is CUDA."""
        if self.device.type != "cuda":
            return array
        pinned: npt.NDArray[Any] = torch.from_numpy(array).pin_memory().numpy()
        return pinned

    @contextmanager
    def prefetch_steps(
        self, batches: Iterable[Batch], depth: int
    ) -> Iterator[Iterator[tuple[Batch, Plan]]]:
        """Yield an iterator over batches and their plans, made `depth` ahead in a thread.

        Step on every batch, in this order: cold rows may be read ahead too.
        """
        rows = self.tables.prefetching() if self.reads_ahead else nullcontext()
        with rows, prefetch(self._request_ahead(batches), depth) as planned:
            yield planned

    def _request_ahead(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Plan]]:
        """Yield each batch with its plan, and request the plan's cold rows."""
        for batch, plan in self.plan_steps(batches):
            self.tables.request(plan)
            yield batch, plan

    def step(self, batch: Batch, plan: Plan) -> Tensor:
        """Update the model by a batch; return the mean log loss before, a scalar on the device."""
        self.tables.prepare_for(hot=not len(plan.cold))
        if isinstance(plan, Slots):
            assert self._graph_step is not None
            return self._graph_step(batch, plan)
        assert isinstance(plan, Lookup)
        return self._plain_step(batch, plan)

    @torch.no_grad()
    def logits(self, batch: Batch, plan: Plan) -> Tensor:
        """Return the logits of a batch, (batch,) on the device."""
        mine = self.ranks.local_part(batch)
        if isinstance(plan, Slots):
            embedded = pool_on_device(*self.tables.read(plan), None, len(mine))
        else:
            assert isinstance(plan, Lookup)
            rows = self.tables.gather(plan).rows
            embedded = pool(rows, plan.inverse, plan.offsets, len(mine))
        logit = self._logit(self._to_device(mine.dense), embedded)
        if self.ranks.size == 1:
            return logit
        return torch.cat(self.ranks.all_gather(logit, self.ranks.part_sizes(len(batch))))

    def _plain_step(self, batch: Batch, lookup: Lookup) -> Tensor:
        """Update the model by a batch without a graph; return the mean loss before the update."""
        gathered, mine = self.tables.gather(lookup), self.ranks.local_part(batch)
        embedded = pool(gathered.rows, lookup.inverse, lookup.offsets, len(mine))
        logit = self._logit(self._to_device(mine.dense), embedded)
        loss = functional.binary_cross_entropy_with_logits(logit, self._to_device(mine.label))
        if self.ranks.size > 1:
            loss = loss * self.ranks.share(batch)
        self.network_optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.tables.update(gathered, self.lr)
        loss = loss.detach()
        if self.ranks.size > 1:
            gradients = [w.grad for w in self.network.parameters() if w.grad is not None]
            self.ranks.all_reduce([loss, *gradients])
        self.network_optimizer.update()
        return loss

    def _loss(self, label: Tensor, dense: Tensor, rows: Tensor, inverse: Tensor) -> Tensor:
        """Return the mean log loss of a batch of one id a feature, from arrays on the device."""
        logit = self._logit(dense, pool_on_device(rows, inverse, None, len(label)))
        return functional.binary_cross_entropy_with_logits(logit, label)

    def _logit(self, dense: Tensor, embedded: Tensor) -> Tensor:
        """Return the logits, (batch,); under mixed precision only the network uses bfloat16."""
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self._mixed, cache_enabled=False
        ):
            logit: Tensor = self.network(dense, embedded)
        return logit.to(self.dtype)

    def _to_device(self, values: Tensor) -> Tensor:
        """Return a batch's tensor on the device."""
        return values.to(self.device, self.dtype, non_blocking=True)
