"""Kernels compile where nothing can be cached, share caches safely, and outlast signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core.caching import IndexDataCacheFile

from fae.arrays.jit import CheckedCacheFile, compile_cached, kernel, kernel_helper
from tests.support.project import PYTHONPATH

MODULE = """
from fae.arrays.jit import compile_cached

def add_up(values):
    total = 0
    for value in values:
        total += value
    return total

add_up = compile_cached(add_up)
"""


def test_a_kernel_compiles_where_nothing_can_be_cached(tmp_path: Path) -> None:
    (tmp_path / "sums.py").write_text(MODULE)
    (tmp_path / "__pycache__").touch()  # a file here acts like a read-only directory
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null", "NUMBA_CACHE_DIR": ""}
    path = os.pathsep.join([PYTHONPATH, str(tmp_path)])
    program = (
        "import numpy, sums; print(sums.add_up(numpy.arange(5)), sums.add_up.stats.cache_path)"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", program],
        env={**os.environ, **nowhere, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("10 None\n", 0), done.stderr


def test_code_cached_for_other_types_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (IndexDataCacheFile(str(tmp_path), "total", "stamp") for _ in range(2))
    save, empty = one._save_data, two._load_index()

    def save_second(*data: object) -> None:  # another process, which saw no index either, is faster
        monkeypatch.setattr(two, "_load_index", lambda: empty)
        CheckedCacheFile(two).save("float64", "code for float64")
        save(*data)

    monkeypatch.setattr(one, "_save_data", save_second)
    CheckedCacheFile(one).save("int64", "code for int64")
    files = IndexDataCacheFile(str(tmp_path), "total", "stamp")
    assert files.load("float64") == ("int64", "code for int64")  # as Numba would use it
    assert CheckedCacheFile(files).load("float64") is None
    CheckedCacheFile(files).save("float64", "code for float64")
    assert CheckedCacheFile(files).load("float64") == "code for float64"


def test_cached_code_that_cannot_be_read_is_compiled_anew(tmp_path: Path) -> None:
    files = IndexDataCacheFile(str(tmp_path), "total", "stamp")
    CheckedCacheFile(files).save("int64", "code")
    (cached,) = tmp_path.glob("*.nbc")
    cached.write_bytes(b"")
    assert CheckedCacheFile(files).load("int64") is None


def test_every_kernel_has_a_checked_cache() -> None:
    compiled = compile_cached(lambda values: values)
    assert isinstance(compiled._cache._cache_file, CheckedCacheFile)


def test_ctrl_c_waits_until_a_kernel_has_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)
        steps.append("returned")

    monkeypatch.setattr("fae.arrays.jit.compile_cached", lambda function: function)
    with pytest.raises(KeyboardInterrupt):
        kernel(interrupt)()
    assert steps == ["returned"]


@kernel_helper
def add_one(value: int) -> int:
    return value + 1


@kernel
def add_one_to_each(values: np.ndarray) -> np.ndarray:
    for at in range(values.size):
        values[at] = add_one(values[at])
    return values


def test_kernels_call_helpers() -> None:
    assert add_one_to_each(np.arange(3)).tolist() == [1, 2, 3]
    assert add_one(1) == 2
