"""How fast packed words give a stable argsort, beside other ways on the arrays that FAE sorts.

    python benchmarks/stable_argsort.py [--rows 100000 1000000 5000000] [--threads 1 2] [--rounds 7]

The ways are `fae.arrays.stable_argsort`, NumPy's stable argsort, Polars' arg_sort (with a pool of
POLARS_MAX_THREADS of its own), and a radix sort compiled by Numba. So many threads sort an array
each at a time, as FAE's tasks do. Each round runs all ways one after the other; printed are the
shortest times, and how many times as long as packed words the others took.

With NPY_DISABLE_CPU_FEATURES="AVX512_SKX AVX512_ICL AVX512_SPR X86_V4", NumPy uses AVX2 alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import polars as pl
from measurement import machine

from fae.arrays.stable_argsort import stable_argsort

DIGIT_BITS = 11

Array = npt.NDArray[Any]


def radix_argsort(values: Array) -> Array:
    """Return the stable argsort of up to 32 bits of each value, by a radix sort."""
    words = values.astype(np.uint64)
    return _radix_argsort(words >> np.uint64(max(int(words.max()).bit_length() - 32, 0)))


@numba.njit(nogil=True)  # type: ignore[untyped-decorator]
def _radix_argsort(words: npt.NDArray[np.uint64]) -> Any:
    """Sort a value and its position as one word, lowest digit first."""
    mask = np.uint64((1 << DIGIT_BITS) - 1)
    for at in range(words.size):
        words[at] = words[at] << np.uint64(32) | np.uint64(at)
    other = np.empty_like(words)
    for shift in range(32, 64, DIGIT_BITS):
        begins = np.zeros((1 << DIGIT_BITS) + 1, np.int64)
        for word in words:
            begins[(word >> np.uint64(shift) & mask) + np.uint64(1)] += 1
        if begins.max() == words.size:
            continue  # all words share this digit
        begins = np.cumsum(begins)
        for word in words:
            digit = word >> np.uint64(shift) & mask
            other[begins[digit]] = word
            begins[digit] += 1
        words, other = other, words
    return words.astype(np.uint32)


WAYS: dict[str, Callable[[Array], Any]] = {
    "packed words": stable_argsort,
    "NumPy, stable": lambda values: np.argsort(values, kind="stable"),
    "Polars": lambda values: pl.Series(values).arg_sort(),
    "radix, Numba": radix_argsort,
}


def make_arrays(rows: int) -> dict[str, Array]:
    """Return arrays as FAE sorts them: where, and so many values."""
    rng = np.random.default_rng(0)
    accesses = np.minimum(rng.zipf(1.3, rows), 2**20)
    return {
        "row keys (shuffle)": rng.integers(0, 2**64, rows, dtype=np.uint64),
        "buckets (shuffle)": rng.integers(0, 40, rows),
        "hex values (ingest, profile)": rng.integers(0, 2**32, rows, dtype=np.uint32),
        "accesses (profile)": (2**20 - accesses).astype(np.uint32),
    }


def measure(values: Array, threads: int, rounds: int) -> dict[str, float]:
    """Return the least milliseconds in which `threads` threads sort an array each, by way."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(rounds):
            for way, argsort in WAYS.items():
                begin = time.perf_counter()
                list(pool.map(argsort, [values] * threads))
                seconds[way].append(time.perf_counter() - begin)
    return {way: 1000 * min(times) for way, times in seconds.items()}


def main() -> None:
    """Print a line for each array, size and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000, 5_000_000])
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"{machine()}, NumPy {np.__version__}, Polars {pl.__version__}")
    print("| array | rows | threads | " + " | ".join(f"{way}, ms" for way in WAYS) + " |")
    print("| --- " * (3 + len(WAYS)) + "|")
    radix_argsort(np.arange(2, dtype=np.uint64))
    for rows in options.rows:
        for name, values in make_arrays(rows).items():
            for threads in options.threads:
                times = measure(values, threads, options.rounds)
                fastest = times["packed words"]
                cells = [f"{fastest:.1f}"]
                cells += [f"{ms:.1f} ({ms / fastest:.1f}x)" for ms in list(times.values())[1:]]
                line = [name, f"{rows:,}", str(threads), *cells]
                print("| " + " | ".join(line) + " |", flush=True)


if __name__ == "__main__":
    main()
