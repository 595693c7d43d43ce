"""What the order of batches costs in accuracy, against shuffling all rows.

    python benchmarks/accuracy.py [--rows 300000] [--seeds 3] [--epochs 1] [--work DIR]
        [--only "hot-cold, interleaved"]

Prepares one synthetic Criteo log twice: with a hot budget, and with every row hot, which makes the
whole train split one leaf in a full shuffle: how models are trained that know nothing of hot and
cold. Trains the first under each schedule, and under `gpu` with `shuffled` as a check that the
placement adds nothing; each with several seeds, which decide first weights and order. Prints the
test AUC, and its difference from the full shuffle and from `gpu` of the same seed: mean, standard
deviation over the seeds, smallest and largest. `--only` leaves out other trainings than the full
shuffle and those named.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from fae.synthetic.log import write_log
from fae_trainer.parameters import SCHEDULES
from fae_trainer.run.train import train

FULL = "full shuffle"
GPU = "gpu, shuffled"

#: Name → data set, placement and schedule.
RUNS = {
    FULL: ("all", "gpu", "shuffled"),
    GPU: ("hot", "gpu", "shuffled"),
    **{f"hot-cold, {one}": ("hot", "hot-cold", one) for one in SCHEDULES},
}


def prepared(log: Path, out: Path, budget: Sequence[str]) -> Path:
    """Prepare the data set of a log for a budget, unless it is there."""
    command = [sys.executable, "-m", "fae", "prepare", str(log), "--out", str(out)]
    command += ["--schema", "criteo-kaggle", *budget]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def spread(values: Sequence[float]) -> str:
    """Mean, standard deviation, smallest and largest."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return (
        f"{statistics.mean(values):+9.5f} ± {deviation:.5f} ({min(values):+.5f} … "
        f"{max(values):+.5f})"
    )


def main() -> None:
    """Prepare, train, print a line a run, and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--hot-share", default="0.6")
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--work", type=Path, default=Path("work/accuracy"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    log = options.work / f"criteo-{options.rows}.log"
    if not log.exists():
        write_log("criteo", options.rows, log, 1)
    data = {
        "hot": prepared(
            log, options.work / f"hot-{options.rows}", ["--hot-share", options.hot_share]
        ),
        "all": prepared(log, options.work / f"all-{options.rows}", ["--hot-budget", "1TiB"]),
    }
    runs = {name: RUNS[name] for name in RUNS if name == FULL or name in options.only}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for seed in range(options.seeds):
        for name, (which, placement, schedule) in runs.items():
            begin = time.perf_counter()
            given = {
                "data": str(data[which]),
                "out": str(options.work / "run"),
                "placement": placement,
                "schedule": schedule,
                "seed": seed,
                "epochs": options.epochs,
                "batch_size": options.batch_size,
                "device": "auto" if placement == "cpu" else options.device,
            }
            found[name].append(train(given, overwrite=True, quiet=True))
            auc, seconds = found[name][-1]["test_auc"], time.perf_counter() - begin
            print(f"seed {seed}, {name}: AUC {auc:.5f}, {seconds:.0f} s", flush=True)
    device, hot_share = found[FULL][0]["device"], found[list(runs)[-1]][0]["hot_share"]
    print(
        f"\n{platform.machine()}, {device}, torch {torch.__version__}; {options.rows:,} rows, "
        f"{options.epochs} epochs, batches of {options.batch_size}, hot share "
        f"{hot_share:.1%}, {options.seeds} seeds"
    )
    auc = {name: [one["test_auc"] for one in runs] for name, runs in found.items()}
    for name, values in auc.items():
        loss = statistics.mean(one["test_logloss"] for one in found[name])
        line = f"{name:22} AUC {statistics.mean(values):.5f}, log loss {loss:.5f}"
        for other in (FULL, GPU):
            if other in runs and name not in (FULL, other):
                apart = [one - two for one, two in zip(values, auc[other], strict=True)]
                line += f"; less {other} {spread(apart)}"
        print(line)


if __name__ == "__main__":
    main()
