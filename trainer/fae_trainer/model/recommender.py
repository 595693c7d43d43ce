"""The model as a whole, embedding tables and network, and one step of its training."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fae.format.errors import ParameterError
from fae.format.manifest import Manifest
from fae_trainer.data.batches import Batch
from fae_trainer.data.prefetch import prefetch, upload_ahead
from fae_trainer.embedding.device_rows import DeviceRows, runs_kernels
from fae_trainer.embedding.distributed import ALONE, Ranks
from fae_trainer.embedding.host_rows import HostRows, Lookup
from fae_trainer.embedding.layout import Layout, make_layouts
from fae_trainer.embedding.locked_tables import LockedTables
from fae_trainer.embedding.optimizers import ROW_OPTIMIZERS, NetworkOptimizer, RowStep
from fae_trainer.embedding.replicated import ReplicatedTables
from fae_trainer.embedding.shared_tables import SharedTables
from fae_trainer.embedding.tables import TableGroups, Tables
from fae_trainer.model.device_step import DeviceStep, find_vectors, split_by_sample
from fae_trainer.model.dlrm import Dlrm
from fae_trainer.model.memory import check_model_memory
from fae_trainer.model.ranked_step import RankedStep
from fae_trainer.parameters import TrainParameters, find_largest_dim

#: Batches that are copied to a GPU ahead of the one that a step is on.
UPLOADS_AHEAD = 2

_DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Plan:
    """What is known of a batch before its step.

    `lookups`, one for each dimension, are set where the host looks its rows up. Where the device
    does, `part` is this process's part of the batch on the device, and `following` the part of the
    next batch.
    """

    lookups: tuple[Lookup, ...] | None = None
    part: Batch | None = None
    following: Batch | None = None


def count_hot_rows(manifest: Manifest, placement: str) -> list[int]:
    """Return how many rows of each table live on the device under a placement."""
    if placement == "gpu":
        return [table.rows for table in manifest.tables]
    if placement in ("hot-cold", "fae"):
        return [table.hot_rows for table in manifest.tables]
    return [0 for _ in manifest.tables]


def make_network(manifest: Manifest, parameters: TrainParameters) -> Dlrm:
    """Return the network above the embeddings, with unset weights of the parameters' dtype."""
    bottom = parameters.bottom_mlp
    dim = bottom[-1] if bottom else find_largest_dim(manifest)
    dims = dict.fromkeys(table.dim for table in manifest.tables)
    return Dlrm(
        len(manifest.features.dense),
        len(manifest.features.sparse),
        dim,
        bottom,
        parameters.top_mlp,
        others=[other for other in dims if other != dim],
    ).to(_DTYPES[parameters.dtype])


