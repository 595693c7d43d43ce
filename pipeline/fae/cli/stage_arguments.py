"""The commands that make a data set: all stages in one go, and one by one."""

from __future__ import annotations

from typing import Any

from fae.api import stages
from fae.cli.options import EXECUTION, HOT_SET, LOGS, SPLITS, add_groups, add_logs
from fae_trainer.arguments import add_command


def add_stages(commands: Any) -> None:
    """Add `prepare` and the four stages to a parser's subparsers."""
    _add_prepare(commands)
    _add_single_stages(commands)


def _add_prepare(commands: Any) -> None:
    prepare = add_command(
        commands,
        "prepare",
        "LOGS... --schema NAME --hot-budget SIZE --out OUT",
        "prepare a data set from raw logs in one go",
        "Prepare a data set from raw logs: ingest, profile, calibrate and partition in one go. "
        "After an interruption, run the same command to resume.",
    )
    add_logs(prepare)
    add_groups(
        prepare,
        stages.prepare,
        {
            "logs": (*LOGS, "--append"),
            "splits and rare values": SPLITS,
            "hot set": HOT_SET,
            "output": ("--out", "--seed", "--overwrite", "--keep-work", "--timings"),
            "where to run": EXECUTION,
        },
        optional=("--schema",),  # with --append, the data set's own
    )


def _add_single_stages(commands: Any) -> None:
    ingest = add_command(
        commands,
        "ingest",
        "LOGS... --schema NAME --out OUT",
        "stage 1: parse logs into typed columns",
        "Stage 1: parse logs into typed columns. Malformed lines go to OUT/rejects.",
    )
    add_logs(ingest)
    add_groups(ingest, stages.ingest, {"logs": LOGS, **_output()})
    profile = add_command(
        commands,
        "profile",
        "STAGING --out OUT",
        "stage 2: count the accesses to each embedding row",
        "Stage 2: split the rows, and count the accesses to each embedding row in train.",
    )
    _add_inputs(profile, "staging")
    splits = {"splits and rare values": (*SPLITS, "--seed")}
    add_groups(profile, stages.profile, {**splits, **_output()})
    calibrate = add_command(
        commands,
        "calibrate",
        "STAGING FREQUENCIES --hot-budget SIZE --out OUT",
        "stage 3: choose the hot rows",
        "Stage 3: choose the hot rows that the byte budget holds.",
    )
    _add_inputs(calibrate, "staging", "frequencies")
    add_groups(calibrate, stages.calibrate, {"hot set": HOT_SET, **_output()})
    partition = add_command(
        commands,
        "partition",
        "STAGING FREQUENCIES HOT_SET --out OUT",
        "stage 4: write the hot/cold data set",
        "Stage 4: write the shuffled hot/cold data set with its vocabularies and manifest.",
    )
    _add_inputs(partition, "staging", "frequencies", "hot_set")
    add_groups(partition, stages.partition, _output("--seed"))


def _output(*more: str) -> dict[str, tuple[str, ...]]:
    output = ("--out", *more, "--overwrite", "--timings")
    return {"output": output, "where to run": EXECUTION}


def _add_inputs(command: Any, *names: str) -> None:
    makers = {"staging": "ingest", "frequencies": "profile", "hot_set": "calibrate"}
    for name in names:
        command.add_argument(
            name, metavar=name.upper(), help=f"The output of `fae {makers[name]}`."
        )
