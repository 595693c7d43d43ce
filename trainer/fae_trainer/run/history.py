"""How far a run has come, and its curve."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fae.format.errors import FaeError
from fae_trainer.data.batches import Batch
from fae_trainer.embedding.replicated import Traffic

CURVE_COLUMNS = ("step", "samples", "train_logloss", "valid_logloss", "valid_auc")

#: Steps whose losses stay on the device until they are read together.
_PENDING = 16


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation: `train_logloss` is the mean since the one before."""

    step: int
    samples: int
    train_logloss: float
    valid_logloss: float | None
    valid_auc: float | None


@dataclass
class History:
    """What a run has seen so far; a checkpoint keeps all of it, so that the curve goes on.

    `position` is the next batch of `epoch` in the schedule, and `feedback` what an adaptive
    schedule was told; `step` counts batches, and `seconds` the time spent on training them, without
    evaluations and checkpoints. The tables add to `traffic`.
    """

    epoch: int = 0
    position: int = 0
    step: int = 0
    samples: int = 0
    hot_samples: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    loss_samples: int = 0
    recent_loss: float = math.nan
    feedback: list[float] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)
    curve: list[CurvePoint] = field(default_factory=list)
    _pending: list[tuple[Tensor, int]] = field(default_factory=list, init=False, repr=False)
    _since: float = field(default_factory=time.perf_counter, init=False, repr=False)

    def add(self, loss: Tensor, batch: Batch) -> None:
        """Count a batch and its mean loss, whose value is read some batches later.

        Raises FaeError naming the first batch whose loss is not finite.
        """
        self._pending.append((loss, len(batch)))
        self.position += 1
        self.step += 1
        self.samples += len(batch)
        self.hot_samples += len(batch) if batch.hot else 0
        if len(self._pending) == _PENDING:
            self.settle()

    def settle(self) -> None:
        """Read the losses that are still on the device, and the clock."""
        pending, self._pending = self._pending, []
        if pending:
            values = torch.stack([loss for loss, _ in pending]).tolist()
            for back, (value, (_, size)) in enumerate(zip(values, pending, strict=True)):
                if not math.isfinite(value):
                    self._raise_not_finite(value, len(pending) - back)
                self.loss_sum += value * size
                self.loss_samples += size
                self.recent_loss = value
        now = time.perf_counter()
        self.seconds += now - self._since
        self._since = now

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep what happens inside out of the training time."""
        self.settle()
        yield
        self.resume_clock()

    def resume_clock(self) -> None:
        """Count time from now on."""
        self._since = time.perf_counter()

    def record(self, valid: dict[str, float | None]) -> None:
        """Add a point to the curve, with the validation's measures; the mean loss begins anew."""
        mean = self.loss_sum / self.loss_samples
        point = CurvePoint(self.step, self.samples, mean, valid["logloss"], valid["auc"])
        self.curve.append(point)
        self.loss_sum, self.loss_samples = 0.0, 0

    def add_feedback(self) -> None:
        """Make the validation's last loss feedback to the schedule."""
        loss = self.curve[-1].valid_logloss
        assert loss is not None, "an adaptive run has inputs to validate on"
        self.feedback.append(loss)

    def next_epoch(self) -> None:
        """Stand before the first batch of the next epoch."""
        self.epoch, self.position = self.epoch + 1, 0

    def curve_csv(self) -> str:
        """The curve with a header line; what is undefined is empty."""
        lines = [",".join(CURVE_COLUMNS)]
        for point in self.curve:
            values = dataclasses.astuple(point)
            lines.append(",".join("" if value is None else repr(value) for value in values))
        return "\n".join(lines) + "\n"

    def to_document(self) -> dict[str, Any]:
        """Everything that `restored` needs, as plain numbers and lists."""
        names = [f.name for f in dataclasses.fields(self) if f.init and f.name != "curve"]
        curve = [list(dataclasses.astuple(point)) for point in self.curve]
        values = {name: getattr(self, name) for name in names}
        traffic = dataclasses.asdict(self.traffic)
        return {**values, "feedback": list(self.feedback), "traffic": traffic, "curve": curve}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> History:
        """The history whose document this is."""
        curve = [CurvePoint(*values) for values in document["curve"]]
        traffic = Traffic(**document.get("traffic", {}))
        return cls(**{**document, "traffic": traffic, "curve": curve})

    def _raise_not_finite(self, value: float, back: int) -> None:
        raise FaeError(
            f"The loss is {value} at step {self.step - back} (epoch {self.epoch}, batch "
            f"{self.position - back} of its schedule), counted from 0. Lower --lr or --dense-lr."
        )
