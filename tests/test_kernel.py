"""Kernels: compiled loops that need no place to be kept in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

MODULE = """
from pipeline.kernel import kernel

@kernel
def total(values):
    found = 0
    for value in values:
        found += value
    return found
"""


def test_a_kernel_is_compiled_where_nothing_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "sums.py").write_text(MODULE)
    (tmp_path / "__pycache__").touch()  # as good as a directory in which nobody may write
    root = str(Path(__file__).parent.parent)
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null", "NUMBA_CACHE_DIR": ""}
    path = os.pathsep.join([root, str(tmp_path)])
    program = "import numpy, sums; print(sums.total(numpy.arange(5)), sums.total.stats.cache_path)"
    done = subprocess.run(
        [sys.executable, "-B", "-c", program],
        env={**os.environ, **nowhere, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("10 None\n", 0), done.stderr
