"""The commands that check, show, train on and export a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.markup import escape

from fae.cli import printing
from fae.cli.app import USER_ERROR, app
from fae.cli.options import Dataset, Out, Overwrite, Threads
from fae.commit.outputs import read_manifest
from fae.execution.executor import Executor
from fae.execution.progress import console
from fae.format.version import __version__
from fae.storage.folder import Folder


@app.command()
def verify(
    dataset: Dataset,
    threads: Threads = None,
) -> None:
    """Check a data set: checksums, rows, ids, hot and cold, vocabulary. Exit code 1 on a fault."""
    from fae.dataset.verify import verify as run

    found = run(dataset, Executor(threads))
    for fault in found.faults:
        console.print(f"[red]fault:[/] {escape(fault)}", soft_wrap=True)
    if found.faults:
        raise typer.Exit(USER_ERROR)
    print(f"{dataset}: {found.files} files and {found.rows:,} rows are as the manifest says.")


@app.command("summary")
def summarise(
    dataset: Dataset,
    run: Annotated[
        Path | None, typer.Option("--run", help="A run trained on it, for its measures.")
    ] = None,
) -> None:
    """Print a data set's rows, hot shares and budget, and what a model reached on it."""
    folder = Folder.of(dataset)
    printing.print_dataset(read_manifest(folder), folder)
    if run is not None:
        printing.print_run(run)


@app.command()
def report(
    dataset: Dataset,
    out: Annotated[Path, typer.Option("--out", help="The page to write; PNGs go beside it.")],
    compare_rows: Annotated[
        int, typer.Option(help="Compare the rules on at most this many train inputs.", min=1)
    ] = 1_000_000,
    seed: Annotated[int, typer.Option(help="The seed of that sample.", min=0)] = 0,
) -> None:
    """Draw a data set on one HTML page: skew, hot set, rules side by side, rejects."""
    from fae.reporting import report as write

    written = write(Folder.of(dataset).path, out, compare_rows=compare_rows, seed=seed)
    print(f"{written.page}, and {len(written.figures)} figures in {written.figures[0].parent}")


@app.command()
def synth(
    kind: Annotated[str, typer.Argument(help="The log to imitate: criteo or avazu.")],
    out: Annotated[Path, typer.Option(help="The file to write; .gz or .zst to compress.")],
    rows: Annotated[int, typer.Option(help="Rows.", min=1)] = 100_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
) -> None:
    """Write a synthetic log with a real one's skew and dependence, and a label to learn."""
    from fae.synthetic import write_log

    with printing.rows_progress("synth", rows) as advance:
        log = write_log(kind, rows, out, seed, advance)
    print(f"{log.path}: {log.rows:,} rows, {log.bytes:,} bytes")
    print(f"the best AUC that a model can reach on it: {log.best_auc:.4f}")


@app.command()
def export(
    dataset: Dataset,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run trained on it.")],
    out: Out,
    overwrite: Overwrite = False,
) -> None:
    """Write the trained tables in raw values, a Parquet file a table: id, value, embedding."""
    from fae.api.export import export as write

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


@app.command("import", context_settings=_FORWARDED)
def import_run(context: typer.Context) -> None:
    """Carry a model to another data set: `fae import RUN --data DIR --out NEWRUN`; see `--help`."""
    _forward("import", context.args)


@app.command("bench-device", context_settings=_FORWARDED)
def bench_device(context: typer.Context) -> None:
    """Measure what hot and cold inputs cost here: `fae bench-device --out device.json`."""
    _forward("bench-device", context.args)


def _forward(command: str, arguments: list[str]) -> NoReturn:
    """Run a command of the trainer, which must not need typer, with its own options."""
    from fae_trainer.__main__ import main as trainer

    raise typer.Exit(trainer([command, *arguments], prog="fae"))


@app.command()
def version() -> None:
    """Print the version."""
    print(f"fae {__version__}")
