"""Kernels: loops over arrays, compiled to machine code at their first call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a function by Numba; threads run it side by side.

    The code is kept beside the module or, where nobody may write there, in the user's home. Where
    neither can be written, each process compiles it anew, which takes seconds.
    """
    options: dict[str, Any] = {"nogil": True}
    try:
        compiled: Any = numba.njit(cache=True, **options)(function)
        compiled._cache._cache_file = KeptCode(compiled._cache._cache_file)
    except RuntimeError:  # no place to keep it in
        compiled = numba.njit(**options)(function)
    found: Function = compiled
    return found


class KeptCode:
    """Numba's files of compiled code for one function, each with the types that it is for.

    Processes that compile a function for different types at a time may choose one name for their
    files, and Numba would run one's code on the other's arrays. What cannot be read is compiled
    anew.
    """

    def __init__(self, files: Any) -> None:
        self._files = files

    def flush(self) -> None:
        """Forget all code."""
        self._files.flush()

    def save(self, key: Any, code: Any) -> None:
        """Keep code for a key: types, target and the function's own digest."""
        self._files.save(key, (key, code))

    def load(self, key: Any) -> Any:
        """The code that was kept for a key, or None."""
        try:
            found = self._files.load(key)
        except Exception:
            return None
        return found[1] if isinstance(found, tuple) and found[0] == key else None
