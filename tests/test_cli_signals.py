"""A process that is asked to end says so with its exit code, however early that is."""

from __future__ import annotations

import signal

import pytest

from pipeline import cli
from pipeline.cli.app import INTERRUPTED, TERMINATED, _Commands


@pytest.mark.parametrize("place", ["invoke", "make_context"])
@pytest.mark.parametrize(
    ("kind", "code", "word"),
    [(signal.SIGTERM, TERMINATED, "terminated"), (signal.SIGINT, INTERRUPTED, "interrupted")],
)
def test_a_signal_while_the_command_line_is_read_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    kind: int,
    code: int,
    word: str,
) -> None:
    def asked(*_: object, **__: object) -> None:
        signal.raise_signal(kind)

    monkeypatch.setattr(_Commands, place, asked)
    monkeypatch.setattr("sys.argv", ["fae", "version"])
    monkeypatch.setattr("gc.freeze", lambda: None)
    monkeypatch.setattr("gc.set_threshold", lambda *_: None)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == code
    told = capsys.readouterr().err
    assert told.startswith(word) or (kind == signal.SIGINT and not told.strip())
