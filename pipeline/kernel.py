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
        compiled: Function = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no place to keep it in
        compiled = numba.njit(**options)(function)
    return compiled