class Recommender:
    """A DLRM and its embedding tables, placed as the parameters say.

    Tables of each dimension are a group of their own, and go through all of a step side by side.
    The placement does not change the arithmetic: on the CPU all placements are bit for bit equal.
    """

    def __init__(
        self,
        manifest: Manifest,
        parameters: TrainParameters,
        ranks: Ranks = ALONE,
        by_device: bool | None = None,
        beside: Mapping[str, int] | None = None,
    ) -> None:
        """Allocate a model; call `initialise` or restore a checkpoint before use.

        `beside` are bytes, by name, that this process takes of the host's memory besides.

        With several `ranks`, each steps on its part of every batch, and all ranks make every call.
        A GPU handles the rows `by_device`; a CPU does so only if asked to, by Triton's interpreter.
        Raises ParameterError where memory does not suffice or the device cannot handle rows.
        """
        self.ranks = ranks
        self.placement = parameters.placement
        #: Whether every row that a hot batch needs lives on the device, in the layout.
        self._keeps_hot = parameters.placement in ("gpu", "hot-cold", "fae")
        self.device = torch.device(parameters.device)
        self.dtype = _DTYPES[parameters.dtype]
        self.lr = parameters.lr
        self._mixed = parameters.amp == "bf16"
        if by_device is None:
            by_device = self.device.type == "cuda" and parameters.placement != "hybrid"
        if by_device:
            _check_device(self.device, ranks, parameters.placement)
        layouts = make_layouts(manifest, count_hot_rows(manifest, parameters.placement))
        on_cpu = not by_device or self.device.type == "cpu"
        check_model_memory(manifest, layouts, parameters, ranks, on_cpu, beside or {})
        self.tables = TableGroups(
            [self._make_tables(dim, each, parameters, by_device) for dim, each in layouts.items()]
        )
        self._host_rows = [HostRows(tables) for tables in self.tables.groups]
        self.network = make_network(manifest, parameters).to(self.device)
        self.network_optimizer = NetworkOptimizer(
            parameters.optimizer,
            self.network.parameters(),
            parameters.dense_lr,
            parameters.clip_norm,
        )
        self.device_step: DeviceStep | RankedStep | None = None
        if by_device:
            self.device_step = self._make_device_step(parameters)

    def initialise(self, seed: int) -> None:
        """Set every weight to its initial value for the seed, the same for every placement."""
        self.tables.initialise(seed)
        self.network.initialise(seed)

    @contextmanager
    def prefetch(
        self, batches: Iterable[Batch], depth: int
    ) -> Iterator[Iterator[tuple[Batch, Plan]]]:
        """Yield an iterator over batches and their plans, made `depth` ahead in a thread."""
        if self._takes_whole_batches:  # copies go ahead on a stream of their own
            with prefetch(batches, depth) as ahead:
                yield self.plan(ahead)
        else:
            with prefetch(self.plan(batches), depth) as planned:
                yield planned

    def plan(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Plan]]:
        """Yield each batch with its plan, which depends on no weight."""
        if self._takes_whole_batches:
            yield from self._upload(batches)
            return
        for batch in batches:
            if self.device_step is not None and batch.hot:
                yield batch, Plan(part=batch.to(self.device, non_blocking=True))
            else:
                mine = self.ranks.local_part(batch)
                yield batch, Plan(lookups=self._plan_lookups(mine, batch))

    @property
    def _takes_whole_batches(self) -> bool:
        """Whether the device handles the rows of all batches; of `fae`, those of hot ones."""
        return self.device_step is not None and self.placement != "fae"

    def _upload(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Plan]]:
        """Yield each batch with its part on the device and that of the next one."""
        taken: deque[Batch] = deque()

        def take_parts() -> Iterator[Batch]:
            for batch in batches:
                taken.append(batch)
                yield self.ranks.local_part(batch)

        part: Batch | None = None
        for following in upload_ahead(take_parts(), self.device, UPLOADS_AHEAD):
            if part is not None:
                yield taken.popleft(), Plan(part=part, following=following)
            part = following
        if part is not None:
            yield taken.popleft(), Plan(part=part)

    def step(self, batch: Batch, plan: Plan) -> Tensor:
        """Update the model by a batch; return the mean log loss before, a scalar on the device."""
        self.tables.prepare_for(batch.hot)
        if plan.part is None:
            assert plan.lookups is not None
            return self._step_by_host(batch, plan.lookups)
        if isinstance(self.device_step, RankedStep):
            return self.device_step(plan.part, batch.samples)
        assert self.device_step is not None
        return self.device_step(plan.part, plan.following)

    @torch.no_grad()
    def logits(self, batch: Batch, plan: Plan) -> Tensor:
        """Return the logits of a batch, (batch,) on the device."""
        mine = plan.part or self.ranks.local_part(batch)
        if self._takes_whole_batches:
            assert plan.part is not None
            assert self.device_step is not None
            if isinstance(self.device_step, DeviceStep):
                self.device_step.write_back()
            vectors = [find_vectors(rows, plan.part)[1] for rows in self.device_step.groups]
        else:  # of `fae`, the host reads the hot rows from their current owner
            lookups = plan.lookups or self._plan_lookups(self.ranks.local_part(batch))
            found = [
                rows.look_up(lookup)[0]
                for rows, lookup in zip(self._host_rows, lookups, strict=True)
            ]
            vectors = [split_by_sample(self._to_device(each), len(mine)) for each in found]
        logit = self._logit(self._to_device(mine.dense), vectors)
        if self.ranks.size == 1:
            return logit
        return torch.cat(self.ranks.all_gather(logit, self.ranks.part_sizes(batch.samples)))

    def _make_tables(
        self, dim: int, layout: Layout, parameters: TrainParameters, by_device: bool
    ) -> Tables:
        rule = ROW_OPTIMIZERS[parameters.optimizer]
        # Where the host handles the rows, it has all of them, but for the hot ones of `fae`.
        there = self.device if by_device else torch.device("cpu")
        arguments = (layout, dim, there, self.dtype, rule)
        if self.ranks.size > 1:
            shared = LockedTables if by_device else SharedTables
            return shared(*arguments, ranks=self.ranks)
        if parameters.placement == "fae":
            return ReplicatedTables(*arguments)
        return Tables(*arguments, page_locked=by_device and self.device.type == "cuda")

    def _make_device_step(self, parameters: TrainParameters) -> DeviceStep | RankedStep:
        groups = [self._make_device_rows(tables) for tables in self.tables.groups]
        size, graph = parameters.batch_size, parameters.cuda_graph
        if self.ranks.size > 1:
            return RankedStep(groups, self.network_optimizer, self._loss, self.ranks, size, graph)
        step = DeviceStep(groups, self.network_optimizer, self._loss, size, graph)
        for tables in self.tables.groups:
            tables.staging = step
        return step

    def _make_device_rows(self, tables: Tables) -> DeviceRows:
        hot, cold = tables.hot, tables.cold
        if isinstance(tables, ReplicatedTables):  # only for batches without cold rows
            hot = tables.copy
            cold = hot.slice(0, 0)
        rows = DeviceRows(
            tables.layout,
            hot,
            cold,
            tables.optimizer,
            owner=self.ranks.rank,
            owners=self.ranks.size,
        )
        rows.set_step(RowStep(self.lr))
        return rows

    def _plan_lookups(self, mine: Batch, batch: Batch | None = None) -> tuple[Lookup, ...]:
        """Return the lookups of this process's part of a batch, which is given for a step."""
        return tuple(
            rows.plan(mine, batch is not None and self._is_shared(tables, batch))
            for rows, tables in zip(self._host_rows, self.tables.groups, strict=True)
        )

    def _is_shared(self, tables: Tables, batch: Batch) -> bool:
        """Tell whether several processes exchange cold rows for a batch; all tell the same.

        It depends on no ids, since each process may have its part of the batch alone.
        """
        on_host = tables.layout.cold_total > 0
        return self.ranks.size > 1 and on_host and not (batch.hot and self._keeps_hot)

    def _step_by_host(self, batch: Batch, lookups: Sequence[Lookup]) -> Tensor:
        """Update the model by a batch whose rows the host handles."""
        mine = self.ranks.local_part(batch)
        rows = list(zip(self._host_rows, lookups, strict=True))
        found = [each.look_up(lookup) for each, lookup in rows]
        vectors = [
            self._to_device(split_by_sample(each, len(mine))).requires_grad_() for each, _ in found
        ]
        weight = None if mine.weight is None else self._to_device(mine.weight)
        label, dense = self._to_device(mine.label), self._to_device(mine.dense)
        loss = self._loss(label, weight, dense, vectors)
        if self.ranks.size > 1:
            loss = loss * self.ranks.share(batch)
        gradients = self.network_optimizer.differentiate(loss, vectors)
        step = RowStep(self.lr)
        for (each, lookup), (_, gathered), of_vectors in zip(rows, found, gradients, strict=True):
            each.update(lookup, gathered, of_vectors.flatten(0, 1).cpu(), step)
        loss = loss.detach()
        if self.ranks.size > 1:
            self.ranks.all_reduce([loss, *self.network_optimizer.gradients])
        self.network_optimizer.update()
        return loss

    def _loss(
        self, label: Tensor, weight: Tensor | None, dense: Tensor, vectors: Sequence[Tensor]
    ) -> Tensor:
        """Return the mean log loss of samples, each multiplied by its weight if there are any."""
        logit = self._logit(dense, vectors)
        return functional.binary_cross_entropy_with_logits(logit, label, weight)

    def _logit(self, dense: Tensor, vectors: Sequence[Tensor]) -> Tensor:
        """Return the logits, (batch,); under mixed precision only the network uses bfloat16."""
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self._mixed, cache_enabled=False
        ):
            logit: Tensor = self.network(dense, vectors)
        return logit.to(self.dtype)

    def _to_device(self, values: Tensor) -> Tensor:
        """Return a batch's tensor on the device."""
        return values.to(self.device, self.dtype, non_blocking=True)


def _check_device(device: torch.device, ranks: Ranks, placement: str) -> None:
    """Raise ParameterError where a GPU cannot handle rows itself."""
    if not runs_kernels(device):
        raise ParameterError(
            f"--placement {placement} needs Triton, which this torch does not bring. Use "
            "--placement hybrid, where the host handles the rows, or pip install triton."
        )
    if ranks.size > 1 and not ranks.on_one_machine:
        raise ParameterError(
            f"--placement {placement} needs all processes on one machine, whose memory they share. "
            "Use --placement hybrid, where the machines exchange rows."
        )
