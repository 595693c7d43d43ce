"""How long the host takes to plan a batch: for every distinct row, or for the cold ones alone.

    OMP_NUM_THREADS=1 python benchmarks/planning.py [--rows 33762577] [--rounds 30]

A step that is launched kernel by kernel is given all distinct rows of its batch; one that a CUDA
graph holds finds the hot ones on the device. Both are planned by one thread while the device works
on the batch before, so the slower of planning and step decides how fast training can be. Batches
are those of `gpu.py`, of Criteo Kaggle's tables scaled to `--rows`; the two take turns on each.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time

import numpy as np
from gpu import KAGGLE, batches, manifest, workload
from measurement import machine

from fae_trainer.data.batches import Batch
from fae_trainer.embedding.layout import make_layout
from fae_trainer.embedding.planner import Planner


def milliseconds(planner: Planner, batch: Batch) -> tuple[float, float]:
    """Measure planning for all rows, and for cold ones."""
    begin = time.perf_counter()
    planner.plan_lookup(batch)
    between = time.perf_counter()
    planner.plan_slots(batch)
    return (between - begin) * 1e3, (time.perf_counter() - between) * 1e3


def main() -> None:
    """Print a line for each hot budget, size and temperature of batches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=sum(KAGGLE))
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    work = workload(options.rows / sum(KAGGLE), 16, 1 << 19, 2)
    print(f"{machine()}; {sum(work.rows):,} rows")
    print("| hot rows | batch | kind | cold rows an input | all rows, ms | cold rows, ms | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for share, size in itertools.product((0.02, 0.10), (2048, 65_536)):
        made = manifest(work, share)
        places = make_layout(made, [table.hot_rows for table in made.tables])
        planner = Planner(places)
        given = batches(work, made, size, pin=False)
        for hot in (True, False):
            these = [batch for batch in given if batch.hot == hot]
            turns = list(itertools.islice(itertools.cycle(these), options.rounds))
            if not turns:
                continue
            times = [milliseconds(planner, batch) for batch in turns]
            every, cold = (statistics.median(column) for column in zip(*times, strict=True))
            rows = np.mean([len(planner.plan_slots(batch).cold) for batch in these]) / size
            print(
                f"| {share:.0%} | {size:,} | {'hot' if hot else 'cold'} | {rows:.2f} | {every:.2f} "
                f"| {cold:.2f} | {cold / every:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
