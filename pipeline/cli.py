"""`fae`: the stages as commands. It parses, calls and prints; what is done is done elsewhere."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from rich.markup import escape
from typer.core import TyperGroup

from pipeline import __version__, summary
from pipeline.cluster import Cluster, cluster, console
from pipeline.errors import FaeError
from pipeline.options import (
    DeviceFile,
    Dtype,
    Goal,
    HotBudget,
    HotShare,
    Logs,
    MaxRejectShare,
    MinCount,
    Optimizer,
    Out,
    Overwrite,
    Rule,
    Sample,
    Scheduler,
    SchemaName,
    Seed,
    Test,
    TestLogs,
    Threads,
    Valid,
    ValidLogs,
    Workers,
)
from pipeline.parameters import (
    CalibrateParameters,
    IngestParameters,
    PartitionParameters,
    ProfileParameters,
    min_counts,
)

USER_ERROR, INTERRUPTED = 1, 130


class _Commands(TyperGroup):
    """Commands whose users' mistakes end in one message and exit code 1, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FaeError as error:
            console.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        except OSError as error:
            place = f": {error.filename}" if error.filename else ""
            console.print(f"[bold red]error:[/] {error.strerror or error}{escape(place)}")
        except KeyboardInterrupt:
            console.print("interrupted; finished stages are kept, unfinished output is removed")
            raise typer.Exit(INTERRUPTED) from None
        raise typer.Exit(USER_ERROR)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find the embedding rows that nearly all accesses go to, give them the GPU bytes that "
    "you have, and train on hot/cold-partitioned Parquet. Start with `fae prepare`.",
)


