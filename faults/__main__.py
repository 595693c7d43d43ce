"""Run campaigns of faults, two at a time, and end with a table."""

from __future__ import annotations

import argparse
import importlib
import secrets
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from rich.console import Console
from rich.table import Table

from faults.outcome import Outcome

#: Each is the module `faults.NAME` with `campaign(seed, amount, folder) -> Outcome`. The default
#: amount counts kills, signals, mutations, or seconds of fuzzing and of soak; the others try all
#: they have.
CAMPAIGNS = {
    "soak": 3600,
    "crashes": 200,
    "interruptions": 200,
    "fuzzing": 600,
    "mutations": 1000,
    "limits": 0,
    "determinism": 0,
}


def main() -> None:
    """Run the campaigns that the command line names, or all."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("campaigns", nargs="*", help=f"some of {', '.join(CAMPAIGNS)}; default all")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--amount", type=int, help="how much of each campaign to run")
    parser.add_argument(
        "--outcome", type=Path, help="write the outcome of one campaign to this file"
    )
    options = parser.parse_args()
    names = options.campaigns or list(CAMPAIGNS)
    if unknown := set(names) - set(CAMPAIGNS):
        parser.error(f"no campaign {', '.join(sorted(unknown))}; there are {', '.join(CAMPAIGNS)}")
    if options.outcome:
        run_campaign(names[0], options.seed, options.amount or CAMPAIGNS[names[0]]).write(
            options.outcome
        )
    else:
        sys.exit(0 if run_campaigns(names, options.seed, options.amount) else 1)


def run_campaign(name: str, seed: int, amount: int) -> Outcome:
    """Run a campaign in a folder of its own, which is removed."""
    with tempfile.TemporaryDirectory(prefix=f"fae-{name}-") as folder:
        outcome: Outcome = importlib.import_module(f"faults.{name}").campaign(
            seed, amount, Path(folder)
        )
    return outcome


def run_campaigns(names: list[str], seed: int, amount: int | None) -> bool:
    """Run campaigns as processes, two at a time, print a table and return whether all is well."""
    console = Console()
    console.print(f"seed {seed}; repeat one campaign with: python -m faults NAME --seed {seed}")
    table = Table("campaign", "faults tried", "survived", "lost rows", "undetected", "minutes")
    total, started = Outcome(), time.monotonic()
    with ThreadPoolExecutor(2) as threads:
        runs = {
            threads.submit(_run_in_process, name, seed, amount or CAMPAIGNS[name]): name
            for name in names
        }
        for run in as_completed(runs):
            (found, minutes), name = run.result(), runs[run]
            total += found
            console.print(f"{name}: {found.survived:,} of {found.faults:,} survived")
            table.add_row(name, *_format_counts(found), f"{minutes:.1f}")
    table.add_section()
    table.add_row("all", *_format_counts(total), f"{(time.monotonic() - started) / 60:.1f}")
    console.print(table)
    for what, figure in total.notes.items():
        console.print(f"{what}: {figure}")
    for failure in total.failures:
        console.print(f"[red]failed:[/] {failure}", soft_wrap=True)
    return total.good


def _format_counts(found: Outcome) -> list[str]:
    return [f"{n:,}" for n in (found.faults, found.survived, found.lost_rows, found.undetected)]


def _run_in_process(name: str, seed: int, amount: int) -> tuple[Outcome, float]:
    """Run a campaign in a process of its own and return its outcome and minutes.

    The death of the process counts as a failure.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fae-faults-") as folder:
        file = Path(folder) / "outcome.json"
        command = [sys.executable, "-m", "faults", name, "--seed", str(seed)]
        command += ["--amount", str(amount), "--outcome", str(file)]
        done = subprocess.run(command, check=False)
        outcome = Outcome.read(file) if file.exists() else Outcome()
    if done.returncode:
        outcome.fail(f"{name}, seed {seed}: the campaign itself ended with {done.returncode}")
    return outcome, (time.monotonic() - started) / 60


if __name__ == "__main__":
    main()
