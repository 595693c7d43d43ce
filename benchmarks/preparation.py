"""How long preparation takes beside a mere copy of the log from TSV to Parquet by Polars.

    python benchmarks/preparation.py [--rows 5000000 20000000] [--rules accesses inputs]
        [--stages] [--workers 1 2] [--memory 1GiB] [--rounds 2] [--work DIR]

The copy parses, counts nothing, shuffles nothing and checks nothing: it is the floor. Each command
is a process of its own, run one after the other on the same synthetic Criteo log, round by round;
the best round of each counts. Peaks are of the process tree's resident memory. `--stages` runs the
four stages apart too, to see how busy each keeps the cores; each then starts Python anew.
`--workers` runs the accesses rule on local clusters of so many processes of one thread each, and as
many copies at once of one thread each: a machine whose processes slow each other shows it there.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from pathlib import Path

import polars as pl
from measurement import Measurement, copy, machine, measure

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


def measured(log: Path, work: Path, options: argparse.Namespace) -> dict[str, Measurement]:
    """Return the best round of each command."""
    best: dict[str, Measurement] = {}
    for _ in range(options.rounds):
        for name in ("s", "f", "h", "d"):
            shutil.rmtree(work / name, ignore_errors=True)
        for name, command in commands(log, work, options).items():
            for made in (work / "prepared", work / "prepared.work"):
                shutil.rmtree(made, ignore_errors=True)
            found = measure(command, work / "words.txt")
            best[name] = min(best.get(name, found), found)
    return best


def main() -> None:
    """Print seconds, rows/s, cores busy, peak memory and the ratio to the copy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000_000])
    parser.add_argument("--rules", nargs="*", default=["accesses", "inputs"])
    parser.add_argument("--stages", action="store_true")
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
        best = measured(log, options.work, options)
        for name, found in best.items():
            print(
                f"| {name} | {found.seconds:.1f} | {rows / found.seconds:,.0f} | {found.busy:.0%} "
                f"| {found.peak:.2f} GiB | {found.seconds / best['copy'].seconds:.2f} "
                f"| {found.cpu / best['copy'].cpu:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
