"""How long preparation takes beside a mere copy of the log from TSV to Parquet by Polars.

    python benchmarks/preparation.py [--rows 5000000] [--work DIR]

The copy parses, counts nothing, shuffles nothing and checks nothing: it is the floor. Each is a
process of its own, run one after the other on the same synthetic Criteo log; the best of `--rounds`
counts. Peaks are of the process tree's resident memory.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import polars as pl
from measurement import Measurement, copy, machine, measure

from pipeline.synthetic import write_log


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
        "copy": copy(log, options.work / "copy.parquet"),
        "fae, accesses": [*fae, "--rule", "accesses"],
        "fae, inputs": [*fae, "--rule", "inputs"],
    }
    best: dict[str, Measurement] = {}
    for _ in range(options.rounds):
        for name, command in commands.items():
            for made in (out, out.with_name("prepared.work")):
                shutil.rmtree(made, ignore_errors=True)
            found = measure(command, options.work / "words.txt")
            best[name] = min(best.get(name, found), found)
    print(
        f"{machine()}, Polars {pl.__version__}; {options.rows:,} rows, "
        f"{log.stat().st_size / 1e9:.2f} GB"
    )
    for name, found in best.items():
        print(
            f"{name:14} {found.seconds:7.1f} s {options.rows / found.seconds:12,.0f} rows/s  cores "
            f"busy {found.busy:4.0%}  peak {found.peak:5.2f} GiB  "
            f"ratio {found.seconds / best['copy'].seconds:5.2f}"
        )


if __name__ == "__main__":
    main()
