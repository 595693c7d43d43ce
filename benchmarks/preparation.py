"""How long preparation takes beside a mere copy of the log from TSV to Parquet by Polars.

    python benchmarks/preparation.py [--rows 5000000] [--work DIR]

The copy parses, counts nothing, shuffles nothing and checks nothing: it is the floor. Each is a
process of its own, run one after the other on the same synthetic Criteo log; the best of `--rounds`
counts. Peaks are of resident memory.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import polars as pl

from pipeline.synthetic import write_log

COPY = (
    "import polars, sys; polars.scan_csv(sys.argv[1], separator='\\t', has_header=False, "
    "quote_char=None).sink_parquet(sys.argv[2])"
)


def timed(command: list[str]) -> tuple[float, float, float]:
    """Seconds, share of both cores busy, and peak GiB of a command in a process of its own."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} exited with {process.returncode}")
    busy = (usage.ru_utime + usage.ru_stime) / seconds / len(os.sched_getaffinity(0))
    return seconds, busy, usage.ru_maxrss / 2**20


def main() -> None:
    """Print seconds, rows/s, cores busy, peak memory and the ratio to the copy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--budget", default="32MiB")
    parser.add_argument("--work", type=Path, default=Path("work/benchmark"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    log = options.work / f"criteo-{options.rows}.log"
    if not log.exists():
        write_log("criteo", options.rows, log, 1)
    out = options.work / "prepared"
    fae = [sys.executable, "-m", "pipeline.cli", "prepare", str(log), "--schema", "criteo-kaggle"]
    fae += ["--hot-budget", options.budget, "--out", str(out)]
    commands = {
        "copy": [sys.executable, "-c", COPY, str(log), str(options.work / "copy.parquet")],
        "fae, accesses": [*fae, "--rule", "accesses"],
        "fae, inputs": [*fae, "--rule", "inputs"],
    }
    best: dict[str, tuple[float, float, float]] = {}
    for _ in range(options.rounds):
        for name, command in commands.items():
            for made in (out, out.with_name("prepared.work")):
                shutil.rmtree(made, ignore_errors=True)
            found = timed(command)
            best[name] = min(best.get(name, found), found)
    cores = len(os.sched_getaffinity(0))
    print(
        f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, Polars "
        f"{pl.__version__}; {options.rows:,} rows, {log.stat().st_size / 1e9:.2f} GB"
    )
    for name, (seconds, busy, peak) in best.items():
        print(
            f"{name:14} {seconds:7.1f} s {options.rows / seconds:12,.0f} rows/s  cores busy "
            f"{busy:4.0%}  peak {peak:5.2f} GiB  ratio {seconds / best['copy'][0]:5.2f}"
        )


if __name__ == "__main__":
    main()