@app.command()
def prepare(
    logs: Logs,
    schema: SchemaName,
    out: Out,
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
    seed: Seed = 0,
    overwrite: Overwrite = False,
    keep_work: Annotated[
        bool, typer.Option("--keep-work", help="Keep the stages' outputs in OUT.work.")
    ] = False,
    threads: Threads = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Logs to data set in one go: ingest, profile, calibrate and partition."""
    from pipeline.preparation import Preparation
    from pipeline.preparation import prepare as run

    parameters = Preparation(
        IngestParameters.of(max_reject_share=max_reject_share),
        ProfileParameters.of(
            valid=valid, test=test, min_count=min_counts(min_count or []), sample=sample, seed=seed
        ),
        _calibrate(
            hot_budget=hot_budget,
            hot_share=hot_share,
            dtype=dtype,
            optimizer=optimizer,
            rule=rule,
            objective=objective,
            device_profile=device_profile,
        ),
        PartitionParameters.of(seed=seed),
    )
    found, loaded = _logs(logs, schema, valid_logs, test_logs)
    with cluster(threads, workers, scheduler) as here:
        manifest, worked = run(
            found, loaded, out, here, parameters, overwrite=overwrite, keep_work=keep_work
        )
    if not worked:
        console.print(f"{out} is already made from these logs and parameters; nothing to do.")
    summary.print_dataset(manifest, out)


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
) -> None:
    """Stage 1: parse logs into typed columns; malformed lines go to OUT/rejects."""
    from pipeline.staging import ingest as run

    parameters = IngestParameters.of(max_reject_share=max_reject_share)
    found, loaded = _logs(logs, schema, valid_logs, test_logs)
    with cluster(threads, workers, scheduler) as here:
        summary.print_staging(run(found, loaded, out, here, parameters, overwrite=overwrite))


@app.command()
def profile(
    staging: Annotated[Path, typer.Argument(help="What `fae ingest` made.")],
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
) -> None:
    """Stage 2: split the rows, and count the accesses of each embedding row in train."""
    from pipeline.frequencies import profile as run
    from pipeline.staging import Staging

    parameters = ProfileParameters.of(
        valid=valid, test=test, min_count=min_counts(min_count or []), sample=sample, seed=seed
    )
    with cluster(threads, workers, scheduler) as here:
        frequencies = run(Staging.read(staging), out, here, parameters, overwrite=overwrite)
    summary.print_frequencies(frequencies)


@app.command()
def calibrate(
    staging: Annotated[Path, typer.Argument(help="What `fae ingest` made.")],
    frequencies: Annotated[Path, typer.Argument(help="What `fae profile` made.")],
    out: Out,
    hot_budget: HotBudget = None,
    hot_share: HotShare = None,
    dtype: Dtype = "float32",
    optimizer: Optimizer = "rowwise_adagrad",
    rule: Rule = "inputs",
    objective: Goal = "inputs",
    device_profile: DeviceFile = None,
    overwrite: Overwrite = False,
    threads: Threads = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Stage 3: choose the hot rows that the byte budget holds."""
    from pipeline.calibration import calibrate as run
    from pipeline.frequencies import Frequencies
    from pipeline.staging import Staging

    parameters = _calibrate(
        hot_budget=hot_budget,
        hot_share=hot_share,
        dtype=dtype,
        optimizer=optimizer,
        rule=rule,
        objective=objective,
        device_profile=device_profile,
    )
    schema = Staging.read(staging).schema
    with cluster(threads, workers, scheduler) as here:
        calibration = run(
            Frequencies.read(frequencies), schema, out, here, parameters, overwrite=overwrite
        )
    summary.print_calibration(calibration)


@app.command()
def partition(
    staging: Annotated[Path, typer.Argument(help="What `fae ingest` made.")],
    frequencies: Annotated[Path, typer.Argument(help="What `fae profile` made.")],
    hot_set: Annotated[Path, typer.Argument(help="What `fae calibrate` made.")],
    out: Out,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    threads: Threads = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Stage 4: write the shuffled hot/cold data set with its vocabularies and manifest."""
    from pipeline.calibration import Calibration
    from pipeline.dataset import write_dataset
    from pipeline.frequencies import Frequencies
    from pipeline.staging import Staging

    with cluster(threads, workers, scheduler) as here:
        manifest = write_dataset(
            Staging.read(staging),
            Frequencies.read(frequencies),
            Calibration.read(hot_set),
            out,
            here,
            PartitionParameters.of(seed=seed),
            overwrite=overwrite,
        )
    summary.print_dataset(manifest, out)


@app.command()
def verify(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="A data set.")],
    threads: Threads = None,
) -> None:
    """Check a data set: checksums, rows, ids, hot and cold, vocabulary. Exit code 1 on a fault."""
    from pipeline.verification import verify as run

    found = run(dataset, Cluster(threads))
    for fault in found.faults:
        console.print(f"[red]fault:[/] {escape(fault)}", soft_wrap=True)
    if found.faults:
        raise typer.Exit(USER_ERROR)
    print(f"{dataset}: {found.files} files and {found.rows:,} rows are as the manifest says.")


@app.command("summary")
def summarise(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="A data set.")],
    run: Annotated[
        Path | None, typer.Option("--run", help="A run trained on it, for its measures.")
    ] = None,
) -> None:
    """Print a data set's rows, hot shares and budget, and what a model reached on it."""
    from pipeline.manifest import Manifest

    summary.print_dataset(Manifest.read(dataset), dataset)
    if run is not None:
        summary.print_run(run)


@app.command()
def synth(
    kind: Annotated[str, typer.Argument(help="The log to imitate: criteo or avazu.")],
    out: Annotated[Path, typer.Option(help="The file to write; .gz or .zst to compress.")],
    rows: Annotated[int, typer.Option(help="Rows.", min=1)] = 100_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
) -> None:
    """Write a synthetic log with a real one's skew and dependence, and a label to learn."""
    from pipeline.synthetic import write_log

    with summary.rows_progress("synth", rows) as advance:
        log = write_log(kind, rows, out, seed, advance)
    print(f"{log.path}: {log.rows:,} rows, {log.bytes:,} bytes")
    print(f"the best AUC that a model can reach on it: {log.best_auc:.4f}")


@app.command()
def export(
    dataset: Annotated[Path, typer.Argument(metavar="DIR", help="A data set.")],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run trained on it.")],
    out: Out,
    overwrite: Overwrite = False,
) -> None:
    """Write the trained tables in raw values, a Parquet file a table: id, value, embedding."""
    from pipeline.export import export as write

    tables = write(dataset, run, out, overwrite=overwrite)
    print(f"{out}: {len(tables)} tables, {sum(table.rows for table in tables):,} rows")


_FORWARDED = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=_FORWARDED)
def train(context: typer.Context) -> None:
    """Train a DLRM on a data set: `fae train DIR --out RUN`; see `fae train --help`."""
    _forward("train", context.args)


@app.command(context_settings=_FORWARDED)
def evaluate(context: typer.Context) -> None:
    """Score a split with a trained model: `fae evaluate DIR --run RUN`; see its `--help`."""
    _forward("evaluate", context.args)


@app.command("bench-device", context_settings=_FORWARDED)
def bench_device(context: typer.Context) -> None:
    """Measure what hot and cold inputs cost here: `fae bench-device --out device.json`."""
    _forward("bench-device", context.args)


def _forward(command: str, arguments: list[str]) -> NoReturn:
    """Run a command of the trainer, which must not need typer, with its own options."""
    from trainer.__main__ import main as trainer

    raise typer.Exit(trainer([command, *arguments], prog="fae"))


@app.command()
def version() -> None:
    """Print the version."""
    print(f"fae {__version__}")


def _calibrate(device_profile: Path | None, **values: object) -> CalibrateParameters:
    """The parameters of calibration, the device profile read from its file."""
    from pipeline.device import DeviceProfile

    profile = DeviceProfile.read(device_profile) if device_profile else None
    return CalibrateParameters.of(device_profile=profile, **values)


def _logs(
    logs: list[str], schema: str, valid_logs: list[str] | None, test_logs: list[str] | None
) -> tuple[list[Any], Any]:
    """The logs of all splits and the loaded schema."""
    from pipeline.logs import find_logs
    from pipeline.schema import load_schema

    loaded = load_schema(schema)
    found = find_logs(logs, loaded)
    found += find_logs(valid_logs or [], loaded, "valid")
    found += find_logs(test_logs or [], loaded, "test")
    return found, loaded


def _terminate(signum: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)


def main() -> None:
    """The entry point of `fae`."""
    signal.signal(signal.SIGTERM, _terminate)
    app()


if __name__ == "__main__":
    main()
