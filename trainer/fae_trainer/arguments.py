"""The options of `train` and `evaluate`, for `python -m fae_trainer` and `fae` alike.

An option that is not given is absent from the result, so that a resumed run can tell it from one
that repeats a default.
"""

from __future__ import annotations

import argparse

from fae.format.manifest import SPLITS
from fae_trainer.parameters import (
    AMPS,
    CACHES,
    DEVICES,
    DTYPES,
    MODELS,
    OPTIMIZERS,
    PLACEMENTS,
    SCHEDULES,
)


def parser(prog: str) -> argparse.ArgumentParser:
    """A parser whose namespace has `command` and the options that were given."""
    top = argparse.ArgumentParser(prog=prog, description="Train a DLRM on a prepared data set.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    absent = argparse.SUPPRESS
    train = commands.add_parser(
        "train",
        argument_default=absent,
        help="train a model",
        description="Train a DLRM on the data set DIR, and write checkpoint.pt, metrics.json, "
        "curve.csv and parameters.json to RUN.",
    )
    train.add_argument(
        "data", metavar="DIR", type=_local, help="The data set that `fae prepare` made."
    )
    train.add_argument("--out", metavar="RUN", required=True, help="The run's directory.")
    _add_model(train)
    _add_training(train)
    _add_machine(train)
    evaluate = commands.add_parser(
        "evaluate",
        argument_default=absent,
        help="score a split with a trained model",
        description="Score a split of the data set DIR with the model of RUN; print the measures "
        "as JSON and write them to a file.",
    )
    evaluate.add_argument(
        "data", metavar="DIR", type=_local, help="The data set that the run was trained on."
    )
    evaluate.add_argument("--run", metavar="RUN", required=True, help="The run's directory.")
    evaluate.add_argument(
        "--split", choices=SPLITS, default="test", help="The split to score (test)."
    )
    evaluate.add_argument(
        "--out", metavar="FILE", help="Where the measures go (RUN/evaluation-SPLIT.json)."
    )
    _add_machine(evaluate)
    carry = commands.add_parser(
        "import",
        argument_default=absent,
        help="carry a trained model to another data set",
        description="Make of RUN a run on the data set DIR, whose ids mean other values: rows with "
        "their optimiser state are found by raw value, new values begin as in training, and the "
        "network is carried over. `train DIR --out NEWRUN --resume` then trains on.",
    )
    carry.add_argument("run", metavar="RUN", help="The trained run's directory.")
    carry.add_argument(
        "--data", metavar="DIR", required=True, help="The data set to carry the model to."
    )
    carry.add_argument("--out", metavar="NEWRUN", required=True, help="The directory to make.")
    carry.add_argument(
        "--former",
        metavar="OLDDIR",
        help="The data set that RUN was trained on (the one it names, if it is still the same); "
        "not needed where DIR was made from it by `fae prepare --append`.",
    )
    carry.add_argument(
        "--overwrite", action="store_true", help="Replace the run that NEWRUN already holds."
    )
    bench = commands.add_parser(
        "bench-device",
        argument_default=absent,
        help="measure what hot and cold inputs cost on this machine",
        description="Time training steps on hot and cold batches, print the device profile and "
        "write it to a file, for fae calibrate --device-profile.",
    )
    bench.add_argument("--out", metavar="FILE", required=True, help="The profile to write (JSON).")
    bench.add_argument("--batch-size", type=int, metavar="N", help="Inputs in a batch (2048).")
    _add_device(bench)
    return top


def _local(place: str) -> str:
    """A path, as it is; the trainer's readers map files and know no URLs."""
    if "://" in place:
        raise argparse.ArgumentTypeError(
            f"{place} is a URL, and training reads a local disk. Copy the data set first, for "
            "example with `aws s3 sync`, and give the copy."
        )
    return place


def _add_model(train: argparse.ArgumentParser) -> None:
    group = train.add_argument_group("model")
    group.add_argument(
        "--model",
        choices=MODELS,
        help="Layer widths: kaggle is bottom 512-256-64-DIM and top 512-256-1, terabyte bottom "
        "512-256-DIM and top 512-512-256-1 (kaggle).",
    )
    group.add_argument(
        "--bottom-mlp",
        type=_widths,
        metavar="N-N-DIM",
        help="Widths of the bottom MLP's layers in place of the model's; the last must be the "
        "embeddings' dimension.",
    )
    group.add_argument(
        "--top-mlp",
        type=_widths,
        metavar="N-N-1",
        help="Widths of the top MLP's layers in place of the model's; the last must be 1.",
    )
    group.add_argument(
        "--dtype", choices=DTYPES, help="Precision of weights and arithmetic (float32)."
    )
    group.add_argument(
        "--amp", choices=AMPS,
        help="bf16: the MLPs and the dots compute in bfloat16; weights, embeddings and their "
        "updates stay float32 (none).",
    )  # fmt: skip
    group.add_argument(
        "--tf32", action="store_true", help="Let CUDA multiply float32 matrices in TF32 (no)."
    )


def _add_training(train: argparse.ArgumentParser) -> None:
    group = train.add_argument_group("training")
    group.add_argument(
        "--optimizer",
        choices=OPTIMIZERS,
        help="How embedding rows learn; the MLPs then learn by SGD or Adagrad (the one that the "
        "hot budget counted, else rowwise_adagrad).",
    )
    group.add_argument(
        "--lr", type=float, metavar="RATE",
        help="Learning rate of the embeddings (sgd 0.1, rowwise_adagrad 0.02).",
    )  # fmt: skip
    group.add_argument(
        "--dense-lr", type=float, metavar="RATE",
        help="Learning rate of the MLPs (sgd 0.1, rowwise_adagrad 0.005).",
    )  # fmt: skip
    group.add_argument(
        "--clip-norm", type=float, metavar="NORM",
        help="Scale the MLPs' gradients down to this norm over all of them where it is larger; "
        "embedding rows are not clipped (0: no clipping).",
    )  # fmt: skip
    group.add_argument("--batch-size", type=int, metavar="N", help="Inputs in a batch (2048).")
    group.add_argument("--epochs", type=int, metavar="N", help="Passes over the train split (1).")
    group.add_argument(
        "--schedule",
        choices=SCHEDULES,
        help="The order of hot and cold batches: interleaved, as evenly as can be; shuffled, at "
        "random; phases, all cold, then all hot; adaptive, R %% of the cold, R %% of the hot, with "
        "R as the valid loss says (interleaved).",
    )
    group.add_argument(
        "--seed", type=int, metavar="N", help="Decides first weights and batch order (0)."
    )
    group.add_argument(
        "--eval-every", type=int, metavar="BATCHES",
        help="Evaluate on the valid split each so many batches (five times an epoch), and at "
        "the end of each epoch.",
    )  # fmt: skip
    group.add_argument(
        "--checkpoint-every", type=int, metavar="BATCHES",
        help="Save a checkpoint each so many batches, and at the end of each epoch (0: then only).",
    )  # fmt: skip
    group.add_argument(
        "--resume", action="store_true",
        help="Go on from RUN's checkpoint, with its parameters where none is given here; begin "
        "where there is none yet.",
    )  # fmt: skip
    group.add_argument(
        "--overwrite", action="store_true", help="Replace the run that RUN already holds."
    )
    group.add_argument(
        "--no-cuda-graph", dest="cuda_graph", action="store_false",
        help="Launch the kernels of a step one by one, not as a CUDA graph; on CUDA alone.",
    )  # fmt: skip
    group.add_argument("--quiet", action="store_true", help="Print nothing but errors.")


def _add_machine(command: argparse.ArgumentParser) -> None:
    _add_device(command)
    command.add_argument(
        "--cache", choices=CACHES,
        help="Keep decoded inputs for later epochs and evaluations: on the host, or labels and "
        "dense features on the device and ids on the host (auto: what fits a quarter of what is "
        "free).",
    )  # fmt: skip
    command.add_argument(
        "--verify", action="store_true",
        help="Compare each file's sha256 with the manifest's before its rows are read (no: sizes, "
        "types and ids are checked, which tell most damage, but not all).",
    )  # fmt: skip
    command.add_argument(
        "--placement",
        choices=PLACEMENTS,
        help="Where rows live: gpu, all on the device; cpu, rows and MLPs on the host; hybrid, "
        "rows on the host and MLPs on the device; hot-cold, hot rows on the device and cold rows "
        "on the host; fae, as published, every row on the host, and the hot ones copied to the "
        "device and back (hot-cold).",
    )


def _add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--device", choices=DEVICES, help="Where the MLPs and hot rows are (auto: CUDA if any)."
    )
    command.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads of torch (0: as torch decides)."
    )


def _widths(text: str) -> tuple[int, ...]:
    """Widths as in 512-256-1."""
    parts = text.split("-")
    if not all(part.isascii() and part.isdigit() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a row of widths such as 512-256-16")
    return tuple(int(part) for part in parts)
