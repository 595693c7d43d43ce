"""A process that is asked to end says so with its exit code, however early that is."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

LOADING = """
import signal, sys
from fae import cli
class Finder:
    def find_spec(self, name, *_):
        if name == "fae.cli.commands":
            {does}
sys.meta_path.insert(0, Finder())
sys.exit(cli.main(["version"]))
"""
PROGRAM = """
import signal, sys
from fae import cli
from fae.cli import commands
def interrupted(*_):
    signal.raise_signal({kind})
commands.parse = interrupted
sys.exit(cli.main(["version"]))
"""


@pytest.mark.parametrize(("kind", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_the_command_line_is_read_is_no_traceback(kind: int, code: int) -> None:
    done = started(PROGRAM.format(kind=int(kind)))
    said = "terminated" if kind == signal.SIGTERM else "interrupted"
    assert (done.returncode, done.stderr.split(";")[0]) == (code, said), done.stderr


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_loads_just_ends_it(kind: int) -> None:
    done = started(LOADING.format(does=f"signal.raise_signal({int(kind)})"))
    assert (done.returncode, done.stderr) == (-kind, "")


@pytest.mark.parametrize(
    "error",
    ["MemoryError", "ImportError('libx.so: failed to map segment from shared object')"],
)
def test_too_little_memory_to_load_is_told_in_one_line(error: str) -> None:
    done = started(LOADING.format(does=f"raise {error}"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: out of memory")


FAILING = """
import sys
from fae import cli
from fae.cli import commands
def failing(*_, **__):
    raise {error}
commands.parse = failing
sys.exit(cli.main(["version"]))
"""


def test_too_little_memory_to_run_is_told_in_one_line() -> None:
    done = started(FAILING.format(error="MemoryError"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith("error: out of memory")
    assert "ValueError: x" in started(FAILING.format(error="ValueError('x')")).stderr


def started(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
