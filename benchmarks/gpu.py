"""Training speed by placement, hot budget and batch size, where the tables outgrow the caches.

    python benchmarks/gpu.py [--device auto|cpu|cuda] [--seconds 480]

Needs torch, numpy and pyarrow alone, and makes its own inputs: Criteo Kaggle's 26 cardinalities,
scaled, ids drawn with a heavy head and a common factor per input, so that hot inputs exist. The
terabyte model's tables are scaled to a quarter of the machine's memory, at most 100 million rows.
Checks first that every placement computes the same losses, with and without the CUDA graph and the
host's thread. Then measures training steps fed from memory through the trainer's own planner and
prefetch, hot and cold batches interleaved, and FBGEMM's UVM caching where it is installed. Prints a
table of samples/s last, and for `hot-cold` what a step's parts take one by one, the bytes over the
bus, and the share of the floor: the samples/s if a step took only the longer of the network by
itself and of its bytes at the measured rate of the bus. On a CPU it runs at a small size and counts
CPU time (OMP_NUM_THREADS=1 keeps waiting threads out of that); the figures that matter come from a
GPU.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

from uvm_caching import UvmRecommender, importable

from fae.format.manifest import Manifest
from fae_trainer.data.batches import Batch
from fae_trainer.data.schedule import make_schedule
from fae_trainer.embedding.planner import Lookup, Slots
from fae_trainer.embedding.replicated import ReplicatedTables
from fae_trainer.embedding.tables import pool
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import PLACEMENTS, resolve_parameters
from fae_trainer.run.bench_device import make_manifest
from fae_trainer.run.evaluate import resolve_device

#: The published cardinalities of Criteo Kaggle.
KAGGLE = (
    1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992,
    5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572,
)  # fmt: skip
DENSE = 13
DIMS = {"kaggle": 16, "terabyte": 64}

#: Placements whose speed depends on the hot budget; the others are measured at the first one only.
BUDGETED = ("hot-cold", "fae", "uvm")
SHOWN = ("gpu", "hot-cold", "fae", "hybrid", "cpu", "uvm")


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
    common = rng.random((inputs, 1), dtype=np.float32)
    ids = np.empty((inputs, len(rows)), dtype=np.int32)
    for t, size in enumerate(rows):
        own = rng.random((inputs, 1), dtype=np.float32)
        quantile = np.where(rng.random((inputs, 1), dtype=np.float32) < 0.6, common, own)
        ids[:, t] = np.minimum((size ** quantile[:, 0].astype(np.float64)), size - 1)
    label = rng.integers(0, 2, inputs).astype(np.float32)
    return Workload(rows, dim, ids, rng.random((inputs, DENSE), dtype=np.float32), label)


def manifest(work: Workload, share: float) -> Manifest:
    """Return a manifest without files, in which the likeliest `share` of all rows is hot.

    Id k of a table of n rows has probability 1/(k ln n), so the rows above a probability are the
    first 1/(probability ln n) of each table.
    """
    rows = np.array(work.rows, dtype=np.float64)
    low, high = 1e-12, 1.0
    for _ in range(100):
        middle = (low * high) ** 0.5
        hot = np.clip(1 / (middle * np.log(rows)), 1, rows)
        low, high = (middle, high) if hot.sum() > share * rows.sum() else (low, middle)
    return make_manifest(work.rows, hot.astype(np.int64).tolist(), work.dim, DENSE)


def batches(work: Workload, made: Manifest, size: int, pin: bool) -> list[Batch]:
    """Whole batches, hot and cold apart, interleaved and pinned as the trainer's are."""
    limits = np.array([table.hot_rows for table in made.tables])
    is_hot = (work.ids < limits).all(axis=1)
    leaves = {hot: np.flatnonzero(is_hot == hot) for hot in (True, False)}
    count = {hot: len(rows) // size for hot, rows in leaves.items()}
    order = make_schedule(count[True], count[False], 0, 0)
    taken = {True: 0, False: 0}
    found = []
    for position in range(order.batches):
        hot = order.is_hot(position)
        at = leaves[hot][taken[hot] * size : (taken[hot] + 1) * size]
        taken[hot] += 1
        arrays = (work.label[at], work.dense[at], work.ids[at].ravel())
        made_here = Batch(*map(torch.from_numpy, arrays), offsets=None, hot=hot)
        found.append(made_here.pin_memory() if pin else made_here)
    return found


def recommender(made: Manifest, placement: str, device: str, model: str) -> Recommender:
    """Return a model with unset values, whose steps are not in a graph yet."""
    chosen = {"data": "", "out": "", "placement": placement, "model": model, "cuda_graph": False}
    if placement != "cpu":
        chosen["device"] = device
    return Recommender(made, resolve_device(resolve_parameters(chosen, made)))


def losses(model: Recommender, given: list[Batch]) -> list[float]:
    """Return the loss of each training step, starting from the initial values."""
    model.initialise(0)
    with model.prefetch_steps(iter(given), 4) as ahead:
        return [model.step(batch, plan).item() for batch, plan in ahead]


def check(work: Workload, device: str) -> None:
    """Stop unless all placements give the same losses, in fixed shapes and with the thread too."""
    size = 512
    made = manifest(work, 0.05)
    given = batches(work, made, size, device == "cuda")[:12]
    found = {}
    for placement in PLACEMENTS:
        found[placement] = losses(recommender(made, placement, device, "kaggle"), given)
        held = recommender(made, placement, device, "kaggle")
        held.use_graph_step(size)
        found[f"{placement}, fixed shapes"] = losses(held, given)
    for ahead in (False, True):
        model = recommender(made, "hot-cold", device, "kaggle")
        model.reads_ahead = ahead
        found[f"hot-cold, thread {ahead}"] = losses(model, given)
    for name, values in found.items():
        if not np.allclose(values, found["cpu"], rtol=1e-4, atol=0):
            raise SystemExit(f"{name} gives {values}, and cpu gives {found['cpu']}")
    same = sum(values == found["gpu"] for values in found.values())
    hot = sum(batch.hot for batch in given)
    print(
        f"{len(found)} ways to train give the same {len(given)} losses, {hot} of them of hot "
        f"batches (1e-4 relative; {same} ways to the last bit)"
    )


def samples_per_second(
    model: Recommender | UvmRecommender, given: list[Batch], seconds: float
) -> float:
    """Training throughput over `given`, repeated for about `seconds`, after a warm-up."""
    hot, cold = ([batch for batch in given if batch.hot == kind][:4] for kind in (True, False))
    with model.prefetch_steps(iter([*hot, *cold]), 4) as ahead:
        for batch, plan in ahead:
            model.step(batch, plan).item()
    rates = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = _now(model)
        done = 0
        with model.prefetch_steps(iter(given), 4) as ahead:
            for batch, plan in ahead:
                model.step(batch, plan)
                done += len(batch)
                if time.perf_counter() > end:
                    break
        rates.append(done / (_now(model) - begin))
    return statistics.median(rates)


def parts(model: Recommender, given: list[Batch]) -> dict[str, float]:
    """Milliseconds of a step's parts, each waited for; medians over the batches given.

    The plan is the one that training makes; the others are launched one by one.
    """
    found: dict[str, list[float]] = {"plan": [], "gather": [], "network": [], "rows": []}
    for batch in given:
        lookup = model.plan_lookup(batch)
        times = [_now(model)]
        next(iter(model.plan_steps([batch])))
        times.append(_now(model))
        model.tables.prepare_for(hot=not len(lookup.cold))
        gathered = model.tables.gather(lookup)
        times.append(_now(model))
        embedded = pool(gathered.rows, lookup.inverse, lookup.offsets, len(batch))
        network_step(model, batch, embedded)
        times.append(_now(model))
        model.tables.update(gathered, model.lr)
        times.append(_now(model))
        for name, (one, two) in zip(found, itertools.pairwise(times), strict=True):
            found[name].append((two - one) * 1e3)
    return {name: statistics.median(values) for name, values in found.items()}


def network_step(model: Recommender, batch: Batch, embedded: torch.Tensor) -> None:
    """Forward, backward and update of the network on pooled embeddings."""
    device, dtype = model.device, model.dtype
    dense, label = batch.dense.to(device, dtype), batch.label.to(device, dtype)
    loss = functional.binary_cross_entropy_with_logits(model.network(dense, embedded), label)
    model.network_optimizer.zero_grad()
    loss.backward()
    model.network_optimizer.update()


def floor(model: Recommender, batch: Batch, bus_bytes: float, bus_rate: float) -> float:
    """Samples/s if a step took only the network by itself, or its bytes over the bus."""
    shape = (len(batch), len(batch.ids) // len(batch), model.tables.dim)
    embedded = torch.zeros(shape, device=model.device, dtype=model.dtype, requires_grad=True)
    times = []
    for _ in range(6):
        begin = _now(model)
        network_step(model, batch, embedded)
        times.append(_now(model) - begin)
    return len(batch) / max(statistics.median(times[2:]), bus_bytes / bus_rate)


def bus_bytes(model: Recommender, given: list[Batch]) -> float:
    """Bytes a batch that cross the bus: inputs, distinct host rows and their gradients."""
    total = 0
    for batch, plan in model.plan_steps(given):
        total += batch.label.nbytes + batch.dense.nbytes
        total += 2 * len(plan.cold) * model.tables.dim * 4
        if isinstance(plan, Slots):
            total += plan.slots.nbytes
        elif isinstance(plan, Lookup):
            total += plan.inverse.nbytes + plan.hot.nbytes
    return total / len(given)


def bus_rate(device: str) -> float:
    """Bytes/s from pinned memory to the device; on a CPU, of a copy in memory."""
    cuda = device == "cuda"
    here = torch.ones(1 << 24, pin_memory=cuda)
    there = torch.empty_like(here, device=device)
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        there.copy_(here)
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return here.nbytes / min(times)


def _now(model: Recommender | UvmRecommender) -> float:
    """Seconds on the clock once the device is done; on a CPU, the CPU time of this process."""
    if model.device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def blank(model: Recommender) -> None:
    """Set every value to 0, which is as fast to train on as any other, and quick to make."""
    model.network.initialise(0)
    for shard in (model.tables.hot, model.tables.cold, model.tables.padded_hot):
        shard.rows.zero_()
        shard.state.zero_()


def largest_scale(device: str) -> float:
    """Of Kaggle's rows, how many times the terabyte model's tables may have."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if device == "cuda":
        memory = min(memory, torch.cuda.mem_get_info()[1])
    rows = min(memory / 4 / (DIMS["terabyte"] * 4 + 4), 1e8)
    return rows / sum(KAGGLE)


def built(
    model: str, work: Workload, device: str, shares: list[float]
) -> Iterator[tuple[str, float, Recommender | UvmRecommender]]:
    """(placement, budget, recommender) in turn; each is gone before the next is made."""
    for placement in SHOWN:
        for share in shares if placement in BUDGETED else shares[:1]:
            made = manifest(work, share)
            found: Recommender | UvmRecommender
            if placement == "uvm":
                if not importable():
                    continue
                given = {"data": "", "out": "", "model": model, "device": device}
                found = UvmRecommender(made, resolve_parameters(given, made), share)
            else:
                found = recommender(made, placement, device, model)
                blank(found)
            yield placement, share, found
            del found
            gc.collect()


def detail(found: Recommender, given: list[Batch], rate: float, bus: float) -> str:
    """Return a line on a hot-cold case: shares, bytes, the floor, the parts of both steps."""
    size = len(given[0])
    crossing = bus_bytes(found, given[:8])
    least = floor(found, given[0], crossing, bus)
    hot = sum(batch.hot for batch in given) / len(given)
    line = f"{hot:6.1%} hot, {crossing / size:6.0f} B/input, {rate / least:4.0%} of the floor"
    for name, kind in (("hot", True), ("cold", False)):
        those = [batch for batch in given if batch.hot == kind][:6]
        if those:
            shown = ", ".join(f"{part} {ms:.2f}" for part, ms in parts(found, those).items())
            line += f"; {name} step: {shown} ms"
    return line


def main() -> None:
    """Check, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--seconds", type=float, default=480.0)
    options = parser.parse_args()
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    cuda = device == "cuda"
    name = torch.cuda.get_device_name() if cuda else platform.machine()
    print(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} CPU threads")
    begin = time.perf_counter()
    check(workload(0.001, 16, 1 << 15, 1), device)
    bus = bus_rate(device)
    print(f"{'bus' if cuda else 'copies in memory'}: {bus / 1e9:.1f} GB/s")
    if not cuda:
        print("on a CPU: small tables, one batch size, two budgets; no figure speaks of a GPU")
    scales = {"kaggle": 1.0 if cuda else 0.03, "terabyte": largest_scale(device) if cuda else 0.01}
    sizes = [2048, 8192, 32768, 65536] if cuda else [2048]
    shares = [0.01, 0.02, 0.05, 0.10] if cuda else [0.02, 0.10]
    count = 2 * len(sizes) * (3 + (len(BUDGETED) - (not importable())) * len(shares))
    each = min((options.seconds - (time.perf_counter() - begin)) / count / 2, 4.0)
    rates: dict[tuple[str, int, float, str], float] = {}
    for model, scale in scales.items():
        work = workload(scale, DIMS[model], (1 << 20) if cuda else (1 << 17), 2)
        print(f"\n{model}: {sum(work.rows):,} rows of {work.dim}", flush=True)
        made = {
            (share, size): batches(work, manifest(work, share), size, cuda)
            for share, size in itertools.product(shares, sizes)
        }
        for placement, share, found in built(model, work, device, shares):
            for size in sizes:
                given = made[share, size]
                if time.perf_counter() - begin > options.seconds * 1.15:
                    print(f"no time for {placement}, budget {share:.0%}, batch {size}")
                    continue
                if isinstance(found, Recommender) and found.device.type == "cuda":
                    found.use_graph_step(size)
                rate = rates[model, size, share, placement] = samples_per_second(found, given, each)
                line = f"{model}, {placement}, budget {share:.0%}, batch {size}: {rate:,.0f}/s"
                if placement == "hot-cold" and isinstance(found, Recommender):
                    line += "; " + detail(found, given, rate, bus)
                if isinstance(found, Recommender) and isinstance(found.tables, ReplicatedTables):
                    traffic = found.tables.traffic
                    line += f"; {traffic.syncs} syncs so far, {traffic.sync_seconds:.2f} s"
                print(line, flush=True)
    print(f"\nsamples/s{'' if cuda else ' of CPU time'}")
    print(f"{'model':9} {'batch':>6}  hot" + "".join(f"{one:>12}" for one in SHOWN))
    for model, size, share in sorted({key[:3] for key in rates}):
        line = f"{model:9} {size:6} {share:4.0%}"
        for one in SHOWN:
            at = share if one in BUDGETED else shares[0]
            rate = rates.get((model, size, at, one))
            line += f"{rate:12,.0f}" if rate is not None else f"{'–':>12}"
        print(line)


if __name__ == "__main__":
    main()
