"""Rows/s of NVTabular's loader, merlin-dataloader, on a CPU; benchmarks/loader.py runs it.

    PYTHON benchmarks/merlin_loader.py FILE BATCH_SIZE ROUNDS

For a Python of its own, since it needs pandas 1.5 and pyarrow 12 (benchmarks/RESULTS.md says how to
make one). The loader gives a tensor for each column, and shuffles within the parts of the file that
it holds in memory. Prints the median of the rounds after a first one.
"""

from __future__ import annotations

import statistics
import sys
import time

from merlin.dataloader.torch import Loader
from merlin.io import Dataset
from merlin.schema import Tags


def main() -> None:
    """Read the file over and over."""
    path, size, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    data = Dataset(path, engine="parquet")
    schema = data.schema
    schema["label"] = schema["label"].with_tags([Tags.TARGET])
    data.schema = schema
    loader = Loader(data, batch_size=size, shuffle=True)
    rates = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        rows = sum(len(label) for _, label in loader)
        rates.append(rows / (time.perf_counter() - begin))
    print(statistics.median(rates[1:]))


if __name__ == "__main__":
    main()
