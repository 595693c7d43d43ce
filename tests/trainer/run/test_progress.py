"""The line that shows how far a run is."""

from __future__ import annotations

import io

import pytest

from fae_trainer.run.history import History
from fae_trainer.run.progress import Progress


def test_no_loss_is_shown_before_the_first_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("fae_trainer.run.progress.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    progress = Progress(100, 0, quiet=False, stream=stream)
    for samples, loss in ((10, float("nan")), (20, 0.5)):
        now[0] += 20
        progress.show(History(samples=samples, recent_loss=loss))
    first, second = stream.getvalue().splitlines()
    assert first == "10 of 100 samples, 0 samples/s, 180 s left"
    assert second == "20 of 100 samples, 0 samples/s, loss 0.5000, 160 s left"
