"""Read what training runs reached: the metrics and the learning curves of their folders."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
from pydantic import TypeAdapter

from fae.dataset.integrity import READ_ERRORS
from fae.format.errors import DatasetError
from fae.reporting.style import to_printable

_METRICS_FILE, _CURVE_FILE = "metrics.json", "curve.csv"
_MAX_LABEL_LENGTH = 40
_CURVE_COLUMNS = {
    "samples": pl.Int64, "train_logloss": pl.Float64, "valid_logloss": pl.Float64,
    "valid_auc": pl.Float64,
}  # fmt: skip


@dataclass(frozen=True)
class Metrics:
    """What the report shows of a run's metrics; None where a split cannot say."""

    placement: str
    device: str
    optimizer: str
    epochs: int
    train_samples: int
    hot_share: float
    seconds: float
    samples_per_second: float
    train_logloss: float
    valid_logloss: float | None
    valid_auc: float | None
    test_logloss: float | None
    test_auc: float | None


@dataclass(frozen=True)
class Run:
    """A finished run, labelled by its placement; `curve` has an evaluation a line."""

    label: str
    metrics: Metrics
    curve: pl.DataFrame


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Return the runs in folders; raises DatasetError where one is not finished or is damaged.

    Those of one placement have their folders' names in their labels too.
    """
    runs = [_read_run(folder) for folder in folders]
    times = Counter(run.label for run in runs)
    names = [folder.resolve().name for folder in folders]
    return [
        run
        if times[run.label] == 1
        else replace(run, label=to_printable(f"{run.label} ({name})", _MAX_LABEL_LENGTH))
        for run, name in zip(runs, names, strict=True)
    ]


def _read_run(folder: Path) -> Run:
    try:
        metrics = json.loads((folder / _METRICS_FILE).read_text(encoding="utf-8"))
        curve = pl.read_csv(folder / _CURVE_FILE, glob=False, schema_overrides=_CURVE_COLUMNS)
        known = TypeAdapter(Metrics).validate_python(metrics)
        label = to_printable(known.placement, _MAX_LABEL_LENGTH)
        return Run(label, known, curve.select(*_CURVE_COLUMNS))
    except (*READ_ERRORS, ValueError) as error:
        raise DatasetError(
            f"{folder} is not a finished run: {error}. Train it again, or name another."
        ) from None
