"""The options that several commands of `fae` share, each stated once, with its help."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from fae.format.manifest import DTYPE_BYTES, OPTIMIZER_STATE

PRESETS = ("criteo-kaggle", "criteo-terabyte", "avazu", "taobao")
RULES = ("inputs", "accesses", "threshold", "per-table")
OBJECTIVES = ("inputs", "accesses", "time")
COLD_IDS = ("exact", "hashed")
SYNTHETIC = ("criteo", "avazu")


def positive(text: str) -> int:
    """Return the whole number of at least 1 that `text` is."""
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


#: Option → what argparse makes of it.
OPTIONS: dict[str, dict[str, Any]] = {
    "--schema": {
        "metavar": "NAME|FILE",
        "help": f"The logs' schema: {', '.join(PRESETS)}, or the path of your own .yaml file.",
    },
    "--valid-logs": {
        "action": "append",
        "metavar": "LOG",
        "help": "Logs that make up the whole validation split; repeatable.",
    },
    "--test-logs": {
        "action": "append",
        "metavar": "LOG",
        "help": "Logs that make up the whole test split; repeatable.",
    },
    "--max-reject-share": {
        "type": float,
        "metavar": "SHARE",
        "help": "Stop if more than this share of lines is malformed.",
    },
    "--append": {
        "action": "store_true",
        "help": "Add LOGS to the data set OUT, as if all logs had been prepared at once. Needs the "
        "staged rows that --keep-work left. The schema and all parameters that you do not give "
        "stay those of OUT; --max-reject-share counts for the new logs only.",
    },
    "--valid": {
        "metavar": "SHARE|DAYS",
        "help": "Held out for validation: a share of the rows (0.1) or days (1d).",
    },
    "--test": {
        "metavar": "SHARE|DAYS",
        "help": "Held out for the test, after the validation rows: a share or days.",
    },
    "--min-count": {
        "action": "append",
        "metavar": "N|TABLE=N",
        "help": "Fold ids with fewer training accesses into out-of-vocabulary; repeatable.",
    },
    "--sample": {
        "type": float,
        "metavar": "SHARE",
        "help": "Calibrate on this share of the training rows; the FAE paper uses 0.05.",
    },
    "--hot-budget": {
        "metavar": "SIZE",
        "help": "GPU bytes for hot rows and their optimizer state: 512KiB, 256MiB, 2GiB.",
    },
    "--hot-share": {
        "type": float,
        "metavar": "SHARE",
        "help": "Instead of a budget: the share of training samples to make hot, such as 0.8.",
    },
    "--rule": {
        "choices": RULES,
        "help": "How rows are ranked: inputs (for the most wholly hot samples), accesses (the FAE "
        "paper's), threshold (its sampled search), per-table (a share of each table).",
    },
    "--objective": {
        "choices": OBJECTIVES,
        "help": "What the rule `inputs` maximizes: hot samples, hot accesses, or the time saved "
        "on the device that --device-profile describes.",
    },
    "--device-profile": {
        "metavar": "FILE",
        "help": "What `fae bench-device` wrote; adds expected speed-ups, and serves --objective "
        "time.",
    },
    "--dtype": {"choices": tuple(DTYPE_BYTES), "help": "Type of an embedding element."},
    "--optimizer": {
        "choices": tuple(OPTIMIZER_STATE),
        "help": "The optimizer whose state the budget counts.",
    },
    "--cold-ids": {
        "choices": COLD_IDS,
        "help": "exact: a row for each cold value. hashed: a table's cold values share "
        "--cold-buckets rows; a table with fewer values stays exact.",
    },
    "--cold-buckets": {
        "type": int,
        "metavar": "N",
        "help": "The most cold rows of a table, with --cold-ids hashed.",
    },
    "--seed": {"type": int, "metavar": "N", "help": "Seed of the shuffle and of the sample."},
    "--out": {
        "required": True,
        "metavar": "OUT",
        "help": "The directory to write, or its URL (s3://…).",
    },
    "--overwrite": {
        "action": "store_true",
        "help": "Replace an output that was made from other logs or parameters.",
    },
    "--keep-work": {
        "action": "store_true",
        "help": "Keep the stages' outputs in OUT.work, which --append needs.",
    },
    "--threads": {
        "type": positive,
        "metavar": "N",
        "help": "Threads of this process (default: one per core).",
    },
    "--workers": {
        "type": positive,
        "metavar": "N",
        "help": "Run on a local Dask cluster of N processes.",
    },
    "--scheduler": {
        "metavar": "ADDRESS",
        "help": "Run on the Dask cluster at this address (tcp://host:8786). The default is "
        "$DASK_SCHEDULER_ADDRESS, if it is set.",
    },
    "--scheduler-file": {
        "metavar": "FILE",
        "help": "Run on the cluster whose scheduler wrote this file.",
    },
    "--memory": {
        "metavar": "SIZE",
        "help": "Memory for this process and its local workers, such as 8GiB (default: half of "
        "the machine's). With less memory fewer tasks run at a time; the output is the same.",
    },
}  # fmt: skip

LOGS = ("--schema", "--valid-logs", "--test-logs", "--max-reject-share")
SPLITS = ("--valid", "--test", "--min-count", "--sample")
HOT_SET = (
    "--hot-budget", "--hot-share", "--rule", "--objective", "--device-profile", "--dtype",
    "--optimizer", "--cold-ids", "--cold-buckets",
)  # fmt: skip
EXECUTION = ("--threads", "--workers", "--scheduler", "--scheduler-file", "--memory")


def add_groups(
    command: argparse.ArgumentParser,
    function: Callable[..., Any],
    groups: Mapping[str, tuple[str, ...]],
    optional: tuple[str, ...] = (),
) -> None:
    """Add options in named groups; those that `function` has no default for are required."""
    parameters = inspect.signature(function).parameters
    for title, options in groups.items():
        group = command.add_argument_group(title)
        for option in options:
            settings = dict(OPTIONS[option])
            parameter = parameters.get(option[2:].replace("-", "_"))
            default = parameter.default if parameter else None
            if default is inspect.Parameter.empty:
                settings["required"] = option not in optional
            elif default not in (None, False, ()):
                settings["help"] += f" (default: {default})"
            group.add_argument(option, **settings)


def add_options(command: argparse.ArgumentParser, *options: str) -> None:
    """Add options to a command that needs no groups."""
    for option in options:
        command.add_argument(option, **OPTIONS[option])
