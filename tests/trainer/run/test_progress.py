"""The line that shows how far a run is."""

from __future__ import annotations

import io

import pytest

from fae_trainer.run.history import History
from fae_trainer.run.progress import Progress
from tests.support.notebook import run_in_notebook


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


def test_a_notebook_shows_a_bar_that_ends_where_the_run_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cell, now = run_in_notebook(monkeypatch), [0.0]
    monkeypatch.setattr("fae_trainer.run.progress.time.monotonic", lambda: now[0])
    with Progress(100, 0, quiet=False) as progress:
        now[0] += 1
        progress.show(History(samples=40, recent_loss=0.5))
        (element,) = cell.elements
        assert element.startswith('<progress value="40" max="100"')
        assert element.endswith("40 of 100 samples, 40 samples/s, loss 0.5000, 2 s left")
        progress.show(History(samples=100, recent_loss=0.4))  # too soon to be drawn
        assert cell.elements == [element]
    assert cell.elements[0].startswith('<progress value="100" max="100"')
    with Progress(100, 0, quiet=True) as progress:
        now[0] += 1
        progress.show(History(samples=40))
    assert len(cell.elements) == 1
    assert capsys.readouterr() == ("", "")
