"""Balancing: charge every sample to that of its rows which bears the least per byte, repeatedly.

Passes of peeling converge to loads that are as even as can be. Balancing comes there sooner: a pass
only looks for the least loaded row of each sample, so it takes a tenth of the time of a pass of
peeling, and all threads take part. It is the method of Frank and Wolfe (Danisch, Chan and Sozio,
"Large scale density-friendly graph decomposition via convex programming", WWW 2017), but loads
change after each of a few blocks of samples and not only after each pass, and later passes, made
from better loads, weigh more.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from fae.arrays.arrow import Int32Array, Int64Array
from fae.arrays.jit import kernel
from fae.hotset.loads import Floats
from fae.hotset.problem import StackedSamples

#: Loads change after each block of samples: with fewer blocks, more passes are needed.
BLOCKS = 16
#: Before its first charge, a row bears so little of a charge for each sample that accesses it.
_START_SHARE = 2.0**-10

Float32Array = npt.NDArray[np.float32]


def balance_loads(
    samples: StackedSamples,
    inverse_cost: Float32Array,
    worths: tuple[Floats, float],
    passes: int,
    threads: int,
    end_pass: Callable[[], None],
) -> Floats:
    """Return the loads of contestants (contestants,), the mean of so many passes.

    `worths` are what each contestant is worth in any case, and what a sample is worth. The loads
    do not depend on the number of `threads`.
    """
    certain, per_sample = worths
    loads = np.zeros(inverse_cost.size)
    _add_to_loads(samples.rows, _START_SHARE, loads)
    chosen = np.empty(samples.count, dtype=np.int32)
    blocks = np.linspace(0, samples.count, BLOCKS + 1).astype(np.int64)
    with ThreadPoolExecutor(threads, "balance") as pool:
        for weight in range(1, passes + 1):
            loads += weight * certain
            density = (loads * inverse_cost).astype(np.float32)
            for first, last in itertools.pairwise(blocks.tolist()):
                cuts = np.linspace(first, last, threads + 1).astype(np.int64).tolist()
                choices = [
                    pool.submit(
                        _choose_rows,
                        samples.rows,
                        samples.offsets[begin : end + 1],
                        density,
                        chosen[begin:end],
                    )
                    for begin, end in itertools.pairwise(cuts)
                ]
                for choice in choices:
                    choice.result()
                _add_charges(chosen[first:last], weight * per_sample, inverse_cost, loads, density)
            end_pass()
    _add_to_loads(samples.rows, -_START_SHARE, loads)
    loads /= passes * (passes + 1) // 2
    return loads


@kernel
def _add_to_loads(rows: Int32Array, share: float, loads: Floats) -> None:
    """Add a share to the load of a row for each of its accesses."""
    for row in rows:
        loads[row] += share


@kernel
def _choose_rows(
    rows: Int32Array, offsets: Int64Array, density: Float32Array, chosen: Int32Array
) -> None:
    """Set the row of least density of each sample, the first of equals."""
    for sample in range(offsets.size - 1):
        best = rows[offsets[sample]]
        least = density[best]
        for access in range(offsets[sample] + 1, offsets[sample + 1]):
            row = rows[access]
            if density[row] < least:
                best, least = row, density[row]
        chosen[sample] = best


@kernel
def _add_charges(
    chosen: Int32Array,
    charge: float,
    inverse_cost: Float32Array,
    loads: Floats,
    density: Float32Array,
) -> None:
    """Add a charge to the load of each chosen row."""
    for row in chosen:
        loads[row] += charge
        density[row] = np.float32(loads[row] * inverse_cost[row])
