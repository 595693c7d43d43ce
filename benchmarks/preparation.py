"""How long preparation takes beside a mere copy of the log from TSV to Parquet by Polars.

    python benchmarks/preparation.py [--rows 5000000 20000000] [--rules accesses inputs]
        [--stages] [--threads 1 2 16] [--gil py-spy] [--workers 1 2] [--memory 1GiB] [--rounds 2]
        [--cores 16] [--work DIR]

The copy parses, counts nothing, shuffles nothing and checks nothing: it is the floor. Each command
is a process of its own, run one after the other on the same synthetic Criteo log, round by round;
the best round of each counts. Peaks are of the process tree's resident memory. `--stages` runs the
four stages apart too, to see how busy each keeps the cores; each then starts Python anew.

Below the ratios stands where the best round of each rule spent its time, and what that means for
`--cores`: what the driver does alone stays, and a round of tasks takes its share of the cores, but
no less than its longest task. That is an estimate, in processor seconds. It leaves out memory's
bandwidth and the interpreter lock; `--gil` names a py-spy that samples in how many of the tasks'
seconds their thread held that lock, with one thread. `--threads` repeats the accesses rule so.

`--workers` runs the accesses rule on local clusters of so many processes of one thread each, and as
many copies at once of one thread each: a machine whose processes slow each other shows it there.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from measurement import Measurement, copy, machine, measure

from fae.execution.timings import Round, read_timings
from fae.synthetic.log import write_log

FAE = [sys.executable, "-m", "fae"]
LIKE_CRITEO = ["--schema", "criteo-kaggle"]


def commands(log: Path, work: Path, options: argparse.Namespace) -> dict[str, list[str]]:
    """Return what is measured, by name, in the order of the runs."""
    prepare = [*FAE, "prepare", str(log), *LIKE_CRITEO, "--hot-budget", options.budget]
    prepare += ["--out", str(work / "prepared")]
    prepare += ["--memory", options.memory] if options.memory else []
    found = {"copy": copy(log, work / "copy.parquet")}
    found |= {f"prepare, {rule}": [*prepare, "--rule", rule] for rule in options.rules}
    if options.stages:
        staging, frequencies, hot, out = (str(work / name) for name in ("s", "f", "h", "d"))
        budget = ["--hot-budget", options.budget, "--rule", "accesses"]
        found |= {
            "ingest": [*FAE, "ingest", str(log), *LIKE_CRITEO, "--out", staging],
            "profile": [*FAE, "profile", staging, "--out", frequencies],
            "calibrate": [*FAE, "calibrate", staging, frequencies, *budget, "--out", hot],
            "partition": [*FAE, "partition", staging, frequencies, hot, "--out", out],
        }
    for threads in options.threads:
        found[f"prepare, {threads} threads"] = [
            *prepare, "--rule", "accesses", "--threads", str(threads)
        ]  # fmt: skip
    for workers in options.workers:
        found[f"prepare, {workers} workers"] = [
            *prepare, "--rule", "accesses", "--workers", str(workers)
        ]  # fmt: skip
        found[f"{workers} copies at once"] = copies(log, work, workers)
    return found


def copies(log: Path, work: Path, count: int) -> list[str]:
    """Return a command that copies the log `count` times at once, each with one thread."""
    each = [shlex.join(copy(log, work / f"copy{number}.parquet")) for number in range(count)]
    return ["env", "POLARS_MAX_THREADS=1", "sh", "-c", " & ".join([*each, "wait"])]


def measured(
    log: Path, work: Path, options: argparse.Namespace
) -> tuple[dict[str, Measurement], dict[str, list[Round]]]:
    """Return the best round of each command, and the timings of each preparation's."""
    best: dict[str, Measurement] = {}
    timings: dict[str, list[Round]] = {}
    for _ in range(options.rounds):
        for name in ("s", "f", "h", "d"):
            shutil.rmtree(work / name, ignore_errors=True)
        for name, command in commands(log, work, options).items():
            for made in (work / "prepared", work / "prepared.work"):
                shutil.rmtree(made, ignore_errors=True)
            found = measure(command, work / "words.txt")
            if found == min(best.get(name, found), found):
                best[name] = found
                timings[name] = (
                    name.startswith("prepare") and read_timings(work / "prepared")
                ) or []
    return best, timings


