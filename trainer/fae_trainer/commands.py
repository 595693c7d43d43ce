"""What each command of the trainer calls, and what it prints."""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fae.format.errors import ParameterError, require
from fae.format.signals import signals_deferred
from fae.format.terminal import print_text

RESUME_HINT = "the last checkpoint, if any, is kept; train again with --resume"

Command = Callable[[dict[str, Any]], int]


def _with_torch(command: Callable[[dict[str, Any]], None]) -> Command:
    """Return `command` with torch loaded before it; it exits with 0 unless it raises.

    Raises MissingExtraError where torch is not installed.
    """

    @functools.wraps(command)
    def run(options: dict[str, Any]) -> int:
        require("torch", "train", "Training")
        with signals_deferred():  # an exception during this import can be lost or abort the process
            importlib.import_module("torch")
        command(options)
        return 0

    return run


@_with_torch
def _train(options: dict[str, Any]) -> None:
    from fae_trainer.run.checkpoint import FILE_NAME
    from fae_trainer.run.loggers import open_logger
    from fae_trainer.run.progress import format_summary
    from fae_trainer.run.train import CURVE, METRICS, train

    flags = {name: options.pop(name, False) for name in ("resume", "overwrite", "quiet")}
    told = not flags["quiet"] and os.environ.get("RANK", "0") == "0"
    if "out" not in options:
        options["out"] = _choose_out(**flags)
        if told:
            print_text(f"run in {options['out']}", sys.stderr)
    loggers = [open_logger(name, options["out"]) for name in options.pop("log_to", [])]
    metrics = train(options, **flags, callbacks=loggers)
    if told:
        run = Path(options["out"])
        names = {"checkpoint": FILE_NAME, "metrics": METRICS, "curve": CURVE}
        print_text(format_summary(metrics, {name: str(run / file) for name, file in names.items()}))


def _choose_out(resume: bool, overwrite: bool, **_: bool) -> str:
    """Return the path of a new run, named by the time; raise ParameterError where one must exist.

    Processes that train together may get several, of which the first one's is written to.
    """
    if resume or overwrite:
        raise ParameterError("--resume and --overwrite need --out RUN, the run that they mean.")
    run = Path("runs") / time.strftime("%Y%m%d-%H%M%S")
    return str(run if not run.exists() else run.with_name(f"{run.name}-{os.getpid()}"))


@_with_torch
def _evaluate(options: dict[str, Any]) -> None:
    from fae.format.atomic_files import write_json
    from fae_trainer.run.evaluate import evaluate

    data, run = options.pop("data"), Path(options.pop("run"))
    split = options.pop("split")
    out = Path(options.pop("out", run / f"evaluation-{split}.json"))
    metrics = evaluate(data, run, split, **options)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, metrics)
    print_text(json.dumps(metrics, indent=1))


@_with_torch
def _import(options: dict[str, Any]) -> None:
    from fae_trainer.run.import_run import import_run

    former = Path(options["former"]) if "former" in options else None
    imported = import_run(
        Path(options["run"]),
        Path(options["data"]),
        Path(options["out"]),
        former=former,
        overwrite=options.get("overwrite", False),
    )
    for table in imported.tables:
        print_text(f"{table.name}: {table.known:,} of {table.rows:,} rows carried over")
    if imported.restandardized:
        print_text(
            f"note: the mean and standard deviation of {', '.join(imported.restandardized)} were "
            "learnt again and differ, so these numbers mean slightly others to the model. Train on "
            "before you use it."
        )
    data, out = options["data"], options["out"]
    print_text(f"run in {out}; to continue: train {data} --out {out} --resume")


@_with_torch
def _bench_device(options: dict[str, Any]) -> None:
    from fae.format.atomic_files import write_json
    from fae_trainer.run.bench_device import measure_device

    out = Path(options.pop("out"))
    profile = measure_device(options)
    write_json(out, profile)
    print_text(json.dumps(profile, indent=1))


COMMANDS: dict[str, Command] = {
    "train": _train,
    "evaluate": _evaluate,
    "import": _import,
    "bench-device": _bench_device,
}
