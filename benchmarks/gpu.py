"""Training speed by placement, hot budget and batch size, where the tables outgrow the caches.

    python benchmarks/gpu.py [--device auto|cpu|cuda] [--seconds 540]

Needs torch, numpy and pyarrow alone, and makes its own inputs: Criteo Kaggle's 26 cardinalities,
scaled, ids drawn with a heavy head and a common factor per input, so that hot inputs exist. Checks
first that every placement computes the same losses, then measures training steps fed from memory
through the trainer's own planner and prefetch, hot and cold batches interleaved. Prints a table
last. On a CPU it runs at a small size; the figures that matter come from a GPU.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from pipeline.manifest import Manifest
from trainer.batches import Batch
from trainer.device_benchmark import data_set_of
from trainer.evaluation import on_device
from trainer.parameters import PLACEMENTS, parameters
from trainer.prefetch import prefetched
from trainer.recommender import Recommender
from trainer.schedule import schedule

#: The published cardinalities of Criteo Kaggle.
KAGGLE = (
    1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992,
    5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572,
)  # fmt: skip
DENSE = 13


@dataclass(frozen=True)
class Workload:
    """A model's tables and its inputs: ids (inputs, tables), hottest ids smallest in each table."""

    rows: tuple[int, ...]
    dim: int
    ids: np.ndarray
    dense: np.ndarray
    label: np.ndarray


def workload(scale: float, dim: int, inputs: int, seed: int) -> Workload:
    """Ids whose log-rank is a common factor of the input plus one of the access."""
    rng = np.random.default_rng(seed)
    rows = tuple(max(3, int(size * scale)) for size in KAGGLE)
    common = rng.random((inputs, 1))
    own = rng.random((inputs, len(rows)))
    quantile = np.where(rng.random(own.shape) < 0.6, common, own)
    ids = np.stack(
        [
            np.minimum((size ** quantile[:, t]).astype(np.int64), size - 1)
            for t, size in enumerate(rows)
        ],
        axis=1,
    )
    label = rng.integers(0, 2, inputs).astype(np.float32)
    return Workload(rows, dim, ids, rng.random((inputs, DENSE), dtype=np.float32), label)


def manifest(work: Workload, share: float) -> Manifest:
    """A data set without files, in which the most accessed `share` of all rows is hot."""
    counts = [np.bincount(work.ids[:, t], minlength=n) for t, n in enumerate(work.rows)]
    every = np.concatenate(counts)
    least = np.sort(every)[-max(int(share * every.size), 1)]
    hot = [
        max(int(np.flatnonzero(count >= max(least, 1)).max(initial=0)) + 1, 1) for count in counts
    ]
    return data_set_of(work.rows, np.minimum(hot, work.rows).tolist(), work.dim, DENSE)


def batches(work: Workload, made: Manifest, size: int) -> list[Batch]:
    """Whole batches, hot and cold apart, interleaved as the trainer does."""
    limits = np.array([table.hot_rows for table in made.tables])
    is_hot = (work.ids < limits).all(axis=1)
    leaves = {hot: np.flatnonzero(is_hot == hot) for hot in (True, False)}
    count = {hot: len(rows) // size for hot, rows in leaves.items()}
    order = schedule(count[True], count[False], 0, 0)
    taken = {True: 0, False: 0}
    found = []
    for position in range(order.batches):
        hot = order.is_hot(position)
        at = leaves[hot][taken[hot] * size : (taken[hot] + 1) * size]
        taken[hot] += 1
        arrays = (work.label[at], work.dense[at], work.ids[at].ravel())
        found.append(Batch(*map(torch.from_numpy, arrays), offsets=None, hot=hot))
    return found


def recommender(made: Manifest, placement: str, device: str, model: str) -> Recommender:
    """A model with its first values."""
    chosen = {"data": "", "out": "", "placement": placement, "model": model}
    if placement != "cpu":
        chosen["device"] = device
    found = Recommender(made, on_device(parameters(chosen, made)))
    found.initialise(0)
    return found


def steps(model: Recommender, given: list[Batch]) -> Iterator[float]:
    """The loss of each training step."""
    with prefetched(model.planned(iter(given)), 4) as ahead:
        for batch, lookup in ahead:
            yield float(model.step(batch, lookup))


def check(work: Workload, device: str) -> None:
    """Raise unless all placements give the same losses."""
    made = manifest(work, 0.05)
    given = batches(work, made, 512)[:8]
    losses = {
        placement: list(steps(recommender(made, placement, device, "kaggle"), given))
        for placement in PLACEMENTS
    }
    for placement, found in losses.items():
        if not np.allclose(found, losses["cpu"], rtol=1e-4, atol=0):
            raise SystemExit(f"{placement} gives {found}, and cpu gives {losses['cpu']}")
    print(f"all placements give the same {len(given)} losses (1e-4 relative)")


def samples_per_second(model: Recommender, given: list[Batch], seconds: float) -> float:
    """Training throughput over `given`, repeated for about `seconds`, after a warm-up."""
    warm, rest = given[:3], given[3:]
    for _ in steps(model, warm):
        pass
    rates = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and rest:
        begin = time.perf_counter()
        with prefetched(model.planned(iter(rest)), 4) as ahead:
            done = 0
            for batch, lookup in ahead:
                loss = model.step(batch, lookup)
                done += len(batch)
                if time.perf_counter() > end:
                    break
            loss.item()
        rates.append(done / (time.perf_counter() - begin))
    return statistics.median(rates)


def main() -> None:
    """Check, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--seconds", type=float, default=540.0)
    options = parser.parse_args()
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    cuda = device == "cuda"
    name = torch.cuda.get_device_name() if cuda else platform.machine()
    print(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} CPU threads")
    begin = time.perf_counter()
    check(workload(0.001, 16, 8192, 1), device)
    models = {"kaggle": (1.0 if cuda else 0.03, 16), "terabyte": (2.0 if cuda else 0.01, 64)}
    sizes = (2048, 8192, 65536) if cuda else (2048,)
    shares = (0.01, 0.02, 0.05, 0.10) if cuda else (0.02, 0.10)
    cases = len(models) * len(sizes) * len(shares) * len(PLACEMENTS)
    each = (options.seconds - (time.perf_counter() - begin)) / cases / 2
    lines = []
    for model, (scale, dim) in models.items():
        work = workload(scale, dim, (1 << 21) if cuda else (1 << 17), 2)
        for size in sizes:
            for share in shares:
                made = manifest(work, share)
                given = batches(work, made, size)
                hot = sum(batch.hot for batch in given) / max(len(given), 1)
                rates = {}
                for placement in PLACEMENTS:
                    found = recommender(made, placement, device, model)
                    rates[placement] = samples_per_second(found, given, min(each, 8.0))
                    del found
                shown = "".join(f"{rates[one]:14,.0f}" for one in PLACEMENTS)
                ratio = rates["hot-cold"] / rates["gpu"]
                lines.append(
                    f"{model:9} {size:6} {share:5.0%} {hot:9.1%}{shown} {ratio:8.2f} "
                    f"{rates['hot-cold'] / rates['hybrid']:8.2f}"
                )
                print(lines[-1], flush=True)
    print("\nsamples/s")
    titles = "".join(f"{one:>14}" for one in PLACEMENTS)
    print(f"model      batch   hot  hot batches{titles}   of gpu of hybrid")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
