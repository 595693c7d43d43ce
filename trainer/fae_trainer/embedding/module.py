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

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fae.format.errors import ParameterError
from fae.format.manifest import Manifest
from fae_trainer.data.batches import Batch
from fae_trainer.embedding.device_rows import DeviceRows, runs_kernels
from fae_trainer.embedding.host_rows import POOLINGS, HostRows
from fae_trainer.embedding.layout import make_layout
from fae_trainer.embedding.optimizers import ROW_OPTIMIZERS
from fae_trainer.embedding.tables import Tables

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
        _check_choice("optimizer", optimizer, tuple(ROW_OPTIMIZERS))
        _check_choice("pooling", pooling, POOLINGS)
        self._all = tuple(feature.name for feature in manifest.features.sparse)
        chosen = _restrict_features(manifest, self._all if features is None else features)
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
        batch = self._make_batch(ids, offsets)
        vectors, lookup = self._look_up(batch)
        if torch.is_grad_enabled():
            anchor = torch.empty(0, requires_grad=True)
            vectors = _NoteGradient.apply(anchor, vectors, self._note, lookup)  # type: ignore[no-untyped-call]
        return vectors.view(len(batch), len(self.features), self.dim)

    def of(self, batch: Batch) -> Tensor:
        """Return the vectors of a loader's batch."""
        return self._embed(_select_bags(batch, self._all, self.features))

    def of_keyed(self, keyed: Any) -> Tensor:
        """Return the vectors of a TorchRec KeyedJaggedTensor, or of an object with its methods.

        These are `keys()`, `values()` and `lengths()` or `offsets()`. Flattened to
        (batch, features * dim), the result is the `values()` of an EmbeddingBagCollection. Raises
        ParameterError where a feature is absent or ids have weights.
        """
        return self._embed(_transpose_bags(keyed, self.features))

    def apply_gradients(self, rate: float) -> None:
        """Update the rows whose gradients arrived since the last call.

        Gradients of a row from several lookups are summed, like those of a parameter.
        """
        arrived, self._arrived = self._arrived, []
        if not arrived:
            return
        if isinstance(self._rows, DeviceRows):
            self._rows.set_rate(rate)
            self._rows.update(*self._rows.merge(arrived))
        else:
            lookup, gradient = self._rows.merge(arrived)
            gathered = self.tables.gather(lookup.distinct)
            self._rows.update(lookup, gathered, gradient.cpu(), rate)

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
        """Note a gradient of the vectors of a lookup, (bags, dim)."""
        self._arrived.append((lookup, gradient))

    def _make_batch(self, ids: Tensor, offsets: Tensor | None) -> Batch:
        """Return checked ids as a batch without labels and dense features."""
        ids = ids.detach().flatten()
        offsets = None if offsets is None else offsets.detach().to(ids.device)
        bags = len(ids) if offsets is None else len(offsets) - 1
        samples, rest = divmod(bags, len(self.features))
        if rest or not samples:
            raise ParameterError(
                f"{bags} bags do not make a batch of {len(self.features)} features a sample."
            )
        limits = self._limits.to(ids.device).repeat(samples)
        if offsets is not None:
            limits = limits.repeat_interleave(offsets.diff())
        if len(limits) != len(ids):
            raise ParameterError(f"offsets end at {len(limits)}, but there are {len(ids)} ids.")
        if (wrong := (ids < 0) | (ids >= limits)).any():
            at = int(wrong.nonzero()[0])
            raise ParameterError(f"Id {ids[at]} is not a row of a table of {limits[at]} rows.")
        return Batch(torch.empty(samples), torch.empty((samples, 0)), ids, offsets, hot=False)

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

    def __init__(self, embedding: HotColdEmbedding, lr: float) -> None:
        """Make an optimiser with learning rate `lr`."""
        rows = [embedding.tables.hot.rows, embedding.tables.cold.rows]
        super().__init__(rows, {"lr": lr})
        self._embedding = embedding

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Apply the gradients that arrived since the last step; return the closure's value."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._embedding.apply_gradients(self.param_groups[0]["lr"])
        return loss

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


def _restrict_features(manifest: Manifest, features: Sequence[str]) -> Manifest:
    """Return the manifest with only some features, in this order, and their tables."""
    known = {feature.name: feature for feature in manifest.features.sparse}
    if missing := [name for name in features if name not in known]:
        raise ParameterError(f"The data set has no feature {missing[0]!r}; it has {list(known)}.")
    sparse = tuple(known[name] for name in features)
    names = {feature.table for feature in sparse}
    tables = tuple(table for table in manifest.tables if table.name in names)
    if not tables:
        raise ParameterError("There are no sparse features to embed.")
    if len({table.dim for table in tables}) > 1:
        pairs = ", ".join(f"{table.name} {table.dim}" for table in tables)
        raise ParameterError(
            f"The tables of a module must have one dimension, and these differ: {pairs}. Make a "
            "module for each dimension, with `features`."
        )
    chosen = dataclasses.replace(manifest.features, sparse=sparse)
    return dataclasses.replace(manifest, features=chosen, tables=tables)


def _check_choice(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ParameterError(f"{what} is {name}; it must be one of {', '.join(known)}.")


def _select_bags(
    batch: Batch, names: Sequence[str], features: Sequence[str]
) -> tuple[Tensor, Tensor | None]:
    """Return the ids and offsets of some `features` of a batch with features `names`."""
    if tuple(features) == tuple(names):
        return batch.ids, batch.offsets
    columns = [names.index(name) for name in features]
    if batch.offsets is None:
        return batch.ids.view(len(batch), len(names))[:, columns].flatten(), None
    begins = batch.offsets[:-1].view(len(batch), len(names))[:, columns]
    lengths = batch.offsets.diff().view(len(batch), len(names))[:, columns]
    return _gather_bags(batch.ids, begins, lengths)


def _transpose_bags(keyed: Any, features: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return the ids and offsets of `features` in a KeyedJaggedTensor, ordered by sample first."""
    keys = list(keyed.keys())
    if missing := [name for name in features if name not in keys]:
        raise ParameterError(f"The keyed ids have no feature {missing[0]!r}; they have {keys}.")
    if getattr(keyed, "weights_or_none", lambda: None)() is not None:
        raise ParameterError("The keyed ids have weights, which pooling ignores. Drop them.")
    lengths = keyed.lengths() if hasattr(keyed, "lengths") else keyed.offsets().diff()
    begins = lengths.cumsum(0) - lengths
    rows = [keys.index(name) for name in features]
    return _gather_bags(
        keyed.values(), *(each.view(len(keys), -1)[rows].T for each in (begins, lengths))
    )


def _gather_bags(ids: Tensor, begins: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ids and offsets of bags that begin at `begins`, (samples, features), in `ids`."""
    sizes = lengths.flatten()
    offsets = functional.pad(sizes.cumsum(0), (1, 0))
    # Id k of the result comes from position k plus the shift of its bag.
    shifts = torch.repeat_interleave(begins.flatten() - offsets[:-1], sizes)
    return ids[shifts + torch.arange(len(shifts), device=ids.device)], offsets
