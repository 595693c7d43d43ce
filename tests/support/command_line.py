"""`fae` called in this process, with what it printed."""

from __future__ import annotations

import io
import os
import re
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from fae.cli.commands import run


@dataclass(frozen=True)
class Result:
    """How a command line ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """All that was printed."""
        return self.stdout + self.stderr


def fae(*arguments: str | Path) -> Result:
    """Run `fae` with these arguments, on lines of 200 characters."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, {"COLUMNS": "200"}),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        try:
            code = run([str(argument) for argument in arguments])
        except SystemExit as end:  # argparse ends so after help and usage errors
            code = int(end.code or 0)
    return Result(code, stdout.getvalue(), stderr.getvalue())


def plain(text: str) -> str:
    """Return text without colours and with single spaces."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())


def assert_mistake(result: Result, *named: str) -> None:
    """Assert one message that has these words, exit code 1 and no traceback."""
    stages = re.compile(r"\w+: [\d,]+ of [\d,]+ tasks done, .*\n")
    message = plain(stages.sub("", result.stderr))
    assert result.exit_code == 1, message
    assert message.startswith("error: ")
    assert message.count("error: ") == 1
    assert "Traceback" not in result.output
    for words in named:
        assert words in message
