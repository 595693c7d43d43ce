"""Progress in a log: a line a stage, now and then one in between, nothing on standard output."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fae.execution import progress
from fae.execution.progress import RunProgress, StageProgress
from tests.support.killed_runs import until
from tests.support.notebook import Display, run_in_notebook
from tests.support.project import PYTHONPATH
from tests.support.small_logs import written

STAGES = [
    "checksum",
    "ingest",
    "splits",
    "profile",
    "stack",
    "cells",
    "calibrate",
    "write",
    "scatter",
    "partition",
]


def test_a_stage_is_a_line_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    with RunProgress().stage("ingest", 3, kept=1) as stage:
        for _ in range(2):
            stage.begin_task()
            stage.end_task(5_000)
    output, errors = capsys.readouterr()
    assert output == ""
    line = r"ingest: 3 of 3 tasks done, [\d,]+ rows/s, 0:00, 1 kept from an earlier run\n"
    assert re.fullmatch(line, errors)


def test_a_stage_that_takes_long_says_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    line = r"scatter: 1 of 4 tasks done, 1 running, 2 left, 0:\d\d, about 0:\d\d to go\n"
    run, errors = RunProgress(line_seconds=0.01), ""

    def is_said_twice() -> bool:
        nonlocal errors
        errors += capsys.readouterr().err
        return len(re.findall(line, errors)) >= 2

    with run.stage("scatter", 4) as stage:
        stage.begin_task()
        stage.end_task()
        stage.begin_task()
        until(is_said_twice)


def test_what_is_waited_for_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    stage = StageProgress("ingest", 2)
    stage.wait_for("waiting for workers")
    stage.wait_for("waiting for workers")
    assert capsys.readouterr().err.count("waiting for workers") == 1


@pytest.mark.parametrize(("seconds", "text"), [(59.9, "0:59"), (61, "1:01"), (3725, "1:02:05")])
def test_elapsed_time_is_short(seconds: float, text: str) -> None:
    stage = StageProgress("ingest", 2)
    stage.began -= seconds
    assert stage.cells()[5] == text


def test_time_to_go_is_that_of_the_tasks_so_far() -> None:
    stage = StageProgress("rank", 10, kept=2)
    assert stage.remaining is None
    stage.began -= 60
    for _ in range(2):
        stage.begin_task()
        stage.end_task()
    assert stage.cells()[6] == "3:00"  # 6 tasks of 30 s each
    for _ in range(6):
        stage.begin_task()
        stage.end_task()
    assert stage.remaining is None
    assert stage.cells()[6] == ""


def test_a_terminal_shows_one_table_and_standard_output_the_result_alone(tmp_path: Path) -> None:
    written(tmp_path, {"shop.tsv": "".join(f"1\t{n % 3}\n" for n in range(50))})
    schema = (
        "name: two\nembedding: {dim: 4}\ncolumns: [{name: y, role: label}, {name: c, role: sparse}]"
    )
    written(tmp_path, {"two.yaml": schema})
    main, side = pty.openpty()
    arguments = ["shop.tsv", "--schema", "two.yaml", "--hot-budget", "1KiB", "--out", "ds"]
    with subprocess.Popen(
        [sys.executable, "-m", "fae", "prepare", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PYTHONPATH, "TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=side,
        text=True,
    ) as process:
        os.close(side)
        seen = read_all(main)
        assert process.stdout is not None
        result = process.stdout.read()
    assert process.returncode == 0, seen
    assert "data set in ds" in result
    assert not set(STAGES) & set(result.split())
    lines = drawn(seen)
    assert lines[0].split() == [
        *("stage", "done", "running", "left", "rows/s", "elapsed", "remaining")
    ]
    assert [line.split()[0] for line in lines[1:]] == STAGES
    assert all(line.split()[2:4] == ["0", "0"] for line in lines[1:])


def read_all(descriptor: int) -> str:
    """All that is written to a terminal until its other side is closed."""
    found = b""
    while True:
        try:
            data = os.read(descriptor, 1 << 16)
        except OSError:
            break
        found += data
    os.close(descriptor)
    return found.decode()


def drawn(text: str) -> list[str]:
    """The lines that a terminal shows in the end, without colours; blank ones left out."""
    lines = [""]
    row = 0
    for code, letter, rest in re.findall(r"\x1b\[([\d;?]*)([A-Za-z])|([^\x1b]+)", text):
        if letter == "A":
            row -= int(code or 1)
        elif letter == "K":
            lines[row] = ""
        for piece in re.findall(r"\n|[^\r\n]+", rest):
            if piece == "\n":
                row += 1
                lines += [""] * (row >= len(lines))
            else:
                lines[row] += piece
    return [line for line in lines if line.strip()]


def test_the_terminal_of_these_tests_draws_over_what_it_drew() -> None:
    assert drawn("one\r\ntwo\x1b[1A\r\x1b[2Kthree\r\n") == ["three", "two"]


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Display:
    """The cell of a Jupyter kernel, in which this process seems to run."""
    return run_in_notebook(monkeypatch)


def test_a_notebook_shows_one_bar_for_all_stages(
    display: Display, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunProgress()
    with run.stage("ingest", 3, kept=1) as stage:
        assert '<progress value="1" max="3"' in display.elements[0]
        stage.wait_for("waiting for <workers>")
        for _ in range(2):
            stage.begin_task()
            stage.end_task(5_000)
    with run.stage("profile", 2):
        assert '<progress value="0" max="2"' in display.elements[0]
    (element,) = display.elements
    assert "profile: 0 of 2 tasks done" in element
    assert capsys.readouterr() == ("", "")


def test_a_notebooks_bar_moves_while_a_stage_runs(
    display: Display, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "BAR_SECONDS", 0.01)
    with RunProgress().stage("ingest", 3) as stage:
        stage.begin_task()
        stage.end_task(5_000)
        while 'value="1"' not in display.elements[0]:
            threading.Event().wait(0.01)
    pattern = (
        r"<progress .*></progress> ingest: 1 of 3 tasks done, 0 running, 2 left, .* rows/s, .*"
    )
    assert re.fullmatch(pattern, display.elements[0])


def test_what_a_bar_shows_is_no_html(display: Display) -> None:
    with RunProgress().stage("a<b", 1):
        assert "a&lt;b: 0 of 1 tasks" in display.elements[0]