def print_rounds(name: str, found: Measurement, rounds: Sequence[Round], cores: int) -> None:
    """Print where a preparation's time went, and an estimate of its seconds on so many cores."""
    print(f"\n{name}: by round\n")
    print("| round | tasks | seconds | processor s | threads at work | longest task s | flush s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for one in rounds:
        usage = one.usage
        print(
            f"| {one.stage}, {one.name} | {one.tasks or ''} | {usage.seconds:.2f} "
            f"| {usage.processor_seconds:.2f} | {one.threads_at_work:.1f} "
            f"| {one.longest_thread_seconds:.2f} | {usage.flush_seconds:.2f} |"
        )
    alone = sum(one.usage.processor_seconds for one in rounds if not one.tasks)
    last = max(found.cpu - sum(one.usage.processor_seconds for one in rounds), 0.0)
    tasks = [one for one in rounds if one.tasks]
    shares = [max(one.usage.processor_seconds / cores, one.longest_thread_seconds) for one in tasks]
    even = sum(one.usage.processor_seconds for one in tasks) / cores
    serial = sum(one.serial_seconds for one in rounds)
    total = alone + last + sum(shares)
    print(
        f"\nprocessor seconds of the driver alone: {alone:.2f}, and {last:.2f} after the last "
        f"round (printing, exit); seconds in which not every thread had a task: {serial:.2f}. "
        f"Estimate for {cores} cores: {alone + last:.2f} + {sum(shares):.2f} in rounds, of which "
        f"{sum(shares) - even:.2f} since tasks are few or uneven = {total:.2f} s"
    )


def print_lock(log: Path, work: Path, options: argparse.Namespace) -> None:
    """Print in which share of the tasks' seconds their thread held the interpreter lock."""
    shares = []
    for only_holders in ([], ["--gil"]):
        shutil.rmtree(work / "prepared", ignore_errors=True)
        raw = work / "stacks.txt"
        record = [options.gil, "record", *only_holders, "-r", "200", "-f", "raw", "-o", str(raw)]
        prepare = commands(log, work, options)["prepare, accesses"]
        command = [*record, "--", *prepare, "--threads", "1"]
        subprocess.run(command, check=True, capture_output=True)
        counts = [line.rsplit(" ", 1) for line in raw.read_text().splitlines()]
        in_tasks = [int(n) for stack, n in counts if "perform_step" in stack]
        shares.append(sum(in_tasks))
    print(f"\ninterpreter lock held in {shares[1] / max(shares[0], 1):.1%} of the tasks' seconds")


def main() -> None:
    """Print seconds, rows/s, cores busy, peak memory and the ratio to the copy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000_000])
    parser.add_argument("--rules", nargs="*", default=["accesses", "inputs"])
    parser.add_argument("--stages", action="store_true")
    parser.add_argument("--threads", type=int, nargs="*", default=[])
    parser.add_argument("--gil", metavar="PY_SPY")
    parser.add_argument("--cores", type=int, default=16)
    parser.add_argument("--workers", type=int, nargs="*", default=[])
    parser.add_argument("--memory")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--budget", default="32MiB")
    parser.add_argument("--work", type=Path, default=Path("work/benchmark"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    print(f"{machine()}, Polars {pl.__version__}")
    for rows in options.rows:
        log = options.work / f"criteo-{rows}.log"
        if not log.exists():
            write_log("criteo", rows, log, 1)
        print(f"\n{rows:,} rows, {log.stat().st_size / 1e9:.2f} GB\n")
        print("| what | seconds | rows/s | cores busy | peak | ratio | CPU ratio |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        best, timings = measured(log, options.work, options)
        for name, found in best.items():
            print(
                f"| {name} | {found.seconds:.1f} | {rows / found.seconds:,.0f} | {found.busy:.0%} "
                f"| {found.peak:.2f} GiB | {found.seconds / best['copy'].seconds:.2f} "
                f"| {found.cpu / best['copy'].cpu:.2f} |",
                flush=True,
            )
        for name, rounds in timings.items():
            if rounds:
                print_rounds(name, best[name], rounds, options.cores)
        if options.gil:
            print_lock(log, options.work, options)


if __name__ == "__main__":
    main()
