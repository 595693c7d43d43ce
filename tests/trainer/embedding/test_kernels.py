"""The kernels compile for GPUs, which the interpreter does not show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import PYTHONPATH, ROOT


def test_every_kernel_compiles_for_gpus(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    environment = {
        **os.environ,
        "PYTHONPATH": PYTHONPATH,
        "TRITON_INTERPRET": "0",
        "TRITON_CACHE_DIR": str(tmp_path),
    }
    program = [sys.executable, str(ROOT / "tests" / "support" / "compile_kernels.py")]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 12
