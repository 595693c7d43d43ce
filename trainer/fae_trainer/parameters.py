"""The parameters of a training run, and how they resolve on a data set."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fae.format.budget import Embedding
from fae.format.errors import DatasetError, ParameterError
from fae.format.manifest import Manifest

PLACEMENTS = ("gpu", "cpu", "hybrid", "hot-cold", "fae", "uva")
SCHEDULES = ("interleaved", "shuffled", "phases", "adaptive")
OPTIMIZERS = ("sgd", "rowwise_adagrad")
DTYPES = ("float32", "float64")
AMPS = ("none", "bf16")
DEVICES = ("auto", "cpu", "cuda")
LOGGERS = ("tensorboard", "mlflow", "wandb", "dvclive")
CACHES = ("auto", "device", "host", "none")

_CHOICES = {
    "optimizer": OPTIMIZERS,
    "placement": PLACEMENTS,
    "schedule": SCHEDULES,
    "dtype": DTYPES,
    "amp": AMPS,
    "device": DEVICES,
    "cache": CACHES,
}

#: Layer widths of the bottom MLP, without its last layer, which has the largest dimension of the
#: embeddings, and of the top MLP, by preset: those of DLRM's benchmarks on Criteo's Kaggle and
#: Terabyte logs.
MODELS = {
    "kaggle": ((512, 256, 64), (512, 256, 1)),
    "terabyte": ((512, 256), (512, 512, 256, 1)),
}

#: Learning rates of the embeddings and of the network, by optimiser.
RATES = {"sgd": (0.1, 0.1), "rowwise_adagrad": (0.02, 0.005)}

#: Defaults that do not depend on the data set or on another parameter.
DEFAULTS = {
    "batch_size": 2048,
    "epochs": 1,
    "device": "auto",
    "placement": "hot-cold",
    "schedule": "interleaved",
    "seed": 0,
    "checkpoint_every": 0,
    "dtype": "float32",
    "threads": 0,
    "amp": "none",
    "tf32": False,
    "clip_norm": 0.0,
    "cuda_graph": True,
    "cache": "auto",
    "verify": False,
    "patience": 0,
    "mixed_windows": 1,
}

#: Bounds of what a checkpoint may ask of the machine.
_MAX_THREADS, _MAX_WIDTH = 4096, 2**20

#: Evaluations in an epoch, unless `eval_every` is set.
EVALUATIONS_PER_EPOCH = 5

#: Parameters that decide a run's arithmetic; a resumed run cannot change them.
FIXED = (
    "bottom_mlp",
    "top_mlp",
    "optimizer",
    "lr",
    "dense_lr",
    "batch_size",
    "schedule",
    "seed",
    "dtype",
    "amp",
    "tf32",
    "clip_norm",
    "mixed_windows",
)


@dataclass(frozen=True)
class TrainParameters:
    """All parameters of a training run.

    `eval_every` and `checkpoint_every` count batches, `patience` evaluations; 0 `checkpoint_every`
    saves at the end of each epoch only, and 0 `patience` never stops early. 0 `threads` lets torch
    choose, and 0 `clip_norm` clips nothing. Raises ParameterError where a value is out of range.
    """

    data: str
    out: str
    bottom_mlp: tuple[int, ...]
    top_mlp: tuple[int, ...]
    optimizer: str
    lr: float
    dense_lr: float
    batch_size: int
    epochs: int
    device: str
    placement: str
    schedule: str
    seed: int
    eval_every: int
    checkpoint_every: int
    dtype: str
    threads: int
    amp: str
    tf32: bool
    clip_norm: float
    cuda_graph: bool
    cache: str
    verify: bool
    patience: int
    mixed_windows: int

    def __post_init__(self) -> None:
        """Raise ParameterError where a value is out of range."""
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            _check(value in known, f"--{name}", value, f"one of {', '.join(known)}")
        mixed = self.amp != "none"
        _check(not mixed or self.dtype == "float32", "--dtype", self.dtype, "float32 with --amp")
        _check(0 <= self.clip_norm < math.inf, "--clip-norm", self.clip_norm, "at least 0")
        for option, rate in (("--lr", self.lr), ("--dense-lr", self.dense_lr)):
            _check(0 < rate < math.inf, option, rate, "above 0")
        _check(0 < self.batch_size < 2**24, "--batch-size", self.batch_size, "from 1 to 16777215")
        _check(self.epochs > 0, "--epochs", self.epochs, "at least 1")
        _check(0 <= self.seed < 2**63, "--seed", self.seed, "from 0 to 2^63 - 1")
        _check(self.eval_every > 0, "--eval-every", self.eval_every, "at least 1")
        every = self.checkpoint_every
        _check(every >= 0, "--checkpoint-every", every, "at least 0")
        _check(self.patience >= 0, "--patience", self.patience, "at least 0")
        _check(self.mixed_windows > 0, "--mixed-windows", self.mixed_windows, "at least 1")
        _check(0 <= self.threads <= _MAX_THREADS, "--threads", self.threads, f"0 to {_MAX_THREADS}")
        for option, widths in (("--bottom-mlp", self.bottom_mlp), ("--top-mlp", self.top_mlp)):
            fit = all(0 < width <= _MAX_WIDTH for width in widths)
            _check(fit, option, widths, f"widths from 1 to {_MAX_WIDTH}")
        _check(self.top_mlp[-1:] == (1,), "--top-mlp", self.top_mlp, "widths that end in 1")

    @property
    def batch_device(self) -> str:
        """Where whole batches are needed; the host looks up the ids of some placements."""
        return "cpu" if self.placement in ("hybrid", "fae") else self.device

    def to_document(self) -> dict[str, Any]:
        """Return the parameters as lists, numbers and strings, for JSON."""
        values = dataclasses.asdict(self)
        for name in ("patience", "mixed_windows"):
            if values[name] == DEFAULTS[name]:  # so that a run's files are those of versions before
                del values[name]
        return {key: list(v) if isinstance(v, tuple) else v for key, v in values.items()}


def resolve_parameters(
    given: Mapping[str, Any], manifest: Manifest, stored: Mapping[str, Any] | None = None
) -> TrainParameters:
    """Return the parameters of a run on a data set, from the options that the user chose.

    Other parameters come from `stored`, the document of the run to resume, or else are defaults.
    Raises ParameterError where an option would change the arithmetic of a resumed run, or where the
    layers do not fit the data set.
    """
    _check_rows(manifest)
    chosen = {key: v for key, v in given.items() if key not in ("model", "eval_every_samples")}
    layers = _preset_layers(given.get("model", "kaggle"), manifest)
    if "model" in given:
        chosen = layers | chosen
    if stored is not None:
        _check_resumed(chosen, DEFAULTS | dict(stored))
    known = {key: value for key, value in (stored or {}).items() if key != "device"} | chosen
    optimizer = known.get("optimizer", choose_optimizer(manifest))
    batch_size = known.get("batch_size", DEFAULTS["batch_size"])
    if "eval_every_samples" in given:
        known["eval_every"] = _count_batches(given, batch_size)
    lr, dense_lr = RATES.get(optimizer, RATES["sgd"])
    rows = sum(leaf.rows for leaf in manifest.splits["train"].values())
    derived = {
        "optimizer": optimizer,
        "lr": lr,
        "dense_lr": dense_lr,
        "eval_every": max(1, math.ceil(rows / max(batch_size, 1) / EVALUATIONS_PER_EPOCH)),
    }
    values: dict[str, Any] = DEFAULTS | layers | derived | known
    for name in ("bottom_mlp", "top_mlp"):
        values[name] = tuple(values[name])
    result = TrainParameters(**values)
    _check_bottom(result.bottom_mlp, manifest)
    return result


def _count_batches(given: Mapping[str, Any], batch_size: int) -> int:
    """Return the batches, at least one, that come closest to `eval_every_samples`."""
    samples: int = given["eval_every_samples"]
    _check("eval_every" not in given, "--eval-every-samples", samples, "without --eval-every")
    _check(samples > 0, "--eval-every-samples", samples, "at least 1")
    return max(1, round(samples / max(batch_size, 1)))


def choose_optimizer(manifest: Manifest) -> str:
    """Return the optimiser that the byte budget counted if it is known, else row-wise Adagrad."""
    counted = manifest.embedding.optimizer
    return counted if counted in OPTIMIZERS else "rowwise_adagrad"


def find_largest_dim(manifest: Manifest) -> int:
    """Return the largest dimension of a table; raise DatasetError where there is none."""
    if not manifest.features.sparse:
        raise DatasetError("The data set has no sparse features, so there is nothing to embed.")
    return max(table.dim for table in manifest.tables)


def check_row_cost(manifest: Manifest, parameters: TrainParameters) -> str | None:
    """Return a warning if rows take more bytes than the data set's budget counted, or None."""
    if parameters.placement not in ("hot-cold", "fae"):
        return None
    taken, counted = Embedding(parameters.dtype, parameters.optimizer), manifest.embedding
    dims = sorted({table.dim for table in manifest.tables})
    if all(taken.row_bytes(dim) <= counted.row_bytes(dim) for dim in dims):
        return None
    of_taken, of_counted = (
        " or ".join(str(embedding.row_bytes(dim)) for dim in dims) for embedding in (taken, counted)
    )
    hot = sum(table.hot_rows for table in manifest.tables)
    total = sum(table.hot_rows * taken.row_bytes(table.dim) for table in manifest.tables)
    return (
        f"a row of {parameters.dtype} with {parameters.optimizer} takes {of_taken} bytes, but the "
        f"data set's hot budget counted {of_counted} ({counted.dtype}, {counted.optimizer}): the "
        f"{hot:,} hot rows take {total:,} bytes of a budget of {manifest.budget.bytes:,}."
    )


