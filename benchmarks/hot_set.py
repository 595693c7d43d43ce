"""The hot shares that each rule reaches for the same bytes, how far from the best, at what cost.

    python benchmarks/hot_set.py criteo=LOG avazu=LOG ... [--synthetic 5000000] [--work DIR]
    python benchmarks/hot_set.py --growth 1000000 5000000 20000000 --work DIR

Logs are KIND=PATH, KIND being criteo or avazu. The hot shares are those of train samples, of
held-out samples (the last fifth of the rows), and of those of them whose values all have a row,
counted anew from the rows that each rule would buy; the bound is what no rule can exceed in train.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import resource
import shutil
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fae.execution.executor import Executor
from fae.format.budget import Embedding
from fae.hotset.coverage import Cuts, compute_shares, measure_coverage
from fae.hotset.problem import Problem, StackedSamples, count_affordable
from fae.hotset.problem_data import stack_rows, stack_samples
from fae.ingestion.parameters import IngestParameters
from fae.ingestion.stage import ingest
from fae.ingestion.staging import Staging
from fae.logs.files import find_logs
from fae.logs.schema_files import load_schema
from fae.profiling.frequencies import Frequencies
from fae.profiling.parameters import ProfileParameters
from fae.profiling.stage import profile
from fae.reporting.comparison import CHOICES
from fae.storage.folder import Folder
from fae.synthetic.log import write_log

SCHEMAS = {"criteo": "criteo-kaggle", "avazu": "avazu"}
SHARES = (0.01, 0.02, 0.05, 0.10, 0.20, 0.40)


def profiled(kind: str, log: Path, work: Path) -> tuple[Staging, Frequencies, float, float]:
    """Ingest and profile a log anew; return both outputs and the seconds of each."""
    for made in work.glob(f"{log.name}.*"):
        shutil.rmtree(made)
    schema = load_schema(SCHEMAS[kind])
    begin = time.perf_counter()
    staging = ingest(
        find_logs([str(log)], schema),
        schema,
        work / f"{log.name}.staging",
        Executor(),
        IngestParameters(max_reject_share=0.01),
        overwrite=True,
    )
    middle = time.perf_counter()
    frequencies = profile(
        staging, work / f"{log.name}.frequencies", Executor(), ProfileParameters(), overwrite=True
    )
    return staging, frequencies, middle - begin, time.perf_counter() - middle


def problem_of(staging: Staging, frequencies: Frequencies, share: float) -> Problem:
    """Return the problem of a hot set with `share` of all rows' bytes, all samples in memory."""
    rows = stack_rows(frequencies, staging.schema, Embedding("float32", "rowwise_adagrad"))

    @cache
    def inputs() -> StackedSamples:
        return stack_samples(staging, frequencies)

    return Problem(rows, inputs, int(share * rows.total_bytes))


def compare(staging: Staging, frequencies: Frequencies, work: Path) -> None:
    """Print the hot share by budget, group of samples and choice, and the bound of train."""
    problems = [problem_of(staging, frequencies, SHARES[0])]
    first = problems[0]
    problems += [
        replace(first, budget_bytes=int(share * first.rows.total_bytes)) for share in SHARES[1:]
    ]
    print(f"{first.read_samples().count:,} train samples, {first.rows.count:,} rows")
    print("| bytes | samples | " + " | ".join(CHOICES) + " | bound |")
    print("| --- " * (len(CHOICES) + 3) + "|")
    for share, problem in zip(SHARES, problems, strict=True):
        solved = {
            name: choice.rule(replace(problem, objective=choice.objective))
            for name, choice in CHOICES.items()
        }
        counts = [
            count_affordable(problem.rows, ranking.ranked_rows, problem.budget_bytes)
            for ranking in solved.values()
        ]
        cuts = [
            Cuts(ranking.ranked_rows, np.array([count]))
            for ranking, count in zip(solved.values(), counts, strict=True)
        ]
        scratch = Folder.of(work / "scratch")
        coverage = measure_coverage(staging, frequencies, cuts, scratch, Executor())
        points = list(map(compute_shares, solved, coverage, counts))
        loads = solved["inputs"].loads
        assert loads is not None
        most = loads.bound_worth(np.array([problem.budget_bytes]))[0]
        bound = min(most / problem.read_samples().count, 1.0)
        for group, last in (("train", f"{bound:.4f}"), ("held_out", ""), ("known", "")):
            shares = (getattr(point, group) for point in points)
            cells = " | ".join("–" if value is None else f"{value:.4f}" for value in shares)
            print(f"| {share:.0%} | {group.replace('_', ' ')} | {cells} | {last} |", flush=True)


def cost(choice: str, staging: str, frequencies: str, share: float, out: Any) -> None:
    """In a process of its own: seconds of reading the samples and of ranking, and peak GiB."""
    rule, objective = CHOICES[choice].rule, CHOICES[choice].objective
    problem = problem_of(Staging.read(Path(staging)), Frequencies.read(Path(frequencies)), share)
    problem = replace(problem, objective=objective)
    begin = time.perf_counter()
    accesses = problem.read_samples().rows.size
    middle = time.perf_counter()
    ranking = rule(problem)
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    out.put((accesses, middle - begin, end - middle, peak, dict(ranking.notes)))


def measured(choice: str, staging: Staging, frequencies: Frequencies) -> tuple[Any, ...]:
    """Return what `cost` measures at a tenth of the bytes."""
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    process = context.Process(
        target=cost, args=(choice, str(staging.directory), str(frequencies.directory), 0.1, out)
    )
    process.start()
    found: tuple[Any, ...] = out.get()
    process.join()
    return found


def main() -> None:
    """Compare the rules on each log, then measure what they cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="*", metavar="KIND=PATH")
    parser.add_argument("--synthetic", type=int, metavar="ROWS", help="synthetic logs of each kind")
    parser.add_argument("--growth", type=int, nargs="*", default=[], metavar="ROWS")
    parser.add_argument("--work", type=Path, default=Path("work/benchmark"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    logs = [(one.partition("=")[0], Path(one.partition("=")[2])) for one in options.logs]
    for kind in SCHEMAS if options.synthetic else ():
        path = options.work / f"{kind}-{options.synthetic}.log"
        if not path.exists():
            write_log(kind, options.synthetic, path, 1)
        logs.append((kind, path))
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    for kind, path in logs:
        staging, frequencies, ingested, counted = profiled(kind, path, options.work)
        print(f"\n{kind}: {path.name}: ingest {ingested:.1f} s, profile {counted:.1f} s")
        compare(staging, frequencies, options.work)
        for rule in CHOICES:
            _, read, ranked, peak, notes = measured(rule, staging, frequencies)
            print(
                f"  {rule:16} at 10 %: samples read in {read:.1f} s, ranked in {ranked:.1f} s, "
                f"peak {peak:.2f} GiB {notes or ''}",
                flush=True,
            )
    for rows in options.growth:
        path = options.work / f"criteo-{rows}.log"
        if not path.exists():
            write_log("criteo", rows, path, 1)
        staging, frequencies, ingested, _ = profiled("criteo", path, options.work)
        accesses, read, ranked, peak, notes = measured("inputs", staging, frequencies)
        per_pass = ranked / notes["passes"]
        print(
            f"{rows:>12,} rows: ingest {ingested:.1f} s; inputs {read:.1f} + {ranked:.1f} s "
            f"({notes['passes']} passes, {per_pass / accesses * 1e9:.1f} ns an access and pass), "
            f"peak {peak:.2f} GiB",
            flush=True,
        )


if __name__ == "__main__":
    main()
