"""Embedding bags for anybody's model, whose hot rows live on the device and cold rows on the host.

    embedding = HotColdEmbedding(loader.manifest, optimizer="rowwise_adagrad", device="cuda")
    rows_optimizer = HotColdOptimizer(embedding, lr=0.02)

In the model, `embedding.of(batch)` is (batch, features, dim), as one `nn.EmbeddingBag` a feature
would give. In the loop, `rows_optimizer` stands beside the optimiser of the model's own parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fae.format.errors import ParameterError
from fae.format.manifest import Manifest
from fae_trainer.data.batches import Batch
from fae_trainer.embedding.bags import bags_of_batch, bags_of_keyed
from fae_trainer.embedding.layout import Lookup, Planner, make_layout
from fae_trainer.embedding.optimizers import ROW_OPTIMIZERS
from fae_trainer.embedding.tables import Gathered, Tables, pool

POOLINGS = ("sum", "mean")

#: Before a table's name in a module's state.
ROWS = "rows."


@dataclass(frozen=True)
class ArrivedGradient:
    """Rows whose gradient has come: `leaf` holds it, and `step` steps had been made before."""

    gathered: Gathered
    leaf: Tensor
    step: int


class HotColdEmbedding(nn.Module):
    """All of a data set's embedding tables, or those of some `features`, which have one dimension.

    Rows are no parameters of the module: `.to()` does not move them, and only HotColdOptimizer
    changes them. Its state_dict has a table's rows in the order of the data set's ids, (rows, dim),
    and so loads under another placement.
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
        """Tables with first values as `seed` says, uniform in ±1/√rows.

        `hot_rows` says how many rows of a table live on `device` where it is not what the manifest
        says. `optimizer` is one of ROW_OPTIMIZERS and decides the state beside each row.
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
        places = make_layout(chosen, [hot[table.name] for table in chosen.tables])
        device = torch.device(device)
        self.tables = Tables(places, self.dim, device, dtype, ROW_OPTIMIZERS[optimizer])
        self.tables.initialise(seed)
        self._planner = Planner(places)
        self._limits = torch.from_numpy(places.rows[places.feature_table])  # (features,)
        self._arrived: dict[int, ArrivedGradient] = {}
        self._steps = 0

    def forward(self, ids: Tensor, offsets: Tensor | None = None) -> Tensor:
        """Each input's vectors, a feature's rows pooled: (batch, features, dim) on the device.

        `ids` are (batch, features) or flat; with `offsets` (batch * features + 1,), the ids of
        feature f of input i are those from `offsets[i * features + f]` up to the next. An empty
        bag gives zeros. Ids on a GPU are copied to the host, where lookups are planned. Raises
        ParameterError where an id is no row of its table.
        """
        batch = self._batch(ids, offsets)
        lookup = self._planner.lookup(batch)
        gathered = self.tables.gather(lookup)
        if torch.is_grad_enabled():
            receive = self._make_hook(gathered)
            gathered.rows.register_post_accumulate_grad_hook(receive)  # type: ignore[no-untyped-call]
        vectors = pool(gathered.rows, lookup.inverse, lookup.offsets, len(batch))
        if self.pooling == "sum" or batch.offsets is None:
            return vectors
        lengths = batch.offsets.diff().clamp(min=1).view(len(batch), -1, 1)
        return vectors / lengths.to(vectors.device, vectors.dtype)

    def of(self, batch: Batch) -> Tensor:
        """The vectors of a loader's batch."""
        return self._vectors(bags_of_batch(batch, self._all, self.features))

    def of_keyed(self, keyed: Any) -> Tensor:
        """The vectors of a TorchRec KeyedJaggedTensor, or of what has its methods.

        Flattened to (batch, features * dim) they are EmbeddingBagCollection's `values()`.
        """
        return self._vectors(bags_of_keyed(keyed, self.features))

    def take_gradients(self) -> Gathered | None:
        """The rows that were looked up, with the gradient that came since the last call, if any.

        Gradients of a row from several lookups are summed, as one parameter's would be.
        """
        arrived, self._arrived = list(self._arrived.values()), {}
        if not arrived:
            return None
        self._steps += 1
        if len(arrived) == 1 and arrived[0].step == self._steps - 1:
            return dataclasses.replace(arrived[0].gathered, rows=arrived[0].leaf)
        return self._sum_lookups(arrived)

    def forget_gradients(self) -> None:
        """Drop the gradients that came since the last step."""
        self._arrived = {}

    def extra_repr(self) -> str:
        """What `print` shows."""
        places = self.tables.layout
        return (
            f"{len(self.features)} features, dim={self.dim}, {places.hot_total:,} hot rows, "
            f"{places.cold_total:,} cold rows, pooling={self.pooling}"
        )

    def _vectors(self, bags: tuple[Tensor, Tensor | None]) -> Tensor:
        vectors: Tensor = self(*bags)
        return vectors

    def _batch(self, ids: Tensor, offsets: Tensor | None) -> Batch:
        """The ids as a batch, checked; it has no label and no dense features."""
        ids = ids.detach().to("cpu").flatten()
        offsets = None if offsets is None else offsets.detach().to("cpu")
        bags = len(ids) if offsets is None else len(offsets) - 1
        inputs, rest = divmod(bags, len(self.features))
        if rest or not inputs:
            raise ParameterError(f"{bags} bags are no batch of {len(self.features)} features each.")
        limits = self._limits.repeat(inputs)
        if offsets is not None:
            limits = limits.repeat_interleave(offsets.diff())
        if len(limits) != len(ids):
            raise ParameterError(f"offsets end at {len(limits)}, and there are {len(ids)} ids.")
        if (wrong := (ids < 0) | (ids >= limits)).any():
            at = int(wrong.nonzero()[0])
            raise ParameterError(f"Id {ids[at]} is no row of a table of {limits[at]} rows.")
        return Batch(torch.empty(inputs), torch.empty((inputs, 0)), ids, offsets, hot=False)

    def _make_hook(self, gathered: Gathered) -> Callable[[Tensor], None]:
        """A hook that notes the leaf once backward has given it its gradient."""
        places = dataclasses.replace(gathered, rows=gathered.rows.detach())
        step = self._steps

        def arrived(leaf: Tensor) -> None:
            self._arrived[id(leaf)] = ArrivedGradient(places, leaf, step)

        return arrived

    def _sum_lookups(self, arrived: Sequence[ArrivedGradient]) -> Gathered:
        """The distinct rows of several lookups as they are now, with the sum of the gradients."""
        first_cold = self.tables.layout.hot_total
        slots = torch.cat(
            [
                part
                for one in arrived
                for part in (one.gathered.hot.cpu(), one.gathered.cold.at + first_cold)
            ]
        )
        gradients = [one.leaf.grad for one in arrived if one.leaf.grad is not None]
        distinct, number = torch.unique(slots, return_inverse=True)  # ascending: hot ones first
        cold = distinct >= first_cold
        nothing = np.empty(0, dtype=np.int64)
        hot_at, cold_at = distinct[~cold].numpy(), (distinct[cold] - first_cold).numpy()
        gathered = self.tables.gather(Lookup(cold_at, hot_at, nothing, None))
        summed = torch.zeros_like(gathered.rows)
        gathered.rows.grad = summed.index_add_(0, number.to(summed.device), torch.cat(gradients))
        return gathered

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
        shapes = dict(zip(self.tables.layout.names, self.tables.layout.rows.tolist(), strict=True))
        keys = {name: f"{prefix}{ROWS}{name}" for name in shapes}
        given = {name: state_dict[key] for name, key in keys.items() if key in state_dict}
        missing_keys += [key for key in keys.values() if strict and key not in state_dict]
        unexpected_keys += [
            key
            for key in state_dict
            if strict and key.startswith(prefix) and key not in keys.values()
        ]
        for name, rows in given.items():
            if tuple(rows.shape) != (shapes[name], self.dim):
                error_msgs.append(
                    f"{keys[name]} is {tuple(rows.shape)}, and the table is "
                    f"{(shapes[name], self.dim)}: it is of another data set."
                )
        if not error_msgs and len(given) == len(keys):
            self.tables.load_rows(given)


