"""Embedding bags for any model, with hot rows on the device and cold rows on the host.

    embedding = HotColdEmbedding(loader.manifest, optimizer="rowwise_adagrad", device="cuda")
    rows_optimizer = HotColdOptimizer(embedding, lr=0.02)

In the model, `embedding.of(batch)` is (batch, features, dim): what one `nn.EmbeddingBag` a feature
would return. In the loop, `rows_optimizer` is used beside the optimiser of the model's parameters.

A bag is the ids of one feature of one sample. Here bags are ordered by sample and then by feature;
TorchRec's KeyedJaggedTensor orders them by feature first. Only its methods are used, so TorchRec
need not be installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fae.format.errors import ParameterError
from fae.format.manifest import Manifest
from fae_trainer.data.bags import make_batch, select_bags, transpose_bags
from fae_trainer.data.batches import Batch
from fae_trainer.embedding.device_rows import DeviceRows, runs_kernels
from fae_trainer.embedding.distributed import Ranks, find_ranks
from fae_trainer.embedding.host_rows import POOLINGS, HostRows
from fae_trainer.embedding.layout import check_choice, make_layout, restrict_features
from fae_trainer.embedding.optimizers import ROW_OPTIMIZERS
from fae_trainer.embedding.tables import Tables

#: What rows learn from where several processes train.
PROCESSES = ("average", "alone")

#: Lookups whose gradients are noted one by one.
_MAX_NOTED = 8

#: The prefix of a table's name in a module's state_dict.
ROWS = "rows."


class HotColdEmbedding(nn.Module):
    """A data set's embedding tables, or those of some `features`, all of one dimension.

    Rows are not parameters of the module: `.to()` does not move them, and only HotColdOptimizer
    changes them. The state_dict has each table's rows in the order of the data set's ids,
    (rows, dim), so it loads under any placement.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        optimizer: str = "rowwise_adagrad",
        pooling: str = "sum",
        features: Sequence[str] | None = None,
        hot_rows: Mapping[str, int] | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        seed: int = 0,
    ) -> None:
        """Make tables with initial values uniform in ±1/√rows, which depend on `seed`.

        `hot_rows` overrides how many rows of a table live on `device`, by the table's name.
        `optimizer` is one of ROW_OPTIMIZERS; it decides each row's state. Raises ParameterError
        where a value is out of range, or the tables differ in dimension.
        """
        super().__init__()
        check_choice("optimizer", optimizer, tuple(ROW_OPTIMIZERS))
        check_choice("pooling", pooling, POOLINGS)
        self._all = tuple(feature.name for feature in manifest.features.sparse)
        chosen = restrict_features(manifest, self._all if features is None else features)
        self.features = tuple(feature.name for feature in chosen.features.sparse)
        self.dim = chosen.tables[0].dim
        self.pooling = pooling
        hot = {table.name: table.hot_rows for table in chosen.tables} | dict(hot_rows or {})
        for table in chosen.tables:
            if not 0 <= hot[table.name] <= table.rows:
                raise ParameterError(f"hot_rows of {table.name} must be from 0 to {table.rows}.")
        layout = make_layout(chosen, [hot[table.name] for table in chosen.tables])
        device = torch.device(device)
        rule = ROW_OPTIMIZERS[optimizer]
        by_device = device.type == "cuda" and runs_kernels(device)
        self.tables = Tables(layout, self.dim, device, dtype, rule, page_locked=by_device)
        self.tables.initialise(seed)
        self._rows: HostRows | DeviceRows = HostRows(self.tables, pooling)
        if by_device:
            shards = (self.tables.hot, self.tables.cold)
            self._rows = DeviceRows(layout, *shards, rule, pooling=pooling)
        self._limits = torch.from_numpy(layout.rows[layout.feature_table])  # (features,)
        self._arrived: list[tuple[Any, Tensor]] = []

    def forward(self, ids: Tensor, offsets: Tensor | None = None) -> Tensor:
        """Return each sample's pooled vectors, (batch, features, dim) on the device.

        `ids` are (batch, features) or flat. With `offsets` (batch * features + 1,), the ids of
        feature f of sample i start at `offsets[i * features + f]` and end before the next offset.
        An empty bag gives zeros. Raises ParameterError where an id is not a row of its table.
        """
        batch = make_batch(ids, offsets, self._limits)
        if not len(batch):
            shape = (0, len(self.features), self.dim)
            return torch.empty(shape, dtype=self.tables.dtype, device=self.tables.device)
        vectors, lookup = self._look_up(batch)
        if torch.is_grad_enabled():
            anchor = torch.empty(0, requires_grad=True)
            vectors = _NoteGradient.apply(anchor, vectors, self._note, lookup)  # type: ignore[no-untyped-call]
        return vectors.view(len(batch), len(self.features), self.dim)

    def of(self, batch: Batch) -> Tensor:
        """Return the vectors of a loader's batch."""
        return self._embed(select_bags(batch, self._all, self.features))

    def of_keyed(self, keyed: Any) -> Tensor:
        """Return the vectors of a TorchRec KeyedJaggedTensor, or of an object with its methods.

        These are `keys()`, `values()` and `lengths()` or `offsets()`. Flattened to
        (batch, features * dim), the result is the `values()` of an EmbeddingBagCollection. Raises
        ParameterError where a feature is absent or ids have weights.
        """
        return self._embed(transpose_bags(keyed, self.features))

    def apply_gradients(
        self, rate: float, scale: Tensor | None = None, ranks: Ranks | None = None
    ) -> None:
        """Update the rows whose gradients arrived since the last call.

        Gradients of a row from several lookups are summed, like those of a parameter. They are
        divided by `scale`, and nothing changes where one is not finite then. With `ranks`, all of
        them call it, and rows learn from the mean of all ranks' gradients.
        """
        arrived, self._arrived = self._arrived, []
        if ranks is not None:
            arrived = self._average(arrived, ranks)
        if not arrived:
            return
        rows: Any = self._rows
        lookup, gradient = rows.merge(arrived)
        if scale is not None:
            gradient = gradient / scale.to(gradient.device)
            if not gradient.isfinite().all():
                return
        if isinstance(rows, DeviceRows):
            rows.set_rate(rate)
            rows.update(lookup, gradient)
        else:
            rows.update(lookup, self.tables.gather(lookup.distinct), gradient.cpu(), rate)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop gradients, those of rows too."""
        super().zero_grad(set_to_none)
        self.forget_gradients()

    def forget_gradients(self) -> None:
        """Drop the gradients that arrived since the last step."""
        self._arrived = []

    def extra_repr(self) -> str:
        """Return what `print` shows in the module's parentheses."""
        layout = self.tables.layout
        return (
            f"{len(self.features)} features, dim={self.dim}, {layout.hot_total:,} hot rows, "
            f"{layout.cold_total:,} cold rows, pooling={self.pooling}"
        )

    def _embed(self, bags: tuple[Tensor, Tensor | None]) -> Tensor:
        vectors: Tensor = self(*bags)
        return vectors

    def _look_up(self, batch: Batch) -> tuple[Tensor, Any]:
        """Return the bags' vectors, (bags, dim) on the device, and what an update needs."""
        if isinstance(self._rows, DeviceRows):
            there = batch.to(self.tables.device)
            slots = self._rows.find_slots(there.ids, there.offsets)
            return self._rows.look_up(slots), slots
        lookup = self._rows.plan(batch.to("cpu"))
        return self._rows.look_up(lookup)[0].to(self.tables.device), lookup

    def _note(self, lookup: Any, gradient: Tensor) -> None:
        """Note a gradient of the vectors of a lookup, (bags, dim).

        Many are summed by row, so that they never hold more than the tables do.
        """
        self._arrived.append((lookup, gradient))
        if len(self._arrived) > _MAX_NOTED:
            rows: Any = self._rows
            self._arrived = [rows.sum_rows(self._arrived)]

    def _average(self, arrived: list[tuple[Any, Tensor]], ranks: Ranks) -> list[tuple[Any, Tensor]]:
        """Return the gradients of all ranks, in their order, divided by the number of ranks."""
        rows: Any = self._rows
        device, kind = self.tables.device, self.tables.dtype
        slots = torch.empty(0, dtype=torch.int64, device=device)
        gradient = torch.empty((0, self.dim), dtype=kind, device=device)
        if arrived:
            lookup, summed = rows.sum_rows(arrived)
            slots = rows.slots_of(lookup).to(slots)
            gradient = summed.to(gradient) / ranks.size
        counts = ranks.all_gather_count(len(slots))
        if not any(counts):
            return []
        every = torch.cat(ranks.all_gather(slots, counts))
        summed = torch.cat(ranks.all_gather(gradient, counts))
        if isinstance(rows, HostRows):
            every, summed = every.cpu(), summed.cpu()
        return [(rows.plan_slots(every), summed)]

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, rows in self.tables.rows().items():
            destination[f"{prefix}{ROWS}{name}"] = rows

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Any,  # noqa: ARG002
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        layout = self.tables.layout
        sizes = zip(layout.names, layout.rows.tolist(), strict=True)
        shapes = {name: (rows, self.dim) for name, rows in sizes}
        keys = {name: f"{prefix}{ROWS}{name}" for name in shapes}
        loaded = {name: state_dict[key] for name, key in keys.items() if key in state_dict}
        missing_keys += [key for key in keys.values() if strict and key not in state_dict]
        unexpected_keys += [
            key
            for key in state_dict
            if strict and key.startswith(prefix) and key not in keys.values()
        ]
        for name, rows in loaded.items():
            if tuple(rows.shape) != shapes[name]:
                error_msgs.append(
                    f"{keys[name]} is {tuple(rows.shape)}, but the table is {shapes[name]}: it "
                    "belongs to another data set."
                )
        if not error_msgs and len(loaded) == len(keys):
            self.tables.load_rows(loaded)