def _preset_layers(model: str, manifest: Manifest) -> dict[str, tuple[int, ...]]:
    """Return a preset's layers; a data set without dense features has no bottom MLP."""
    _check(model in MODELS, "--model", model, f"one of {', '.join(MODELS)}")
    bottom, top = MODELS[model]
    dense = bool(manifest.features.dense)
    return {"bottom_mlp": (*bottom, find_largest_dim(manifest)) if dense else (), "top_mlp": top}


def _check_rows(manifest: Manifest) -> None:
    """Raise DatasetError where a table has rows that no value can have, before they take memory."""
    for table in manifest.tables:
        if table.rows - 1 > table.vocabulary.rows:
            raise DatasetError(
                f"manifest.json: table {table.name!r} has {table.rows} rows, but only "
                f"{table.vocabulary.rows} values. Prepare the data set again."
            )


def _check_bottom(bottom: tuple[int, ...], manifest: Manifest) -> None:
    dims = {table.dim for table in manifest.tables}
    if bottom and not manifest.features.dense:
        raise ParameterError("--bottom-mlp cannot be used: the data set has no dense features.")
    if manifest.features.dense and not bottom:
        raise ParameterError("--bottom-mlp needs widths: the data set has dense features.")
    if manifest.features.dense and len(dims) == 1 and bottom[-1] not in dims:
        raise ParameterError(
            f"--bottom-mlp {_format_widths(bottom)} must end in {dims.pop()}, the dimension of the "
            "data set's embeddings."
        )


def _check_resumed(chosen: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    for name in FIXED:
        if name in chosen and _as_plain(chosen[name]) != _as_plain(stored[name]):
            option = "--" + name.replace("_", "-")
            raise ParameterError(
                f"Cannot resume with {option} {_format_value(chosen[name])}: the run was trained "
                f"with {_format_value(stored[name])}. Omit the option, or use --overwrite."
            )


def _as_plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _format_value(value: Any) -> str:
    return _format_widths(value) if isinstance(value, list | tuple) else str(value)


def _format_widths(widths: tuple[int, ...] | list[int]) -> str:
    return "-".join(str(width) for width in widths)


def _check(holds: bool, option: str, value: Any, expected: str) -> None:
    if not holds:
        raise ParameterError(f"{option} is {_format_value(value)}; it must be {expected}.")
