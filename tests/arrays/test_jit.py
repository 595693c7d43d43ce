"""Kernels: compiled loops that need no place to be kept in, and are kept for their types alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.caching import IndexDataCacheFile

from fae.arrays.jit import KeptCode, kernel
from tests.support.project import PYTHONPATH

MODULE = """
from fae.arrays.jit import kernel

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
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null", "NUMBA_CACHE_DIR": ""}
    path = os.pathsep.join([PYTHONPATH, str(tmp_path)])
    program = "import numpy, sums; print(sums.total(numpy.arange(5)), sums.total.stats.cache_path)"
    done = subprocess.run(
        [sys.executable, "-B", "-c", program],
        env={**os.environ, **nowhere, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("10 None\n", 0), done.stderr


def test_code_for_other_types_is_not_taken_for_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (IndexDataCacheFile(str(tmp_path), "total", "stamp") for _ in range(2))
    save, empty = one._save_data, two._load_index()

    def saving(*data: object) -> None:  # another process, which found no index either, comes first
        monkeypatch.setattr(two, "_load_index", lambda: empty)
        KeptCode(two).save("float64", "code for float64")
        save(*data)

    monkeypatch.setattr(one, "_save_data", saving)
    KeptCode(one).save("int64", "code for int64")
    files = IndexDataCacheFile(str(tmp_path), "total", "stamp")
    assert files.load("float64") == ("int64", "code for int64")  # as Numba would take it
    assert KeptCode(files).load("float64") is None
    KeptCode(files).save("float64", "code for float64")
    assert KeptCode(files).load("float64") == "code for float64"


def test_kept_code_that_cannot_be_read_is_compiled_anew(tmp_path: Path) -> None:
    files = IndexDataCacheFile(str(tmp_path), "total", "stamp")
    KeptCode(files).save("int64", "code")
    (kept,) = tmp_path.glob("*.nbc")
    kept.write_bytes(b"")
    assert KeptCode(files).load("int64") is None


def test_every_kernel_is_kept_so() -> None:
    compiled = kernel(lambda values: values)
    assert isinstance(compiled._cache._cache_file, KeptCode)