class HotColdOptimizer(torch.optim.Optimizer):
    """Updates the rows of a HotColdEmbedding that a backward pass reached, where they live.

    It uses the rule that the embedding was made with, "sgd" or "rowwise_adagrad". Learning-rate
    schedulers work with it. Its state_dict has the rows' state in the order of the data set's ids.
    """

    #: Tells torch's GradScaler to hand the scale to `step`, which divides by it.
    _step_supports_amp_scaling = True

    def __init__(
        self, embedding: HotColdEmbedding, lr: float, processes: str | None = None
    ) -> None:
        """Make an optimiser with learning rate `lr`.

        Where several processes train (torch.distributed), say what rows learn from: "average" is
        the mean of all processes' gradients, as DistributedDataParallel averages the network's, so
        that all processes have the same rows; with "alone" each process has rows of its own.
        """
        if processes is not None:
            check_choice("processes", processes, PROCESSES)
        rows = [embedding.tables.hot.rows, embedding.tables.cold.rows]
        super().__init__(rows, {"lr": lr})
        self._embedding = embedding
        self._processes = processes

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Apply the gradients that arrived since the last step; return the closure's value.

        Raises ParameterError where several processes train and `processes` was not given, or where
        a GradScaler has unscaled this optimiser beforehand, which it cannot.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        scale: Tensor | None = getattr(self, "grad_scale", None)
        if scale is None and hasattr(self, "found_inf"):
            raise ParameterError(
                "Do not call unscale_ for HotColdOptimizer: GradScaler.step unscales its rows."
            )
        rate = self.param_groups[0]["lr"]
        self._embedding.apply_gradients(rate, scale, self._find_ranks())
        return loss

    def _find_ranks(self) -> Ranks | None:
        """Return the processes whose gradients are averaged, or None."""
        ranks = find_ranks()
        if ranks.size > 1 and self._processes is None:
            raise ParameterError(
                f"{ranks.size} processes train, and each would have rows of its own. Give "
                "HotColdOptimizer processes='average' to keep them equal, as "
                "DistributedDataParallel does, or processes='alone'."
            )
        return ranks if ranks.size > 1 and self._processes == "average" else None

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002
        """Drop the gradients that arrived since the last step."""
        self._embedding.forget_gradients()

    def state_dict(self) -> dict[str, Any]:
        """Return each table's row states by name, (rows, width), and the learning rate."""
        groups = [
            {key: value for key, value in group.items() if key != "params"}
            for group in self.param_groups
        ]
        return {"state": self._embedding.tables.states(), "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state from `state_dict`, saved under any placement."""
        self._embedding.tables.load_states(state_dict["state"])
        for group, loaded in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update(loaded)


class _NoteGradient(torch.autograd.Function):
    """Pass the vectors of a lookup on, and note their gradient in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, _: Tensor, vectors: Tensor, note: Callable[[Any, Tensor], None], lookup: Any
    ) -> Tensor:
        """Return the vectors; the first argument makes autograd differentiate."""
        ctx.note, ctx.lookup = note, lookup
        return vectors.view_as(vectors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, None, None]:
        """Note the gradient of the vectors."""
        ctx.note(ctx.lookup, gradients[0])
        return None, None, None, None
