"""The trainer's commands and options, for `python -m fae_trainer` and `fae` alike.

An option that is not given is absent from the result, so that a resumed run can tell it from one
that repeats a default.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from fae.format.manifest import SPLITS
from fae.format.terminal import make_visible
from fae.format.version import __version__
from fae_trainer.parameters import (
    AMPS,
    CACHES,
    DEVICES,
    DTYPES,
    LOGGERS,
    MODELS,
    OPTIMIZERS,
    PLACEMENTS,
    SCHEDULES,
)

Settings = dict[str, Any]


class CommandParser(argparse.ArgumentParser):
    """A parser of command lines whose messages are visible: a file's name may be an argument."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the process with `status`, after `message` on standard error."""
        super().exit(status, message and make_visible(message))


def value(metavar: str, text: str, **more: Any) -> Settings:
    """Return the settings of an option that takes a value; `more` are argparse's own."""
    return {"metavar": metavar, "help": text, **more}


def choice(choices: Sequence[str], text: str) -> Settings:
    """Return the settings of an option that takes one of `choices`."""
    return {"choices": choices, "help": text}


def flag(text: str) -> Settings:
    """Return the settings of an option that takes no value."""
    return {"action": "store_true", "help": text}


def add_options(parser: Any, options: Mapping[str, Settings]) -> None:
    """Add options to a parser or to a group of one."""
    for option, settings in options.items():
        parser.add_argument(option, **settings)


def _readable(path: str) -> str:
    """Return the place of a data set, which may be a URL in S3 only."""
    if "://" in path and not path.startswith("s3://"):
        raise argparse.ArgumentTypeError(
            f"{path} is a URL, and training reads s3:// and local disks. Copy the data set to one."
        )
    return path


def _widths(text: str) -> tuple[int, ...]:
    """Return the layer widths in a text such as 512-256-1."""
    parts = text.split("-")
    if not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of widths such as 512-256-16")
    return tuple(int(part) for part in parts)


_MODEL = {
    "--model": choice(
        tuple(MODELS),
        "Layer widths: kaggle has bottom 512-256-64-DIM and top 512-256-1, terabyte bottom "
        "512-256-DIM and top 512-512-256-1 (default: kaggle).",
    ),
    "--bottom-mlp": value(
        "N-N-DIM",
        "Widths of the bottom MLP's layers, instead of the model's; the last must be the "
        "embeddings' dimension, unless they have several.",
        type=_widths,
    ),
    "--top-mlp": value(
        "N-N-1",
        "Widths of the top MLP's layers, instead of the model's; the last must be 1.",
        type=_widths,
    ),
    "--dtype": choice(DTYPES, "Precision of weights and arithmetic (default: float32)."),
    "--amp": choice(
        AMPS,
        "bf16: compute the MLPs and the dot products in bfloat16; weights, embeddings and their "
        "updates stay float32 (default: none).",
    ),
    "--tf32": flag("Let CUDA multiply float32 matrices in TF32."),
}

_TRAINING = {
    "--optimizer": choice(
        OPTIMIZERS,
        "Optimizer of the embedding rows; the MLPs use SGD or Adagrad to match (default: the one "
        "that the hot budget counts, else rowwise_adagrad).",
    ),
    "--lr": value(
        "RATE",
        "Learning rate of the embeddings (default: sgd 0.1, rowwise_adagrad 0.02).",
        type=float,
    ),
    "--dense-lr": value(
        "RATE", "Learning rate of the MLPs (default: sgd 0.1, rowwise_adagrad 0.005).", type=float
    ),
    "--clip-norm": value(
        "NORM",
        "Clip the norm of the MLPs' gradients; embedding rows are not clipped (default: 0, no "
        "clipping).",
        type=float,
    ),
    "--batch-size": value("N", "Samples in a batch (default: 2048).", type=int),
    "--epochs": value("N", "Passes over the train split (default: 1).", type=int),
    "--schedule": choice(
        SCHEDULES,
        "The order of hot and cold batches: interleaved, evenly; shuffled, at random; phases, all "
        "cold, then all hot; adaptive, R %% of the cold, R %% of the hot, where the validation "
        "loss adjusts R (default: interleaved).",
    ),
    "--mixed-windows": value(
        "N",
        "Mix the rows of N windows at a time, drawn at random from all files; a window is a row "
        "group, or as many as have 65,536 rows. More is closer to a full shuffle and takes memory "
        "for about four times N windows (default: 1).",
        type=int,
    ),
    "--seed": value("N", "Seed of the initial weights and the batch order (default: 0).", type=int),
    "--eval-every": value(
        "BATCHES",
        "Evaluate on the valid split after this many batches, and at the end of each epoch "
        "(default: five times an epoch).",
        type=int,
    ),
    "--eval-every-samples": value(
        "N",
        "The same by samples, whatever the batch size: evaluate after the batches that come "
        "closest to N samples.",
        type=int,
    ),
    "--patience": value(
        "N",
        "Stop when N evaluations in a row have not lowered the valid log loss; the run keeps its "
        "last weights (default: 0, never).",
        type=int,
    ),
    "--checkpoint-every": value(
        "BATCHES",
        "Save a checkpoint after this many batches, and at the end of each epoch (default: 0, only "
        "then).",
        type=int,
    ),
    "--no-cuda-graph": {
        "dest": "cuda_graph",
        "action": "store_false",
        "help": "On CUDA, launch a step's kernels one by one instead of as a CUDA graph.",
    },
}

