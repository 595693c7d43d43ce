"""The commands that make a data set: the four stages, and all of them in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fae.cli import printing
from fae.cli.app import app
from fae.cli.options import (
    Append,
    ColdBuckets,
    ColdIds,
    DeviceFile,
    Dtype,
    Goal,
    HotBudget,
    HotShare,
    Logs,
    MaxRejectShare,
    Memory,
    MinCount,
    Optimizer,
    Out,
    Overwrite,
    Rule,
    Sample,
    Scheduler,
    SchedulerFile,
    SchemaName,
    SchemaNameOrNone,
    Seed,
    Test,
    TestLogs,
    Threads,
    Valid,
    ValidLogs,
    Workers,
)
from fae.dataset.parameters import PartitionParameters
from fae.execution.executor import open_executor
from fae.execution.progress import console
from fae.format.errors import ParameterError
from fae.hotset.parameters import CalibrateParameters
from fae.ingestion.parameters import IngestParameters
from fae.profiling.parameters import ProfileParameters, parse_min_counts
from fae.storage.folder import Folder

#: The options that say where to run.
_PLACE = ("threads", "workers", "scheduler", "scheduler_file", "memory")


@app.command()
def prepare(
    context: typer.Context,
    logs: Logs,
    out: Out,
    schema: SchemaNameOrNone = None,
    append: Append = False,
    hot_budget: HotBudget = None,
    hot_share: HotShare = None,
    valid_logs: ValidLogs = None,
    test_logs: TestLogs = None,
    max_reject_share: MaxRejectShare = 0.001,
    valid: Valid = "0.1",
    test: Test = "0.1",
    min_count: MinCount = None,
    sample: Sample = 1.0,
    dtype: Dtype = "float32",
    optimizer: Optimizer = "rowwise_adagrad",
    rule: Rule = "inputs",
    objective: Goal = "inputs",
    device_profile: DeviceFile = None,
    cold_ids: ColdIds = "exact",
    cold_buckets: ColdBuckets = 0,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    keep_work: Annotated[
        bool,
        typer.Option(
            "--keep-work", help="Keep the stages' outputs in OUT.work, which --append needs."
        ),
    ] = False,
    threads: Threads = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    scheduler_file: SchedulerFile = None,
    memory: Memory = None,
) -> None:
    """Logs to data set in one go: ingest, profile, calibrate and partition."""
    from fae.preparation import Preparation
    from fae.preparation import prepare as run

    if append:
        _append(context, logs, out, schema, valid_logs, test_logs)
        return
    if schema is None:
        raise typer.BadParameter("it is needed, except with --append.", param_hint="--schema")
    parameters = Preparation(
        IngestParameters.of(max_reject_share=max_reject_share),
        ProfileParameters.of(
            valid=valid,
            test=test,
            min_count=parse_min_counts(min_count or []),
            sample=sample,
            seed=seed,
        ),
        _calibrate(
            hot_budget=hot_budget,
            hot_share=hot_share,
            dtype=dtype,
            optimizer=optimizer,
            rule=rule,
            objective=objective,
            device_profile=device_profile,
            cold_ids=cold_ids,
            cold_buckets=cold_buckets,
        ),
        PartitionParameters.of(seed=seed),
    )
    found, loaded = _logs(logs, schema, valid_logs, test_logs)
    with open_executor(threads, workers, scheduler, scheduler_file, memory) as here:
        manifest, worked = run(
            found, loaded, out, here, parameters, overwrite=overwrite, keep_work=keep_work
        )
    if not worked:
        console.print(f"{out} is already made from these logs and parameters; nothing to do.")
    printing.print_dataset(manifest, Folder.of(out))


def _append(
    context: typer.Context,
    logs: list[str],
    out: str,
    schema: str | None,
    valid_logs: list[str] | None,
    test_logs: list[str] | None,
) -> None:
    """Add logs to a data set; parameters are its own but for those on the command line."""
    from fae.appending.append import append as run
    from fae.commit.outputs import damage_reported, read_manifest
    from fae.format.manifest import MANIFEST_FILE
    from fae.hotset.device_profile import DeviceProfile
    from fae.logs.files import split_logs
    from fae.logs.schema import Schema, load_schema
    from fae.storage.folder import Folder

    options = context.params
    if options["overwrite"]:
        raise ParameterError(
            "--append and --overwrite exclude each other: one adds to OUT, the other makes it anew."
        )
    given = {
        name: value
        for name, value in options.items()
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
    if "min_count" in given:
        given["min_count"] = parse_min_counts(given["min_count"])
    if "device_profile" in given:
        given["device_profile"] = DeviceProfile.read(given["device_profile"])
    if schema:
        loaded = load_schema(schema)
    else:
        with damage_reported(f"{out}/{MANIFEST_FILE}"):
            loaded = Schema.model_validate(read_manifest(Folder.of(out)).schema)
    found = split_logs(logs, valid_logs or [], test_logs or [], loaded)
    places = [options[name] for name in _PLACE]
    with open_executor(*places) as here:
        manifest, worked = run(found, loaded, out, here, given, keep_work=options["keep_work"])
    if not worked:
        console.print(f"{out} has these logs since an earlier call that was cut; nothing to do.")
    printing.print_dataset(manifest, Folder.of(out))


@app.command()
def ingest(
    logs: Logs,
    schema: SchemaName,
    out: Out,
    valid_logs: ValidLogs = None,
    test_logs: TestLogs = None,
    max_reject_share: MaxRejectShare = 0.001,
    overwrite: Overwrite = False,
    threads: Threads = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    scheduler_file: SchedulerFile = None,
    memory: Memory = None,
) -> None:
    """Stage 1: parse logs into typed columns; malformed lines go to OUT/rejects."""
    from fae.ingestion.stage import ingest as run

    parameters = IngestParameters.of(max_reject_share=max_reject_share)
    found, loaded = _logs(logs, schema, valid_logs, test_logs)
    with open_executor(threads, workers, scheduler, scheduler_file, memory) as here:
        printing.print_staging(run(found, loaded, out, here, parameters, overwrite=overwrite))


@app.command()
def profile(
    staging: Annotated[str, typer.Argument(help="What `fae ingest` made.")],
    out: Out,
    valid: Valid = "0.1",
    test: Test = "0.1",
    min_count: MinCount = None,
    sample: Sample = 1.0,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    threads: Threads = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    scheduler_file: SchedulerFile = None,
    memory: Memory = None,
) -> None:
    """Stage 2: split the rows, and count the accesses of each embedding row in train."""
    from fae.ingestion.stage import Staging
    from fae.profiling.stage import profile as run

    parameters = ProfileParameters.of(
        valid=valid,
        test=test,
        min_count=parse_min_counts(min_count or []),
        sample=sample,
        seed=seed,
    )
    with open_executor(threads, workers, scheduler, scheduler_file, memory) as here:
        frequencies = run(Staging.read(staging), out, here, parameters, overwrite=overwrite)
    printing.print_frequencies(frequencies)


@app.command()
def calibrate(
    staging: Annotated[str, typer.Argument(help="What `fae ingest` made.")],
    frequencies: Annotated[str, typer.Argument(help="What `fae profile` made.")],
    out: Out,
    hot_budget: HotBudget = None,
    hot_share: HotShare = None,
    dtype: Dtype = "float32",
    optimizer: Optimizer = "rowwise_adagrad",
    rule: Rule = "inputs",
    objective: Goal = "inputs",
    device_profile: DeviceFile = None,
    cold_ids: ColdIds = "exact",
    cold_buckets: ColdBuckets = 0,
    overwrite: Overwrite = False,
    threads: Threads = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    scheduler_file: SchedulerFile = None,
    memory: Memory = None,
) -> None:
    """Stage 3: choose the hot rows that the byte budget holds."""
    from fae.hotset.stage import calibrate as run
    from fae.ingestion.stage import Staging
    from fae.profiling.frequencies import Frequencies

    parameters = _calibrate(
        hot_budget=hot_budget,
        hot_share=hot_share,
        dtype=dtype,
        optimizer=optimizer,
        rule=rule,
        objective=objective,
        device_profile=device_profile,
        cold_ids=cold_ids,
        cold_buckets=cold_buckets,
    )
    with open_executor(threads, workers, scheduler, scheduler_file, memory) as here:
        calibration = run(
            Staging.read(staging),
            Frequencies.read(frequencies),
            out,
            here,
            parameters,
            overwrite=overwrite,
        )
    printing.print_calibration(calibration)


@app.command()
def partition(
    staging: Annotated[str, typer.Argument(help="What `fae ingest` made.")],
    frequencies: Annotated[str, typer.Argument(help="What `fae profile` made.")],
    hot_set: Annotated[str, typer.Argument(help="What `fae calibrate` made.")],
    out: Out,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    threads: Threads = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    scheduler_file: SchedulerFile = None,
    memory: Memory = None,
) -> None:
    """Stage 4: write the shuffled hot/cold data set with its vocabularies and manifest."""
    from fae.dataset.stage import write_dataset
    from fae.hotset.stage import Calibration
    from fae.ingestion.stage import Staging
    from fae.profiling.frequencies import Frequencies

    with open_executor(threads, workers, scheduler, scheduler_file, memory) as here:
        manifest = write_dataset(
            Staging.read(staging),
            Frequencies.read(frequencies),
            Calibration.read(hot_set),
            out,
            here,
            PartitionParameters.of(seed=seed),
            overwrite=overwrite,
        )
    printing.print_dataset(manifest, Folder.of(out))


def _calibrate(device_profile: Path | None, **values: object) -> CalibrateParameters:
    """The parameters of calibration, the device profile read from its file."""
    from fae.hotset.device_profile import DeviceProfile

    profile = DeviceProfile.read(device_profile) if device_profile else None
    return CalibrateParameters.of(device_profile=profile, **values)


def _logs(
    logs: list[str], schema: str, valid_logs: list[str] | None, test_logs: list[str] | None
) -> tuple[list[Any], Any]:
    """The logs of all splits and the loaded schema."""
    from fae.logs.files import split_logs
    from fae.logs.schema import load_schema

    loaded = load_schema(schema)
    return split_logs(logs, valid_logs or [], test_logs or [], loaded), loaded
