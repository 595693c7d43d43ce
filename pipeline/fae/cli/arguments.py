"""Commands and options of `fae`, with their help. Parsing loads no engine.

An option that is not given is absent from the result: the functions behind the commands hold the
defaults, which the help reads from their signatures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fae.cli.completion import SHELLS
from fae.cli.options import OPTIONS, SYNTHETIC, add_logs, positive
from fae.cli.params_file import add_params_option, expand_params
from fae.cli.stage_arguments import add_stages
from fae.format.manifest import SPLITS as SPLIT_NAMES
from fae.format.program import USAGE_ERROR
from fae.format.serving import EXPORT_FORMATS
from fae.format.version import __version__
from fae_trainer.arguments import CommandParser, add_command, add_commands, add_options

_DESCRIPTION = """\
Find the embedding rows that nearly all accesses go to, give them the GPU bytes that you have, and
train on hot/cold-partitioned Parquet. Start with `fae prepare`."""

#: Commands whose options nobody keeps in a file.
_WITHOUT_PARAMS = {"completion", "init", "schema", "version"}


def parse(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return the command and the options given in a command line without the program's name.

    Paths may stand before, between and after options. Exits with 2 where the command line is wrong,
    and with 0 after help or version. Raises ParameterError where a file of options is wrong.
    """
    top = parser()
    if not words:
        top.print_help(sys.stderr)
        top.exit(USAGE_ERROR)
    if words[0] not in subparsers(top):
        top.parse_args(words[:1])
        raise AssertionError("an option of the program exits, and another word is an error")
    command = subparsers(top)[words[0]]
    options = vars(command.parse_intermixed_args(expand_params(command, words[0], words[1:])))
    options.pop("params", None)
    if words[0] == "prepare" and not {"schema", "append"} & set(options):
        command.error("--schema is required, except with --append")
    return words[0], options


def subparsers(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command."""
    (commands,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    return dict(commands.choices)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the program, with a parser for each command."""
    top = CommandParser(prog="fae", description=_DESCRIPTION, allow_abbrev=False)
    top.add_argument("--version", action="version", version=f"fae {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", title="commands")
    _add_beginnings(commands)
    add_stages(commands)
    _add_dataset_commands(commands)
    add_commands(commands)
    _add_other_commands(commands)
    for name, command in subparsers(top).items():
        if name not in _WITHOUT_PARAMS:
            add_params_option(command)
    return top


def _add_beginnings(commands: Any) -> None:
    schema = add_command(
        commands,
        "schema",
        "infer LOG --out FILE",
        "propose a schema for a log of your own",
        "Look at the beginning of a CSV, TSV, JSON-lines or Parquet log, and write a commented "
        "schema for it that says what it is unsure of. Read it before you prepare the log.",
    )
    schema.add_argument("action", choices=("infer",), metavar="infer", help="The one thing to do.")
    schema.add_argument("log", metavar="LOG", help="One file, or its URL.")
    schema.add_argument(
        "--out", type=Path, metavar="FILE", help="The file to write (default: standard output)."
    )
    init = add_command(
        commands,
        "init",
        "dvc LOGS... --schema NAME",
        "write dvc.yaml and params.yaml for your own logs",
        "Write dvc.yaml, with a stage for each command, and params.yaml, with their options, for "
        "logs of your own. Then: git init, dvc init, dvc repro. Existing files are not replaced.",
    )
    init.add_argument("tool", choices=("dvc",), metavar="dvc", help="What runs the stages.")
    add_logs(init)
    add_options(init, {"--schema": {**OPTIONS["--schema"], "required": True}})
    init.add_argument(
        "--hot-budget", metavar="SIZE", help="GPU bytes for hot rows (default: 256MiB)."
    )
    synth = add_command(
        commands,
        "synth",
        "KIND --out FILE",
        "write a synthetic log",
        "Write a synthetic log with the skew and dependence of a real one, and a label to learn.",
    )
    synth.add_argument("kind", choices=SYNTHETIC, metavar="KIND", help="criteo or avazu.")
    synth.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="The file to write; .gz and .zst are compressed.",
    )
    synth.add_argument(
        "--rows", type=positive, default=100_000, metavar="N", help="Rows (default: 100000)."
    )
    synth.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="The same seed gives the same bytes (default: 0).",
    )