_MACHINE = {
    "--cache": choice(
        CACHES,
        "Keep decoded samples for later epochs and evaluations, on the host or on the device "
        "(default: auto, on the device or else on the host, where they fit a quarter of the free "
        "memory).",
    ),
    "--verify": flag(
        "Check each file's sha256 before reading its rows. Sizes, types and ids are always "
        "checked, which finds most damage but not all."
    ),
    "--placement": choice(
        PLACEMENTS,
        "Where embedding rows live: gpu, all on the device; hot-cold, hot rows on the device and "
        "cold rows on the host, where the device reads and writes them; uva, all rows on the host, "
        "likewise; hybrid, all rows on the host, which reads and writes them itself; fae, as "
        "published: like hybrid, with the hot rows copied to the device and back; cpu, rows and "
        "MLPs on the host (default: hot-cold).",
    ),
}

_OUTPUT = {
    "--out": value(
        "RUN", "The run's directory (default: a new one in runs, named by date and time)."
    ),
    "--resume": flag(
        "Continue from RUN's checkpoint, with its parameters where you give none; start from "
        "scratch if there is none yet."
    ),
    "--overwrite": flag("Replace the run that RUN already holds."),
    "--log-to": {
        **choice(
            LOGGERS,
            "Tell the run to this tool as well; repeatable. TensorBoard's and DVCLive's files are "
            "in RUN; MLflow and Weights & Biases go by their own settings, such as "
            "MLFLOW_TRACKING_URI and WANDB_MODE.",
        ),
        "action": "append",
    },
    "--quiet": flag("Print nothing but errors."),
}

_DEVICE = {
    "--device": choice(
        DEVICES, "Where the MLPs and hot rows are (default: auto, CUDA if there is a device)."
    ),
    "--threads": value("N", "PyTorch's CPU threads (default: 0, as PyTorch decides).", type=int),
}


def parser(prog: str) -> argparse.ArgumentParser:
    """Return the parser of all commands; its result has `command` and the options given."""
    top = CommandParser(
        prog=prog, description="Train a DLRM on a prepared data set.", allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=f"fae {__version__}")
    add_commands(top.add_subparsers(dest="command", required=True, metavar="COMMAND"))
    return top


def add_commands(commands: Any) -> None:
    """Add the trainer's commands to a parser's subparsers."""
    train = add_command(
        commands,
        "train",
        "DIR",
        "train a model",
        "Train a DLRM on the data set DIR, and write checkpoint.pt, metrics.json, curve.csv and "
        "parameters.json to RUN.",
    )
    train.add_argument(
        "data", metavar="DIR", type=_readable, help="The data set that `fae prepare` wrote."
    )
    add_options(train.add_argument_group("output"), _OUTPUT)
    add_options(train.add_argument_group("model"), _MODEL)
    add_options(train.add_argument_group("training"), _TRAINING)
    add_options(train.add_argument_group("machine"), _DEVICE | _MACHINE)
    evaluate = add_command(
        commands,
        "evaluate",
        "DIR --run RUN",
        "score a split with a trained model",
        "Score a split of the data set DIR with the model of RUN. Print the metrics as JSON and "
        "write them to a file.",
    )
    evaluate.add_argument(
        "data", metavar="DIR", type=_readable, help="The data set that the run was trained on."
    )
    evaluate.add_argument("--run", metavar="RUN", required=True, help="The run's directory.")
    evaluate.add_argument(
        "--split", choices=SPLITS, default="test", help="The split to score (default: test)."
    )
    evaluate.add_argument(
        "--out", metavar="FILE", help="The file to write (default: RUN/evaluation-SPLIT.json)."
    )
    add_options(evaluate.add_argument_group("machine"), _DEVICE | _MACHINE)
    import_run = add_command(
        commands,
        "import",
        "RUN --data DIR --out NEWRUN",
        "carry a trained model to another data set",
        "Convert RUN so that it can train on DIR, whose ids differ. Embedding rows and their "
        "optimizer state are found by raw value, new values start as in training, and the network "
        "is carried over. Then train on: train DIR --out NEWRUN --resume.",
    )
    import_run.add_argument("run", metavar="RUN", help="The trained run's directory.")
    import_run.add_argument(
        "--data", metavar="DIR", required=True, help="The data set to carry the model to."
    )
    import_run.add_argument("--out", metavar="NEWRUN", required=True, help="The run to write.")
    import_run.add_argument(
        "--former",
        metavar="OLDDIR",
        help="The data set that RUN was trained on (default: the one RUN names, if unchanged). Not "
        "needed if `fae prepare --append` made DIR from it.",
    )
    import_run.add_argument(
        "--overwrite", action="store_true", help="Replace the run that NEWRUN already holds."
    )
    bench = add_command(
        commands,
        "bench-device",
        "--out FILE",
        "measure what hot and cold samples cost on this machine",
        "Time training steps on hot and cold batches, print the device profile and write it to a "
        "file, for fae calibrate --device-profile.",
    )
    bench.add_argument("--out", metavar="FILE", required=True, help="The profile to write (JSON).")
    bench.add_argument(
        "--batch-size", type=int, metavar="N", help="Samples in a batch (default: 2048)."
    )
    add_options(bench, _DEVICE)


def add_command(
    commands: Any, name: str, usage: str, text: str, description: str
) -> argparse.ArgumentParser:
    """Add the command `name` to a parser's subparsers.

    `usage` are its arguments and required options, `text` is its line in the list of commands.
    Options that are not given are absent from the result.
    """
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        usage=" ".join(filter(None, ("%(prog)s", usage, "[OPTIONS]"))),
        help=text,
        description=description,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    command._positionals.title = "arguments"
    return command
