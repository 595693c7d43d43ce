"""The hot share that each rule reaches for the same bytes, how far from the best, at what cost.

    python benchmarks/hot_set.py criteo=LOG avazu=LOG ... [--synthetic 5000000] [--work DIR]
    python benchmarks/hot_set.py --growth 1000000 5000000 20000000 --work DIR

Logs are KIND=PATH, KIND being criteo or avazu. The hot share is that of the train inputs, counted
anew from the rows that each rule would buy; the bound is what no rule can exceed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import resource
import shutil
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fae.execution.executor import Executor
from fae.format.budget import Embedding
from fae.hotset.problem import Problem, StackedSamples, bound_worth
from fae.hotset.problem_data import stack_rows, stack_samples
from fae.hotset.rules import RULES
from fae.hotset.rules.peeling import measure_worth
from fae.ingestion.parameters import IngestParameters
from fae.ingestion.stage import ingest
from fae.ingestion.staging import Staging
from fae.logs.files import find_logs
from fae.logs.schema_files import load_schema
from fae.profiling.frequencies import Frequencies
from fae.profiling.parameters import ProfileParameters
from fae.profiling.stage import profile
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
    """Return the problem of a hot set with `share` of all rows' bytes."""
    rows = stack_rows(frequencies, staging.schema, Embedding("float32", "rowwise_adagrad"))

    @cache
    def inputs() -> StackedSamples:
        return stack_samples(staging, frequencies)

    return Problem(rows, inputs, int(share * rows.total_bytes))


def compare(staging: Staging, frequencies: Frequencies) -> None:
    """Print the hot share by rule and budget, and the bound."""
    problems = [problem_of(staging, frequencies, SHARES[0])]
    first = problems[0]
    everything = first.rows.total_bytes
    problems += [
        Problem(first.rows, first.read_samples, int(share * everything)) for share in SHARES[1:]
    ]
    given = first.read_samples()
    print(f"{given.count:,} train inputs, {first.rows.count:,} rows")
    print("bytes     " + "".join(f"{rule:>12}" for rule in RULES) + "       bound  inputs/accesses")
    for share, problem in zip(SHARES, problems, strict=True):
        reached: dict[str, float] = {}
        most = 1.0
        for name, rule in RULES.items():
            ranking = rule(problem)
            reached[name] = measure_worth(problem, given, ranking.ranked_rows) / given.count
            if ranking.loads is not None:
                most = (
                    bound_worth(problem.rows, ranking.loads, np.array([problem.budget_bytes]))[0]
                    / given.count
                )
        ratio = reached["inputs"] / reached["accesses"] if reached["accesses"] else float("inf")
        shares = "".join(f"{value:12.4f}" for value in reached.values())
        print(f"{share:6.0%}    {shares}{min(most, 1.0):12.4f}{ratio:12.2f}x", flush=True)


def cost(rule: str, staging: str, frequencies: str, share: float, out: Any) -> None:
    """In a process of its own: seconds of reading the inputs and of ranking, and peak GiB."""
    problem = problem_of(Staging.read(Path(staging)), Frequencies.read(Path(frequencies)), share)
    begin = time.perf_counter()
    accesses = problem.read_samples().rows.size
    middle = time.perf_counter()
    ranking = RULES[rule](problem)
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    out.put((accesses, middle - begin, end - middle, peak, dict(ranking.notes)))


def measured(rule: str, staging: Staging, frequencies: Frequencies) -> tuple[Any, ...]:
    """Return what `cost` measures at a tenth of the bytes."""
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    process = context.Process(
        target=cost, args=(rule, str(staging.directory), str(frequencies.directory), 0.1, out)
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
        compare(staging, frequencies)
        for rule in RULES:
            _, read, ranked, peak, notes = measured(rule, staging, frequencies)
            print(
                f"  {rule:10} at 10 %: inputs read in {read:.1f} s, ranked in {ranked:.1f} s, "
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
