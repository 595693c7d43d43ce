"""How far a run is: the mean loss, the first bad step, and the line that a person sees."""

from __future__ import annotations

import io

import pytest
import torch

from fae.format.errors import FaeError
from fae_trainer.data.batches import Batch
from fae_trainer.run.history import History
from fae_trainer.run.progress import Progress

VALID = {"logloss": 0.5, "auc": None, "accuracy": 1.0}


def batch(size: int, hot: bool) -> Batch:
    zeros = torch.zeros(size)
    return Batch(zeros, zeros[:, None], torch.zeros(size, dtype=torch.int64), None, hot)


def seen(losses: list[float], sizes: list[int]) -> History:
    history = History()
    for index, (loss, size) in enumerate(zip(losses, sizes, strict=True)):
        history.add(torch.tensor(loss, dtype=torch.float64), batch(size, hot=index % 2 == 0))
    return history


def test_the_train_loss_is_the_mean_over_samples_since_the_last_point() -> None:
    losses, sizes = [0.1 * i for i in range(20)], [8] * 19 + [3]
    history = seen(losses, sizes)
    for _ in range(2):
        with history.paused():
            history.record(VALID)
        history.add(torch.tensor(7.0), batch(5, hot=False))
    expected = sum(x * n for x, n in zip(losses, sizes, strict=True)) / sum(sizes)
    assert [point.train_logloss for point in history.curve] == [pytest.approx(expected), 7.0]
    assert (history.step, history.samples, history.hot_samples) == (22, 165, 80)
    assert history.curve_csv().splitlines()[2] == "21,160,7.0,0.5,"


def test_a_history_survives_its_document() -> None:
    history = seen([0.5, 0.25], [4, 4])
    with history.paused():
        history.record(VALID)
    history.next_epoch()
    assert (
        History.from_document(history.to_document(), "checkpoint.pt").to_document()
        == history.to_document()
    )


@pytest.mark.parametrize("bad", [0, 9, 17])
def test_the_first_bad_step_is_named(bad: int) -> None:
    losses = [float("nan") if i in (bad, 18) else 0.5 for i in range(20)]
    with pytest.raises(FaeError, match=rf"nan at step {bad} \(epoch 0, batch {bad} of"):
        seen(losses, [4] * 20).settle()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_one_line_and_a_log_few(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("fae_trainer.run.progress.time.monotonic", lambda: now[0])
    history = seen([0.5] * 16, [4] * 16)
    terminal, log, quiet = Terminal(), io.StringIO(), io.StringIO()
    lines = [Progress(128, 0, out is quiet, out) for out in (terminal, log, quiet)]
    for now[0] in (0.1, 1.0, 2.0, 11.0, 12.0):
        for line in lines:
            line.show(history)
    for line in lines:
        with line:
            line.note("done")
    assert terminal.getvalue().count("\r\x1b[K64 of 128 samples") == 4
    assert terminal.getvalue().endswith("\r\x1b[Kdone\n\r\x1b[K")
    first, last = log.getvalue().splitlines()
    assert first == "64 of 128 samples, 6 samples/s, loss 0.5000, 11 s left"
    assert last == "done"
    assert quiet.getvalue() == ""
