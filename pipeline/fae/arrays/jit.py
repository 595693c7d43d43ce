"""Kernels: loops over arrays that Numba compiles to machine code at their first call."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numba
from numba.extending import register_jitable

from fae.format.signals import signals_deferred

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def kernel(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a function by Numba, so that threads run it side by side.

    The code is cached beside the module or, if that directory is read-only, in the user's home. If
    neither can be written to, each process compiles the function anew, which takes seconds.

    Signals that end the process wait for the end of a call. Machine code cannot be interrupted
    anyway, and an exception while Numba compiles, or returns its first array, can end in a
    segmentation fault.
    """
    compiled = compile_cached(function)

    @wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with signals_deferred():
            result: Result = compiled(*args, **kwargs)
        return result

    return call


def kernel_helper(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let kernels call a function: Numba compiles it as a part of each of them."""
    register_jitable(function)
    return function


def compile_cached(function: Callable[..., Any]) -> Any:
    """Return Numba's dispatcher of a function, which caches its code where it can."""
    try:
        compiled: Any = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no directory to cache it in
        return numba.njit(nogil=True)(function)
    # Numba has no public way to replace how a function's code is stored. A signature for each type,
    # compiled at import, would name files alike in all processes, but kernels take arrays of many
    # types, contiguous or not, read-only or not; a directory for each type cannot be had, since a
    # locator (NUMBA_CACHE_LOCATOR_CLASSES) knows the function and not its types.
    compiled._cache._cache_file = CheckedCacheFile(compiled._cache._cache_file)
    return compiled


class CheckedCacheFile:
    """Numba's cache of one function, which stores the types that each file is for in the file.

    Numba numbers the files, and an index tells the types of each. Two processes that compile a
    function for different types at a time may choose the same number, and Numba would then run the
    code for one type on arrays of the other. Files that cannot be read count as missing.
    """

    def __init__(self, cache_file: Any) -> None:
        self._cache_file = cache_file

    def save(self, key: Any, code: Any) -> None:
        """Store code under a key: its types, processor and bytecode."""
        self._cache_file.save(key, (key, code))

    def load(self, key: Any) -> Any:
        """Return the code stored under a key, or None if there is none."""
        try:
            entry = self._cache_file.load(key)
        except Exception:
            return None
        return entry[1] if isinstance(entry, tuple) and entry[0] == key else None