class HotColdOptimizer(torch.optim.Optimizer):
    """Updates the rows of a HotColdEmbedding that a backward pass reached, each at its owner.

    It takes the rule that the embedding was made with: "sgd", or "rowwise_adagrad". Learning-rate
    schedulers work on it. Its state_dict has the rows' state in the order of the data set's ids.
    """

    def __init__(self, embedding: HotColdEmbedding, lr: float) -> None:
        """An optimiser with learning rate `lr`."""
        rows = [embedding.tables.hot.rows, embedding.tables.cold.rows]
        super().__init__(rows, {"lr": lr})
        self._embedding = embedding

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Apply the gradients that came since the last step; the value of the closure, if any."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if (gathered := self._embedding.take_gradients()) is not None:
            self._embedding.tables.update(gathered, self.param_groups[0]["lr"])
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002
        """Drop the gradients that came since the last step."""
        self._embedding.forget_gradients()

    def state_dict(self) -> dict[str, Any]:
        """The rows' state, a table's name to (rows, width), and the learning rate."""
        groups = [
            {key: value for key, value in group.items() if key != "params"}
            for group in self.param_groups
        ]
        return {"state": self._embedding.tables.states(), "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a state that `state_dict` gave, of this placement or another."""
        self._embedding.tables.load_states(state_dict["state"])
        for group, given in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update(given)


def _restrict_features(manifest: Manifest, features: Sequence[str]) -> Manifest:
    """The manifest with some features, in this order, and their tables alone."""
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
            f"One module has one dimension, and these tables' differ: {pairs}. Make a module for "
            "each, by `features`."
        )
    chosen = dataclasses.replace(manifest.features, sparse=sparse)
    return dataclasses.replace(manifest, features=chosen, tables=tables)


def _check_choice(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ParameterError(f"{what} is {name}; it must be one of {', '.join(known)}.")
