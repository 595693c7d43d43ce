"""Embedding bags for any model, with hot rows on the device and cold rows on the host.

    embedding = HotColdEmbedding(loader.manifest, optimizer="rowwise_adagrad", device="cuda")
    rows_optimizer = HotColdOptimizer(embedding, lr=0.02)

In the model, `embedding.of(batch)` is (batch, features, dim): what one `nn.EmbeddingBag` a feature
would return. In the loop, `rows_optimizer` is used beside the optimiser of the model's parameters.

Rows are not parameters, so what is done to `model.parameters()` does not reach them:
`torch.nn.utils.clip_grad_norm_` does not count or change their gradients, weight decay is an
argument of HotColdOptimizer, and `parameter_count` tells how many numbers they have. The module has
one parameter, `anchor`, which is empty: where it does not require a gradient, for example after
`model.requires_grad_(False)`, the rows are frozen. To freeze some tables, make a module for them.
`torch.compile` breaks its graph at the module, which runs as it is.

A bag is the ids of one feature of one sample. Here bags are ordered by sample and then by feature;
TorchRec's KeyedJaggedTensor orders them by feature first. Only its methods are used, so TorchRec
need not be installed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fae.format.errors import ParameterError
from fae.format.manifest import Manifest
from fae.format.memory import check_host_memory
from fae_trainer.data.bags import make_batch, select_bags, transpose_bags
from fae_trainer.data.batches import Batch
from fae_trainer.data.vocabulary import find_row_ids
from fae_trainer.embedding.device_rows import DeviceRows, runs_kernels
from fae_trainer.embedding.distributed import Ranks
from fae_trainer.embedding.host_rows import POOLINGS, HostRows
from fae_trainer.embedding.layout import check_choice, make_layout, restrict_features
from fae_trainer.embedding.optimizers import ROW_OPTIMIZERS, RowStep
from fae_trainer.embedding.tables import ROWS_REMEDY, Tables, count_row_bytes

_Forward = TypeVar("_Forward", bound=Callable[..., Tensor])

#: Lookups whose gradients are noted one by one.
_MAX_NOTED = 8

_NOBODY_STEPS = (
    "Rows of a HotColdEmbedding got a gradient, and nothing updates them. Make its "
    "HotColdOptimizer before the first backward pass, or freeze the rows by requires_grad_(False)."
)

_run_eagerly: Callable[[_Forward], _Forward] = torch.compiler.disable

#: The prefix of a table's name in a module's state_dict.
ROWS = "rows."


class HotColdEmbedding(nn.Module):
    """A data set's embedding tables, or those of some `features`, all of one dimension.

    Rows are not parameters of the module: `.to()` does not move them, and only HotColdOptimizer
    changes them, for which gradients are kept. The state_dict has each table's rows in the order of
    the data set's ids, (rows, dim), so it loads under any placement. A copy, by `copy.deepcopy` or
    pickling, has rows of its own, and no gradients.
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
        `optimizer` is one of ROW_OPTIMIZERS; it decides each row's state. A GPU computes "sgd" and
        "rowwise_adagrad" itself; "adagrad" and "adam" run on the host, more slowly. Raises
        ParameterError where a value is out of range, or the tables differ in dimension.
        """
        super().__init__()
        check_choice("optimizer", optimizer, tuple(ROW_OPTIMIZERS))
        check_choice("pooling", pooling, POOLINGS)
        self._all = tuple(feature.name for feature in manifest.features.sparse)
        chosen = restrict_features(manifest, self._all if features is None else features)
        self.features = tuple(feature.name for feature in chosen.features.sparse)
        self.dim = chosen.tables[0].dim
        self.pooling = pooling
        self._fingerprint = manifest.fingerprint
        hot = {table.name: table.hot_rows for table in chosen.tables} | dict(hot_rows or {})
        for table in chosen.tables:
            if not 0 <= hot[table.name] <= table.rows:
                raise ParameterError(f"hot_rows of {table.name} must be from 0 to {table.rows}.")
        layout = make_layout(chosen, [hot[table.name] for table in chosen.tables])
        device = torch.device(device)
        rule = ROW_OPTIMIZERS[optimizer]
        by_device = device.type == "cuda" and runs_kernels(device) and rule.has_kernel
        rows_on_host = layout.row_total if device.type == "cpu" else layout.cold_total
        on_host = count_row_bytes(rows_on_host, self.dim, dtype, rule)
        check_host_memory(on_host, dict.fromkeys(on_host, ROWS_REMEDY))
        self.tables = Tables(layout, self.dim, device, dtype, rule, page_locked=by_device)
        self.tables.initialise(seed)
        self.anchor = nn.Parameter(torch.empty(0, device=device))
        self._rows = self._make_access()
        self._limits = torch.from_numpy(layout.rows[layout.feature_table])  # (features,)
        self._arrived: list[tuple[Any, Tensor]] = []
        #: Whether a HotColdOptimizer takes the gradients.
        self.learns = False

    @property
    def parameter_count(self) -> int:
        """The number of values of all rows, hot and cold."""
        return self.tables.layout.row_total * self.dim

    @_run_eagerly
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
        if torch.is_grad_enabled() and self.anchor.requires_grad:
            vectors = _NoteGradient.apply(self.anchor, vectors, self._note, lookup)  # type: ignore[no-untyped-call]
        return vectors.view(len(batch), len(self.features), self.dim)

    @_run_eagerly
    def of(self, batch: Batch) -> Tensor:
        """Return the vectors of a loader's batch."""
        return self._embed(select_bags(batch, self._all, self.features))

    @_run_eagerly
    def of_keyed(self, keyed: Any) -> Tensor:
        """Return the vectors of a TorchRec KeyedJaggedTensor, or of an object with its methods.

        These are `keys()`, `values()` and `lengths()` or `offsets()`. Flattened to
        (batch, features * dim), the result is the `values()` of an EmbeddingBagCollection. Raises
        ParameterError where a feature is absent or ids have weights.
        """
        return self._embed(transpose_bags(keyed, self.features))

    def load_pretrained(
        self, data: Path | str, table: str, values: Sequence[Any], vectors: Tensor
    ) -> None:
        """Set the rows of raw `values` of a table to `vectors`, (values, dim).

        `data` is the data set, whose vocabulary has the row of each value, as the log writes it; a
        missing one is None. Rows of other values stay. Where several values share a row, it is the
        mean of their vectors. Raises ParameterError where a value is unknown or given twice, or the
        sizes do not fit, and DatasetError where the vocabulary is absent or damaged.
        """
        names = self.tables.layout.names
        if table not in names:
            raise ParameterError(f"The module has no table {table!r}; it has {list(names)}.")
        if vectors.shape != (len(values), self.dim):
            raise ParameterError(
                f"vectors are {tuple(vectors.shape)}, and {len(values)} values of {table} need "
                f"({len(values)}, {self.dim})."
            )
        manifest = Manifest.read(data)
        if manifest.fingerprint != self._fingerprint:
            raise ParameterError(f"{data} is another data set than the module's: its ids differ.")
        ids = find_row_ids(Path(data), manifest.table(table), values)
        distinct, number, counts = torch.unique(ids, return_inverse=True, return_counts=True)
        summed = vectors.new_zeros((len(distinct), self.dim)).index_add_(0, number, vectors)
        self.tables.replace_rows(table, distinct, summed / counts.unsqueeze(1))

    def apply_gradients(
        self, step: RowStep, scale: Tensor | None = None, ranks: Ranks | None = None
    ) -> bool:
        """Update the rows whose gradients arrived since the last call; tell whether there are any.

        Gradients of a row from several lookups are summed, like those of a parameter. They are
        divided by `scale`, and nothing changes where one is not finite then. With `ranks`, all of
        them call it, and rows learn from the mean of all ranks' gradients.
        """
        arrived, self._arrived = self._arrived, []
        if ranks is not None:
            arrived = self._average(arrived, ranks)
        if not arrived:
            return False
        rows: Any = self._rows
        lookup, gradient = rows.merge(arrived)
        if scale is not None:
            gradient = gradient / scale.to(gradient.device)
            if not gradient.isfinite().all():
                return False
        if isinstance(rows, DeviceRows):
            rows.set_step(step)
            rows.update(lookup, gradient)
        else:
            rows.update(lookup, self.tables.gather(lookup.distinct), gradient.cpu(), step)
        return True

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
            f"{layout.cold_total:,} cold rows, {self.parameter_count:,} parameters, "
            f"pooling={self.pooling}"
        )

    def _make_access(self) -> HostRows | DeviceRows:
        """Return what looks up and updates the rows: kernels of the device where it has them."""
        tables = self.tables
        if tables.page_locked:
            shards = (tables.hot, tables.cold)
            return DeviceRows(tables.layout, *shards, tables.optimizer, pooling=self.pooling)
        return HostRows(tables, self.pooling)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_rows": None, "_arrived": [], "learns": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._rows = self._make_access()

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
        """Note a gradient of the vectors of a lookup, (bags, dim), for a HotColdOptimizer.

        Many are summed by row, so that they never hold more than the tables do.
        """
        if not self.learns:
            warnings.warn(_NOBODY_STEPS, stacklevel=2)
            return
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
        self,
        destination: dict[str, Any],
        prefix: str,
        keep_vars: bool,  # noqa: ARG002
    ) -> None:
        for name, rows in self.tables.rows().items():
            destination[f"{prefix}{ROWS}{name}"] = rows

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Any,  # noqa: ARG002
        strict: bool,  # noqa: ARG002
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        layout = self.tables.layout
        sizes = zip(layout.names, layout.rows.tolist(), strict=True)
        shapes = {name: (rows, self.dim) for name, rows in sizes}
        keys = {name: f"{prefix}{ROWS}{name}" for name in shapes}
        loaded = {name: state_dict[key] for name, key in keys.items() if key in state_dict}
        missing_keys += [key for key in keys.values() if key not in state_dict]
        unexpected_keys += [
            key for key in state_dict if key.startswith(prefix) and key not in keys.values()
        ]
        for name, rows in loaded.items():
            if tuple(rows.shape) != shapes[name]:
                error_msgs.append(
                    f"{keys[name]} is {tuple(rows.shape)}, but the table is {shapes[name]}: it "
                    "belongs to another data set."
                )
        if not error_msgs:
            self.tables.load_rows(loaded)


class _NoteGradient(torch.autograd.Function):
    """Pass the vectors of a lookup on, and note their gradient in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, anchor: Tensor, vectors: Tensor, note: Callable[[Any, Tensor], None], lookup: Any
    ) -> Tensor:
        """Return the vectors; the empty first argument makes autograd differentiate."""
        ctx.note, ctx.lookup, ctx.anchor = note, lookup, anchor.detach()
        return vectors.view_as(vectors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Note the gradient of the vectors; that of the anchor is empty."""
        ctx.note(ctx.lookup, gradients[0])
        return torch.zeros_like(ctx.anchor), None, None, None
