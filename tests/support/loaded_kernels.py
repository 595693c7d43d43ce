"""Load the kernels whose code is cached, as this is imported, so that forked processes need not."""

from __future__ import annotations

import gc

from numba.core.registry import CPUDispatcher

from fae.arrays.jit import CheckedCacheFile

for found in gc.get_objects():
    if type(found) is CPUDispatcher:
        cache_file = getattr(found._cache, "_cache_file", None)
        if isinstance(cache_file, CheckedCacheFile):
            for types, *_ in cache_file._cache_file._load_index():
                found.compile(types)
