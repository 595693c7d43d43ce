"""What each command of `fae` calls, and what it prints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fae.api import stages
from fae.cli.arguments import parse, parser, subparsers
from fae.cli.completion import make_script
from fae.format.errors import ParameterError
from fae.format.program import USER_ERROR, run_program
from fae.format.terminal import print_text
from fae.format.version import __version__
from fae_trainer.commands import COMMANDS as TRAINER_COMMANDS
from fae_trainer.commands import RESUME_HINT as TRAINER_HINT

Result = TypeVar("Result")

_RESUME_HINT = "finished tasks are kept; run the same command to resume"


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default the process's own; return its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    of_trainer = words[:1] and words[0] in TRAINER_COMMANDS
    return run_program(lambda: _run(words), TRAINER_HINT if of_trainer else _RESUME_HINT)


def _run(words: Sequence[str]) -> int:
    name, options = parse(words)
    if name in TRAINER_COMMANDS:
        return TRAINER_COMMANDS[name](options)
    return _COMMANDS[name](**options) or 0


def _prepare(**options: Any) -> None:
    from fae.cli.printing import print_dataset

    run = stages.append if options.pop("append", False) else stages.prepare
    dataset = _measured(run, options)
    print_dataset(dataset.manifest, dataset.folder)


def _ingest(**options: Any) -> None:
    from fae.cli.printing import print_staging

    print_staging(_measured(stages.ingest, options))


def _profile(**options: Any) -> None:
    from fae.cli.printing import print_frequencies

    print_frequencies(_measured(stages.profile, options))


def _calibrate(**options: Any) -> None:
    from fae.cli.printing import print_hot_set

    print_hot_set(_measured(stages.calibrate, options))


def _partition(**options: Any) -> None:
    from fae.cli.printing import print_dataset

    dataset = _measured(stages.partition, options)
    print_dataset(dataset.manifest, dataset.folder)


def _measured(stage: Callable[..., Result], options: dict[str, Any]) -> Result:
    """Return what a stage returns; with `timings`, print where its time went."""
    from fae.execution.timings import count_start_up

    show = options.pop("timings", False)
    count_start_up()
    result = stage(**options)
    if show:
        from fae.cli.print_timings import print_timings

        print_timings(options["out"])
    return result


def _verify(dataset: str, threads: int | None = None) -> int:
    from fae.api.dataset import Dataset

    found = Dataset(dataset).verify(threads)
    for fault in found.faults:
        print_text(f"fault: {fault}", sys.stderr)
    if found.faults:
        return USER_ERROR
    print_text(f"{dataset}: {found.files} files and {found.rows:,} rows are as the manifest says.")
    return 0


def _summary(dataset: str, run: Path | None = None) -> None:
    from fae.api.dataset import Dataset
    from fae.cli.print_timings import print_timings
    from fae.cli.printing import print_dataset, print_run

    opened = Dataset(dataset)
    print_dataset(opened.manifest, opened.folder)
    print_timings(opened.folder)
    if run is not None:
        print_run(run)


def _report(dataset: str, **options: Any) -> None:
    from fae.reporting.report import write_report
    from fae.storage.folder import Folder

    written = write_report(Folder.of(dataset).path, **options)
    print_text(f"{written.page}, and {len(written.figures)} figures in {written.figures[0].parent}")


def _export(**options: Any) -> None:
    from fae.api.export import export
    from fae.format.errors import require

    require("torch", "train", "Export")
    files = export(**options)
    rows = f"{sum(file.rows for file in files):,} rows"
    if options.get("to", "parquet") == "parquet":
        print_text(f"{options['out']}: {len(files)} tables, {rows}")
    else:
        print_text(f"{options['out']}: {', '.join(file.path for file in files)} with {rows}")


def _predict(**options: Any) -> None:
    from fae.api.predict import predict
    from fae.format.errors import require

    require("torch", "train", "Prediction")
    rows = predict(**options)
    print_text(f"{options['out']}: {rows:,} rows")


def _synth(kind: str, out: Path, rows: int, seed: int) -> None:
    from fae.cli.printing import rows_progress
    from fae.synthetic.log import write_log

    with rows_progress("synth", rows) as advance:
        log = write_log(kind, rows, out, seed, advance)
    print_text(f"{log.path}: {log.rows:,} rows, {log.bytes:,} bytes")
    print_text(f"the best AUC that a model can reach on it: {log.best_auc:.4f}")


def _schema(action: str, log: str, out: Path | None = None) -> None:
    from fae.inference.infer import infer_schema

    assert action == "infer"
    text = infer_schema(log)
    if out is None:
        print_text(text.removesuffix("\n"))
        return
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ParameterError(f"--out {out} exists. Name another file, or remove it.") from None
    print_text(f"{out}: read it, correct it, and give it to `fae prepare` as --schema.")


def _init(tool: str, logs: list[str], schema: str, **options: Any) -> None:
    from fae.api.dvc_project import PARAMETERS_FILE, STAGES_FILE, write_dvc_project

    assert tool == "dvc"
    write_dvc_project(logs, schema, Path(), **options)
    print_text(f"{STAGES_FILE} and {PARAMETERS_FILE}: read them, and run `dvc repro`.")


def _completion(shell: str) -> None:
    top = parser()
    print_text(make_script(shell, top, subparsers(top)))


def _version() -> None:
    print_text(f"fae {__version__}")


_COMMANDS: dict[str, Callable[..., int | None]] = {
    "prepare": _prepare,
    "ingest": _ingest,
    "profile": _profile,
    "calibrate": _calibrate,
    "partition": _partition,
    "verify": _verify,
    "summary": _summary,
    "report": _report,
    "export": _export,
    "predict": _predict,
    "synth": _synth,
    "schema": _schema,
    "init": _init,
    "completion": _completion,
    "version": _version,
}