def _add_dataset_commands(commands: Any) -> None:
    verify = add_command(
        commands,
        "verify",
        "DIR",
        "check a data set against its manifest",
        "Check a data set: checksums, rows, ids, hot and cold, vocabularies. The exit code is 1 "
        "if there is a fault.",
    )
    _add_dataset(verify)
    add_options(verify, {name: OPTIONS[name] for name in ("--threads",)})
    summary = add_command(
        commands,
        "summary",
        "DIR",
        "print rows, hot shares, budget and metrics",
        "Print a data set's rows, hot shares and budget, and what a model reached on it.",
    )
    _add_dataset(summary)
    summary.add_argument(
        "--run", type=Path, metavar="RUN", help="A run trained on it, to show its metrics."
    )
    report = add_command(
        commands,
        "report",
        "DIR --out FILE",
        "write an HTML page about a data set",
        "Write an HTML page about a data set: skew, hot set, a budget to take, rules, drift, runs.",
    )
    _add_dataset(report)
    page_help = "The page to write; its figures go beside it as PNGs."
    report.add_argument("--out", type=Path, required=True, metavar="FILE", help=page_help)
    runs_help = "A run trained on it, to show its learning curves and speed; repeatable."
    report.add_argument(
        "--run", action="append", dest="runs", type=Path, metavar="RUN", help=runs_help
    )
    report.add_argument(
        "--compare-rows",
        type=positive,
        metavar="N",
        help="Compare the rules on at most N training rows (default: 1000000).",
    )
    report.add_argument("--seed", type=int, metavar="N", help="Seed of that sample (default: 0).")


def _add_other_commands(commands: Any) -> None:
    export = add_command(
        commands,
        "export",
        "DIR RUN --out OUT",
        "write a trained model for serving",
        "Write the trained tables in raw values, one Parquet file per table: id, value, embedding. "
        "With --to, write instead a model that scores without the trainer, beside an encoder of "
        "raw rows, and a serving.json that names its inputs and outputs.",
    )
    _add_dataset(export)
    export.add_argument("run", type=Path, metavar="RUN", help="A run trained on it.")
    export.add_argument(
        "--to",
        choices=EXPORT_FORMATS,
        help="parquet: tables in raw values; onnx: a model for ONNX Runtime; torch: one for "
        "torch.export.load; safetensors: the weights alone (default: parquet).",
    )
    add_options(
        export,
        {
            name: OPTIONS[name]
            for name in (
                "--out",
                "--overwrite",
            )
        },
    )
    predict = add_command(
        commands,
        "predict",
        "LOGS... --run RUN --out FILE",
        "score the rows of new logs with a trained model",
        "Write the score of each row of new logs, which need no labels, with the rows' keys or "
        "numbers. The logs are like those that the model was trained on. Of a line that holds "
        "several samples, each has a score, and its number there as `element`. Every row needs a "
        "score, so the first malformed line is an error and nothing is written. In place of logs, "
        "name a data set to score a split of it.",
    )
    add_logs(predict)
    predict.add_argument(
        "--run", type=Path, required=True, metavar="RUN", help="The trained run's directory."
    )
    predict.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="The .csv or .parquet to write."
    )
    predict.add_argument(
        "--data",
        metavar="DIR",
        help="The data set that RUN was trained on (default: the one RUN names).",
    )
    predict.add_argument(
        "--split", choices=SPLIT_NAMES, help="The split of a data set to score (default: test)."
    )
    predict.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        help="Where the network runs (default: auto, which is CUDA if there is one).",
    )
    predict.add_argument(
        "--labels",
        choices=("auto", "present", "absent"),
        help="Whether the logs have labels (default: auto, which goes by the fields of a line).",
    )
    predict.add_argument(
        "--own-functions",
        action="store_true",
        default=None,
        help="Run the functions of your own that the data set's schema names.",
    )
    completion = add_command(
        commands,
        "completion",
        "SHELL",
        "print a script with which a shell completes commands",
        "Print the script with which a shell completes commands, options and paths. For bash: "
        "fae completion bash > ~/.local/share/bash-completion/completions/fae",
    )
    completion.add_argument("shell", choices=SHELLS, help="The shell.")
    add_command(commands, "version", "", "print the version", "Print the version.")


def _add_dataset(command: argparse.ArgumentParser) -> None:
    command.add_argument("dataset", metavar="DIR", help="A data set: a path or URL.")
