"""`HotColdOptimizer`: how the rows of a HotColdEmbedding learn, beside a model's optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fae.format.errors import ParameterError
from fae_trainer.embedding.distributed import Ranks, find_ranks
from fae_trainer.embedding.layout import check_choice
from fae_trainer.embedding.module import HotColdEmbedding
from fae_trainer.embedding.optimizers import EPSILON, RowStep

#: What rows learn from where several processes train.
PROCESSES = ("average", "alone")


class HotColdOptimizer(torch.optim.Optimizer):
    """Updates the rows of a HotColdEmbedding that a backward pass reached, where they live.

    It uses the rule that the embedding was made with; see ROW_OPTIMIZERS. "sgd", "adagrad" and
    "adam" are torch's, for the rows of a batch; "rowwise_adagrad" is FBGEMM's. Learning-rate
    schedulers work with it. Its state_dict has the rows' state in the order of the data set's ids.
    `clip_grad_norm_` cannot reach the rows' gradients: clip the gradient of the embedding's vectors
    by a hook (`Tensor.register_hook`), or lower `lr`.
    """

    #: Tells torch's GradScaler to hand the scale to `step`, which divides by it.
    _step_supports_amp_scaling = True

    def __init__(
        self,
        embedding: HotColdEmbedding,
        lr: float,
        processes: str | None = None,
        *,
        eps: float = EPSILON,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        """Make an optimiser with learning rate `lr`.

        Adagrad and Adam divide by a root plus `eps`; `betas` are Adam's. `weight_decay` times a row
        is added to its gradient, in the steps that the row takes part in: as in FBGEMM, other rows
        do not decay.

        Where several processes train (torch.distributed), say what rows learn from: "average" is
        the mean of all processes' gradients, as DistributedDataParallel averages the network's, so
        that all processes have the same rows; with "alone" each process has rows of its own.
        """
        if processes is not None:
            check_choice("processes", processes, PROCESSES)
        settings = {"lr": lr, "eps": eps, "weight_decay": weight_decay, "betas": betas, "steps": 0}
        if lr < 0 or eps < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ParameterError(
                f"lr {lr}, eps {eps} and weight_decay {weight_decay} must be at least 0, and "
                f"betas {betas} from 0 to below 1."
            )
        super().__init__([embedding.anchor], settings)
        self._embedding = embedding
        self._processes = processes
        embedding.learns = True

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
        group = self.param_groups[0]
        step = RowStep(
            group["lr"], group["eps"], group["weight_decay"], group["betas"], group["steps"] + 1
        )
        group["steps"] += self._embedding.apply_gradients(step, scale, self._find_ranks())
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
        """Return each table's row states by name, (rows, width), and the settings."""
        groups = [
            {key: value for key, value in group.items() if key != "params"}
            for group in self.param_groups
        ]
        return {"state": self._embedding.tables.states(), "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state from `state_dict`, saved under any placement.

        Raises ParameterError where it belongs to another data set or rule.
        """
        tables = self._embedding.tables
        for name, rows in zip(tables.layout.names, tables.layout.rows.tolist(), strict=True):
            shape, found = (rows, tables.width - tables.dim), state_dict["state"].get(name)
            if found is None or tuple(found.shape) != shape:
                raise ParameterError(
                    f"The state of table {name} is {found if found is None else tuple(found.shape)}"
                    f", and this optimiser's is {shape}: it belongs to another data set or rule."
                )
        tables.load_states(state_dict["state"])
        for group, loaded in zip(self.param_groups, state_dict["param_groups"], strict=True):
            group.update(loaded)

    def __getstate__(self) -> dict[str, Any]:
        own = {"_embedding": self._embedding, "_processes": self._processes}
        return {**super().__getstate__(), **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._embedding.learns = True
