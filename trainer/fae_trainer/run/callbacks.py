"""Follow a run as it trains, and stop it early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fae_trainer.run.history import CurvePoint


class Callback:
    """What a run calls as it trains; override what you need.

    Where several processes train, the first one calls it.
    """

    def on_start(self, parameters: Mapping[str, Any], *, resumed: bool) -> None:
        """Take the parameters of the run, before its first step."""

    def on_evaluation(self, curve: Sequence[CurvePoint]) -> bool | None:
        """Take the learning curve after each evaluation; return True to stop the run."""

    def on_end(self, metrics: Mapping[str, Any]) -> None:
        """Take what metrics.json holds, after the last evaluation."""

    def close(self) -> None:
        """Close what is open; called once after the run, however it ended."""


def is_stale(curve: Sequence[CurvePoint], patience: int) -> bool:
    """Return whether the last `patience` evaluations did not lower the valid log loss.

    0 is patience without end.
    """
    losses = [point.valid_logloss for point in curve if point.valid_logloss is not None]
    return 0 < patience <= len(losses) - 1 - losses.index(min(losses)) if losses else False
