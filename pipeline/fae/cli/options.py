"""The options that several commands of `fae` share, each stated once, with its help."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from fae.format.budget import DTYPE_BYTES, OPTIMIZER_STATE
from fae_trainer.arguments import Settings, choice, flag, value

PRESETS = ("criteo-kaggle", "criteo-terabyte", "avazu", "taobao")
RULES = ("accesses", "inputs", "threshold", "per-table")
OBJECTIVES = ("inputs", "future", "accesses", "time")
COLD_IDS = ("exact", "hashed")
SYNTHETIC = ("criteo", "avazu")


def positive(text: str) -> int:
    """Return the whole number of at least 1 that `text` is."""
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def rule(name: str) -> str:
    """Return the name of a rule, FAE's own or an entry point of another package."""
    if name in RULES or entry_points(group="fae.rules", name=name):
        return name
    raise argparse.ArgumentTypeError(
        f"invalid choice: {name!r} (choose from {', '.join(RULES)}, or install a package with a "
        "rule of this name)"
    )


#: Option → what argparse makes of it.
OPTIONS: dict[str, Settings] = {
    "--schema": value(
        "NAME|FILE", f"The logs' schema: {', '.join(PRESETS)}, or the path of your own .yaml file."
    ),
    "--valid-logs": value(
        "LOG", "Logs that make up the whole validation split; repeatable.", action="append"
    ),
    "--test-logs": value(
        "LOG", "Logs that make up the whole test split; repeatable.", action="append"
    ),
    "--max-reject-share": value(
        "SHARE", "Stop if more than this share of lines is malformed.", type=float
    ),
    "--append": flag(
        "Add LOGS to the data set OUT, as if all logs had been prepared at once. Needs the "
        "staged rows that --keep-work left. The schema and all parameters that you do not give "
        "stay those of OUT; --max-reject-share counts for the new logs only."
    ),
    "--valid": value(
        "SHARE|DAYS", "Held out of LOGS for validation: a share of the rows (0.1) or days (1d)."
    ),
    "--test": value(
        "SHARE|DAYS", "Held out for the test, after the validation rows: a share or days."
    ),
    "--min-count": value(
        "N|TABLE=N",
        "Fold ids with fewer training accesses into out-of-vocabulary; repeatable.",
        action="append",
    ),
    "--sample": value(
        "SHARE",
        "Calibrate on this share of the training rows; the FAE paper uses 0.05.",
        type=float,
    ),
    "--hot-budget": value(
        "SIZE", "GPU bytes for hot rows and their optimizer state: 512KiB, 256MiB, 2GiB."
    ),
    "--hot-share": value(
        "SHARE",
        "Instead of a budget: the share of training samples to make hot, such as 0.8.",
        type=float,
    ),
    "--rule": value(
        f"{{{','.join(RULES)}}}",
        "How rows are ranked: accesses (the most accessed for each byte, as in the FAE paper: for "
        "devices that read cold rows themselves), inputs (for the most wholly hot samples: where "
        "the host reads them), threshold (the paper's sampled search), per-table (a share of each "
        "table), or the name of another package's rule.",
        type=rule,
    ),
    "--objective": choice(
        OBJECTIVES,
        "What --rule inputs maximizes: inputs (hot samples of training, which speeds up "
        "training), future (hot samples expected among rows outside training, from each training "
        "sample left out in turn: for serving, evaluation and the next day), accesses (hot "
        "accesses), or time (the time saved on the device that --device-profile describes).",
    ),
    "--device-profile": value(
        "FILE",
        "What `fae bench-device` wrote; adds expected speed-ups, and serves --objective time.",
    ),
    "--dtype": choice(tuple(DTYPE_BYTES), "Type of an embedding element."),
    "--optimizer": choice(tuple(OPTIMIZER_STATE), "The optimizer whose state the budget counts."),
    "--cold-ids": choice(
        COLD_IDS,
        "exact: a row for each cold value. hashed: a table's cold values share "
        "--cold-buckets rows; a table with fewer values stays exact.",
    ),
    "--cold-buckets": value(
        "N", "The most cold rows of a table, with --cold-ids hashed.", type=int
    ),
    "--seed": value("N", "Seed of the shuffle and of the sample.", type=int),
    "--out": value("OUT", "The directory to write, or its URL (s3://…).", required=True),
    "--overwrite": flag("Replace an output that was made from other logs or parameters."),
    "--keep-work": flag("Keep the stages' outputs in OUT.work, which --append needs."),
    "--timings": flag(
        "Print where the time went, round by round. OUT.timings.json has it in any case, for "
        "`fae summary` to show."
    ),
    "--threads": value("N", "Threads of this process (default: one per core).", type=positive),
    "--workers": value("N", "Run on a local Dask cluster of N processes.", type=positive),
    "--scheduler": value(
        "ADDRESS",
        "Run on the Dask cluster at this address (tcp://host:8786). The default is "
        "$DASK_SCHEDULER_ADDRESS, if it is set.",
    ),
    "--scheduler-file": value("FILE", "Run on the cluster whose scheduler wrote this file."),
    "--memory": value(
        "SIZE",
        "Memory for this process and its local workers, such as 8GiB (default: half of "
        "the machine's). With less memory fewer tasks run at a time; the output is the same.",
    ),
}

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


def add_logs(command: argparse.ArgumentParser) -> None:
    """Add the argument LOGS."""
    command.add_argument(
        "logs",
        nargs="+",
        metavar="LOGS",
        help="Logs: paths, quoted globs or URLs; CSV, TSV, JSON lines or Parquet, plain or in .gz "
        "or .zst.",
    )
