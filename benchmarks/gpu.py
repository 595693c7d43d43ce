"""Training speed by placement, hot budget and batch size, on one GPU.

    python benchmarks/gpu.py [--quick] [--json FILE] [--seconds 450]

Needs torch, Triton, numpy and pyarrow alone, and makes its own inputs: Criteo Kaggle's 26
cardinalities, scaled, ids drawn with a heavy head and a common factor per input, so that wholly
hot inputs exist. First, correctness: tables in float64 after 8 steps at 512, 4,096 and 65,536,
each placement against a dense reference. Then training steps fed from page-locked memory through
the trainer's own planner and prefetch: every placement, budgets from nothing to all rows, wholly
hot and cold batches against mixed ones, cold rows read ahead or not, TF32 and bfloat16, and
FBGEMM's UVM caching where it is importable. A step that fails is reported and left out. Prints one
table with the ratios last, and writes JSON. `--quick` takes about 150 s, the whole less than 8
minutes. On a CPU it tries itself at a tiny size, the device's kernels by Triton's interpreter, and
no figure counts.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "pipeline"))
sys.path.insert(0, str(Path(__file__).parent.parent / "trainer"))

from dense_reference import train_densely
from gpu_inputs import DIMS, Workload, choose_manifest, make_batches, make_workload
from uvm_caching import UvmRecommender, importable

from fae.format.manifest import Manifest
from fae_trainer.data.batches import Batch
from fae_trainer.model.device_step import DeviceStep
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import resolve_parameters
from fae_trainer.run.bench_device import make_manifest
from fae_trainer.run.evaluate import resolve_device

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"

#: Of Kaggle's rows, how many times the two models' tables have; 1 is 33.8 million.
SCALES = {"kaggle": 1.0, "terabyte": 0.6} if CUDA else {"kaggle": 1e-4, "terabyte": 1e-4}
INPUTS = 1 << 20 if CUDA else 1 << 10


@dataclass(frozen=True)
class Case:
    """What is measured: a way to train a model at a batch size and a share of hot rows."""

    model: str
    batch: int
    placement: str
    share: float = 0.02
    mixed: bool = False
    ahead: bool = True
    tf32: bool = False
    amp: str = "none"

    @property
    def name(self) -> str:
        """The way to train in a few words."""
        marks = [self.placement, "mixed" * self.mixed, "" if self.ahead else "not ahead"]
        return " ".join(filter(None, [*marks, "tf32" * self.tf32, self.amp.replace("none", "")]))


def make_recommender(manifest: Manifest, case: Case, **given: Any) -> Recommender:
    """Return a model with unset values."""
    chosen: dict[str, Any] = {"data": "", "out": "", "model": case.model, "batch_size": case.batch}
    chosen |= {"placement": case.placement, "tf32": case.tf32, "amp": case.amp, **given}
    if case.placement != "cpu":
        chosen["device"] = DEVICE
    p = resolve_device(resolve_parameters(chosen, manifest))
    by_device = None if CUDA else case.placement not in ("cpu", "hybrid")
    model = Recommender(manifest, p, by_device=by_device)
    if isinstance(model.device_step, DeviceStep):
        model.device_step.reads_ahead = case.ahead
    return model


def check(size: int, steps: int) -> dict[str, float]:
    """Return the largest difference of any row from a dense reference, by placement, in float64."""
    work = make_workload(0.001 if CUDA else 1e-4, 16, 4 * steps * size, 1)
    manifest = choose_manifest(work, 0.05)
    given = make_batches(work, manifest, size)[:steps]
    worst: dict[str, float] = {}
    reference = make_recommender(manifest, Case("kaggle", size, "cpu"), dtype="float64")
    reference.initialise(0)
    expected = train_densely(reference, given)
    ways = [("cpu", {}, True), ("gpu", {}, True), ("uva", {}, True), ("hot-cold", {}, True)]
    ways += [("hot-cold", {"cuda_graph": False}, True), ("hot-cold", {}, False)]
    ways += [("hybrid", {}, True), ("fae", {}, True)]
    for placement, chosen, ahead in ways:
        case = Case("kaggle", size, placement, ahead=ahead)
        model = make_recommender(manifest, case, dtype="float64", **chosen)
        model.initialise(0)
        with model.prefetch(given, 4) as ahead_of:
            for batch, plan in ahead_of:
                model.step(batch, plan)
        found = model.tables.rows()
        name = " ".join([case.name, *(f"{key}={value}" for key, value in chosen.items())])
        worst[name] = max(float((found[key] - expected[key]).abs().max()) for key in expected)
    return worst


def measure(model: Recommender | UvmRecommender, given: list[Batch], seconds: float) -> float:
    """Return samples/s over `given`, repeated for about `seconds`, after a warm-up."""
    hot, cold = ([batch for batch in given if batch.hot == kind][:4] for kind in (True, False))
    with model.prefetch([*hot, *cold], 4) as ahead:
        for batch, plan in ahead:
            model.step(batch, plan)
    rates = []
    end = time.perf_counter() + seconds
    while not rates or time.perf_counter() < end:
        wait()
        begin, done = time.perf_counter(), 0
        with model.prefetch(given, 4) as ahead:
            for batch, plan in ahead:
                model.step(batch, plan)
                done += len(batch)
                if time.perf_counter() > end:
                    break
        wait()
        rates.append(done / (time.perf_counter() - begin))
    return statistics.median(rates)


def measure_case(case: Case, work: Workload, seconds: float) -> float:
    """Return the samples/s of a case."""
    manifest = choose_manifest(work, case.share)
    given = make_batches(work, manifest, case.batch, case.mixed)
    if case.placement == "uvm":
        chosen = {"data": "", "out": "", "model": case.model, "device": DEVICE, "tf32": case.tf32}
        p = resolve_device(resolve_parameters(chosen, manifest))
        return measure(UvmRecommender(manifest, p, case.share), given, seconds)
    model = make_recommender(manifest, case)
    model.network.initialise(0)  # rows are zeros: as fast to train on as any, and quick to make
    return measure(model, given, seconds)


def wait() -> None:
    """Wait for the device."""
    if CUDA:
        torch.cuda.synchronize()


def measure_bus() -> dict[str, float]:
    """Return GB/s from page-locked memory, and nanoseconds a cold row read at random or written."""
    from fae_trainer.embedding.device_rows import DeviceRows, StagedRows
    from fae_trainer.embedding.layout import make_layout
    from fae_trainer.embedding.optimizers import ROW_OPTIMIZERS
    from fae_trainer.embedding.tables import Tables

    here = torch.ones(1 << 26, pin_memory=True)
    there = torch.empty_like(here, device=DEVICE)
    found = {"bus_gb_per_s": here.nbytes / clock(lambda: there.copy_(here)) / 1e9}
    rule = ROW_OPTIMIZERS["rowwise_adagrad"]
    layout = make_layout(make_manifest([1 << 25], [0], 16, 0), [0])
    tables = Tables(layout, 16, torch.device(DEVICE), torch.float32, rule, page_locked=True)
    rows = DeviceRows(layout, tables.hot, tables.cold, rule)
    for count in (4096, 20_000, 160_000):
        ids = torch.randint(0, 1 << 25, (count,), device=DEVICE, dtype=torch.int32)
        staged = StagedRows(rows, ids, None)
        staged.put(ids, None)
        rows.stage(staged)
        works: dict[str, Callable[[], Any]] = {
            "read": partial(rows._copy_cold, staged, False),
            "write": partial(rows._copy_cold, staged, True),
            "sort": partial(staged.ids.sort, stable=True),
        }
        for name, work in works.items():
            found[f"ns_to_{name}_of_{count}"] = clock(work) / count * 1e9
    return found


def clock(work: Callable[[], Any], times: int = 7) -> float:
    """Return the median seconds of some work on the device, as CUDA events see it."""
    found = []
    for _ in range(times):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        found.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(found)


def list_cases(quick: bool) -> list[Case]:
    """Return the cases, the most important first."""
    sizes = (2048, 8192, 65_536) if CUDA else (64,)
    cases = []
    for size in sizes:
        start = Case("kaggle", size, "hot-cold")
        cases += [replace(start, placement="gpu"), start, replace(start, mixed=True)]
        cases += [replace(start, placement=name) for name in ("uva", "hybrid")]
        cases += [replace(start, placement="uvm")] * importable()
    shares = (0.0, 0.0001, 0.001, 0.01, 0.05, 0.1, 1.0)
    for size in (2048, 65_536) if CUDA else (64,):
        start = Case("kaggle", size, "hot-cold")
        for share in shares[1:4:2] if quick else shares:
            cases += [replace(start, share=share), replace(start, share=share, mixed=True)]
        cases += [replace(start, ahead=False), replace(start, placement="fae")]
        for name in ("gpu", "hot-cold"):
            cases += [replace(start, placement=name, tf32=True)]
            cases += [replace(start, placement=name, amp="bf16")] * (not quick)
    if not quick:
        for size in sizes:
            start = Case("terabyte", size, "hot-cold")
            cases += [replace(start, placement="gpu"), start, replace(start, share=0.1)]
            cases += [replace(start, placement="uvm")] * importable()
        cases += [Case("kaggle", sizes[0], "cpu")]
    return list(dict.fromkeys(cases))


@contextmanager
def survive(what: str, failed: list[str]) -> Iterator[None]:
    """Report an error and go on."""
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        failed.append(f"{what}: {error}")
    gc.collect()
    if CUDA:
        torch.cuda.empty_cache()


def print_table(rates: dict[Case, float]) -> None:
    """Print samples/s of all cases, and their ratio to all rows on the device."""
    print(
        f"\n{'model':9} {'batch':>6} {'hot rows':>8}  {'way to train':24} {'samples/s':>12}  of gpu"
    )
    for case, rate in sorted(rates.items(), key=lambda pair: (pair[0].model, pair[0].batch)):
        whole = rates.get(replace(case, placement="gpu", share=0.02, mixed=False, ahead=True))
        ratio = f"{rate / whole:6.2f}" if whole else "     –"
        line = f"{case.model:9} {case.batch:6} {case.share:8.2%}  {case.name:24} {rate:12,.0f}"
        print(f"{line}  {ratio}")


def main() -> None:
    """Check, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="150 s instead of 8 minutes")
    parser.add_argument("--seconds", type=float, help="time in which the last case begins")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"))
    options = parser.parse_args()
    limit = options.seconds or (140.0 if options.quick else 440.0)
    begin = time.perf_counter()
    name = torch.cuda.get_device_name() if CUDA else "no GPU: this only tries the benchmark itself"
    document: dict[str, Any] = {"device": name, "torch": torch.__version__, "failed": []}
    failed = document["failed"]
    print(f"{name}, torch {torch.__version__}", flush=True)
    for size in (512, 4096, 65_536) if CUDA else (32,):
        with survive(f"check {size}", failed):
            worst = document.setdefault("worst", {})[size] = check(size, 8 if CUDA else 2)
            for way, value in worst.items():
                print(f"check {size:6}: {way:28} rows differ by {value:.1e}", flush=True)
    if CUDA:
        with survive("bus", failed):
            document["bus"] = measure_bus()
            print({key: round(value, 2) for key, value in document["bus"].items()}, flush=True)
    rates: dict[Case, float] = {}
    work: dict[str, Workload] = {}
    for case in list_cases(options.quick):
        if time.perf_counter() - begin > limit:
            failed.append(f"no time for {case}")
            continue
        with survive(str(case), failed):
            if case.model not in work:
                work = {case.model: make_workload(SCALES[case.model], DIMS[case.model], INPUTS, 2)}
            rates[case] = measure_case(case, work[case.model], 1.0 if options.quick else 2.0)
            spent = time.perf_counter() - begin
            print(f"{spent:5.0f} s  {case.model} {case.batch} {case.share:.2%} {case.name}: "
                  f"{rates[case]:,.0f}/s", flush=True)  # fmt: skip
    document["rates"] = [{**vars(case), "samples_per_second": rate} for case, rate in rates.items()]
    options.json.write_text(json.dumps(document, indent=1))
    for line in failed:
        print(f"failed: {line}")
    print_table(rates)


if __name__ == "__main__":
    main()
