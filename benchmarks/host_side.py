"""What the host's side of training allows, whatever the device: steps that only take time.

    OMP_NUM_THREADS=1 python benchmarks/host_side.py [--scale 0.3] [--batch-size 2048]
        [--microseconds 0 250 500 1000] [--budgets 0.05 0.1]

The trainer's own loop, planner, prefetch thread and thread for cold rows work as on a GPU, but a
step's arithmetic is a sleep of so many microseconds, and copies to the device are copies in memory.
Prints milliseconds a batch where every row is hot (`gpu`), then those of `hot-cold` beside them,
with the thread for cold rows and without: 1.00 would be all of them hidden. With `made ahead`
batches are planned beforehand, as if a core were free for it: on 2 cores the three threads compete.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

from gpu import DIMS, batches, blank, manifest, recommender, workload

from fae.format.manifest import Manifest
from fae_trainer.data.batches import Batch
from fae_trainer.embedding.planner import Plan
from fae_trainer.model.graph_step import GraphStep, StepResult
from fae_trainer.model.recommender import Recommender

ROUNDS = 5


class Asleep(GraphStep):
    """Takes its time, and finds nothing."""

    seconds = 0.0
    nothing: ClassVar[dict[int, StepResult]] = {}

    def _run(self, cold: Tensor) -> StepResult:
        if self.seconds:
            time.sleep(self.seconds)
        if len(cold) not in self.nothing:
            self.nothing[len(cold)] = StepResult(torch.zeros(()), torch.zeros_like(cold))
        return self.nothing[len(cold)]


def milliseconds(
    made: Manifest, given: list[Batch], placement: str, thread: bool, made_ahead: bool
) -> float:
    """Return a step's seconds, the median of some rounds."""
    model = recommender(made, placement, "cpu", "kaggle")
    blank(model)
    model.use_graph_step(len(given[0]))
    assert model._graph_step is not None
    model._graph_step.__class__ = Asleep
    model.reads_ahead = thread
    if made_ahead:
        plans = {id(batch): plan for batch, plan in model.plan_steps(given)}

        def plan_steps(some: Iterable[Batch]) -> Iterator[tuple[Batch, Plan]]:
            return ((batch, plans[id(batch)]) for batch in some)

        model.plan_steps = plan_steps  # type: ignore[method-assign]
    return statistics.median(timed(model, given) for _ in range(ROUNDS)) * 1e3


def timed(model: Recommender, given: list[Batch]) -> float:
    """Seconds a batch."""
    begin = time.perf_counter()
    with model.prefetch_steps(iter(given), 4) as ahead:
        for batch, plan in ahead:
            model.step(batch, plan)
    return (time.perf_counter() - begin) / len(given)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=0.3)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--microseconds", type=float, nargs="+", default=[0, 250, 500, 1000])
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.05, 0.1])
    options = parser.parse_args()
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    print(f"{platform.machine()}, {cores} cores, load {load:.1f}, torch {torch.__version__}")
    print("hot rows  hot batches  made ahead  step, µs  gpu, ms  thread  no thread")
    work = workload(options.scale, DIMS["kaggle"], 1 << 19, 2)
    for budget in options.budgets:
        made = manifest(work, budget)
        given = batches(work, made, options.batch_size, False)
        hot = sum(batch.hot for batch in given) / len(given)
        for made_ahead in (False, True):
            for step in options.microseconds:
                Asleep.seconds = step / 1e6
                all_hot = milliseconds(made, given, "gpu", False, made_ahead)
                ratios = [
                    all_hot / milliseconds(made, given, "hot-cold", thread, made_ahead)
                    for thread in (True, False)
                ]
                print(
                    f"{budget:8.0%} {hot:12.1%} {'yes' if made_ahead else 'no':>11} {step:9.0f} "
                    f"{all_hot:8.3f} {ratios[0]:7.2f} {ratios[1]:10.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
