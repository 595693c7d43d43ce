"""Track how far a run is, and its learning curve."""

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

from fae.format.errors import DatasetError, FaeError
from fae.format.json_codec import decode
from fae_trainer.data.batches import Batch
from fae_trainer.embedding.replicated import Traffic

CURVE_COLUMNS = ("step", "samples", "train_logloss", "valid_logloss", "valid_auc")

#: Losses that stay on the device until they are read together.
_MAX_PENDING = 16


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation; `train_logloss` is the mean since the previous one."""

    step: int
    samples: int
    train_logloss: float
    valid_logloss: float | None
    valid_auc: float | None


@dataclass(frozen=True)
class _Document:
    """What a checkpoint holds of a history; before the first losses, the recent one is NaN."""

    epoch: int
    position: int
    step: int
    samples: int
    hot_samples: int
    seconds: float
    loss_sum: float
    loss_samples: int
    recent_loss: Any
    feedback: tuple[float, ...]
    traffic: Any
    curve: tuple[tuple[Any, ...], ...]


@dataclass
class History:
    """The progress of a run; a checkpoint has all of it, so a resumed run continues the curve.

    `position` is the next batch of `epoch` in the schedule, `feedback` the losses that an adaptive
    schedule got, `step` the number of batches, and `seconds` the time spent on training them,
    without evaluations and checkpoints. The tables add to `traffic`.
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

        Raises FaeError, which names the first batch whose loss is not finite.
        """
        self._pending.append((loss, batch.samples))
        self.position += 1
        self.step += 1
        self.samples += batch.samples
        self.hot_samples += batch.samples if batch.hot else 0
        if len(self._pending) == _MAX_PENDING:
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
        """Exclude the block from the training time."""
        self.settle()
        yield
        self.resume_clock()

    def resume_clock(self) -> None:
        """Count training time from now on."""
        self._since = time.perf_counter()

    def record(self, valid: dict[str, float | None]) -> None:
        """Add a point to the curve, with the valid split's metrics, and reset the mean loss."""
        mean = self.loss_sum / self.loss_samples
        point = CurvePoint(self.step, self.samples, mean, valid["logloss"], valid["auc"])
        self.curve.append(point)
        self.loss_sum, self.loss_samples = 0.0, 0

    def add_feedback(self) -> None:
        """Give the last valid loss to the adaptive schedule."""
        loss = self.curve[-1].valid_logloss
        assert loss is not None, "training checks that an adaptive run has valid rows"
        self.feedback.append(loss)

    def next_epoch(self) -> None:
        """Go to the first batch of the next epoch."""
        self.epoch, self.position = self.epoch + 1, 0

    def curve_csv(self) -> str:
        """Return the curve as CSV with a header; undefined values are empty."""
        lines = [",".join(CURVE_COLUMNS)]
        for point in self.curve:
            values = dataclasses.astuple(point)
            lines.append(",".join("" if value is None else repr(value) for value in values))
        return "\n".join(lines) + "\n"

    def to_document(self) -> dict[str, Any]:
        """Return all that `from_document` needs, as plain numbers and lists."""
        names = [f.name for f in dataclasses.fields(self) if f.init and f.name != "curve"]
        curve = [list(dataclasses.astuple(point)) for point in self.curve]
        values = {name: getattr(self, name) for name in names}
        traffic = dataclasses.asdict(self.traffic)
        return {**values, "feedback": list(self.feedback), "traffic": traffic, "curve": curve}

    @classmethod
    def from_document(cls, document: Any, where: str) -> History:
        """Return the history of a document; raise DatasetError where the file `where` has none."""
        known = {"traffic": {}, **document} if isinstance(document, dict) else document
        read = decode(_Document, known, where)
        curve = [
            decode(CurvePoint, dict(zip(CURVE_COLUMNS, values, strict=False)), f"{where}: curve")
            for values in read.curve
        ]
        if read.epoch and not (curve and read.samples and read.seconds > 0):
            raise DatasetError(f"{where}: {read.epoch} epochs, but no samples, time or curve.")
        traffic = decode(Traffic, read.traffic, f"{where}: traffic") if read.traffic else Traffic()
        loss = read.recent_loss if isinstance(read.recent_loss, float) else math.nan
        values = {**vars(read), "feedback": list(read.feedback), "recent_loss": loss}
        return cls(**{**values, "traffic": traffic, "curve": curve})

    def _raise_not_finite(self, value: float, back: int) -> None:
        """Raise FaeError for the loss of the step that lies `back` steps back."""
        raise FaeError(
            f"The loss is {value} at step {self.step - back} (epoch {self.epoch}, batch "
            f"{self.position - back} of its schedule), counted from 0. Lower --lr or --dense-lr."
        )
