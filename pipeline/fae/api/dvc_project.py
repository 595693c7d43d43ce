"""Write the files of a DVC project that prepares one's own logs and trains on them.

Values are data from end to end: `fae` itself reads them from params.yaml, and no shell does.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from fae.api import stages
from fae.api.conversions import find_all_logs, to_schema
from fae.format.atomic_files import write_text
from fae.format.errors import ParameterError
from fae.logs.schema_files import list_presets
from fae.storage.remote import is_url
from fae_trainer.parameters import DEFAULTS as TRAINING

STAGES_FILE, PARAMETERS_FILE = "dvc.yaml", "params.yaml"

_STAGES = """\
# Made by `fae init dvc`: a stage for each command. Its options are its section of params.yaml.
stages:
  ingest:
    cmd: fae ingest --params params.yaml --out work/staging
    params: [ingest]
    deps: {deps}
    outs: [work/staging]

  profile:
    cmd: fae profile work/staging --params params.yaml --out work/frequencies
    params: [profile]
    deps: [work/staging]
    outs: [work/frequencies]

  calibrate:
    cmd: fae calibrate work/staging work/frequencies --params params.yaml --out work/hot_set
    params: [calibrate]
    deps: [work/staging, work/frequencies]
    outs: [work/hot_set]

  partition:
    cmd: >-
      fae partition work/staging work/frequencies work/hot_set --params params.yaml
      --out work/dataset
    params: [partition]
    deps: [work/staging, work/frequencies, work/hot_set]
    outs: [work/dataset]

  train:
    cmd: fae train work/dataset --params params.yaml --out work/run
    params: [train]
    deps: [work/dataset]
    outs: [work/run]

  evaluate:
    cmd: >-
      fae evaluate work/dataset --run work/run --params params.yaml --out metrics/evaluation.json
    params: [evaluate]
    deps: [work/dataset, work/run]
    metrics:
      - metrics/evaluation.json:
          cache: false  # small, and so kept by git

  report:
    cmd: fae report work/dataset --run work/run --params params.yaml --out report/report.html
    params: [report]
    deps: [work/dataset, work/run]
    outs: [report/report.html]
    plots: [report/report-figures]

metrics:
  - work/run/metrics.json

plots:
  - training curve:
      title: Log loss as training goes on
      x: samples
      x_label: training samples
      y:
        work/run/curve.csv: [train_logloss, valid_logloss]
      y_label: log loss (nats)
  - valid AUC:
      title: AUC on the valid split
      x: samples
      x_label: training samples
      y:
        work/run/curve.csv: valid_auc
      y_label: AUC
  - hot share:
      title: What a byte budget makes hot
      x: budget_bytes
      x_label: budget (bytes)
      y:
        work/hot_set/curve.csv: [train_hot_share, held_out_hot_share, access_share]
      y_label: share of samples, and of accesses
"""

#: What git need not keep, beside what DVC itself tells git to ignore.
_IGNORED = ("*.timings.json", "*.partial/")

_TRAINED = ("placement", "schedule", "device", "batch_size", "epochs", "seed")

_HEADER = """\
# Options of the stages in dvc.yaml, a section for each; null stands for a command's own default.
# Change one and run `dvc repro`, or try one: dvc exp run -S calibrate.hot_budget=512MiB
"""


def write_dvc_project(
    logs: list[str], schema: str, folder: Path, hot_budget: str = "256MiB"
) -> None:
    """Write dvc.yaml and params.yaml to `folder`, and what git shall ignore to .gitignore.

    `logs` are local paths or globs, relative to `folder` or absolute, and `schema` is a preset's
    name or a file there. Raises ParameterError where one of the two files exists or a log is a URL,
    LogError and SchemaError as `fae.prepare` does.
    """
    for name in (STAGES_FILE, PARAMETERS_FILE):
        if (folder / name).exists():
            raise ParameterError(f"{folder / name} exists. Move it away, or choose another folder.")
    if remote := [log for log in logs if is_url(log)]:
        raise ParameterError(
            f"{remote[0]} is a URL, which DVC does not watch. Track a copy (`dvc import-url`), and "
            "name that."
        )
    find_all_logs(logs, (), (), to_schema(schema))
    sections: dict[str, dict[str, Any]] = {
        "ingest": {"logs": logs, "schema": schema} | _defaults(stages.ingest, "max_reject_share"),
        "profile": _defaults(stages.profile, "valid", "test", "min_count", "sample", "seed"),
        "calibrate": {"hot_budget": hot_budget}
        | _defaults(
            stages.calibrate,
            *("rule", "objective", "dtype", "optimizer", "cold_ids", "cold_buckets"),
        ),
        "partition": _defaults(stages.partition, "seed"),
        "report": {"compare_rows": None, "seed": None},
        "train": {"model": "kaggle", "lr": None, "dense_lr": None, "log_to": ["dvclive"]}
        | {name: TRAINING[name] for name in _TRAINED},
        "evaluate": {"split": "test"},
    }
    deps = [_fixed_part(log) for log in logs] + ([] if schema in list_presets() else [schema])
    write_text(folder / PARAMETERS_FILE, _HEADER + "".join(map(_section, sections.items())))
    write_text(folder / STAGES_FILE, _STAGES.format(deps=_to_yaml(map(_literal, deps))))
    _ignore(folder / ".gitignore")


def _defaults(stage: Callable[..., Any], *names: str) -> dict[str, Any]:
    """Return a stage's defaults of these parameters; an empty tuple as an empty list."""
    parameters = inspect.signature(stage).parameters
    defaults = {name: parameters[name].default for name in names}
    return {name: list(d) if isinstance(d, tuple) else d for name, d in defaults.items()}


def _fixed_part(pattern: str) -> str:
    """Return the file or folder for DVC to watch: of a glob, the folder before its wildcards."""
    if os.path.exists(pattern):  # noqa: PTH110 (a glob is no path)
        return pattern
    parts = takewhile(lambda part: not set(part) & set("*?["), Path(pattern).parts)
    return str(Path(*parts))


def _literal(path: str) -> str:
    """Return a path for dvc.yaml, where DVC would take `${…}` for a parameter."""
    return path.replace("${", "\\${")


def _section(item: tuple[str, dict[str, Any]]) -> str:
    name, values = item
    lines = [f"  {key}: {_to_yaml(value)}\n" for key, value in values.items()]
    return f"\n{name}:\n{''.join(lines)}"


def _to_yaml(value: Any) -> str:
    """Return a value as YAML on one line."""
    value = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=2**31 - 1)
    return text.removesuffix("...\n").strip()


def _ignore(path: Path) -> None:
    """Add to .gitignore what is not in it."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    new = [line for line in _IGNORED if line not in text.splitlines()]
    gap = "\n" if text and not text.endswith("\n") else ""
    write_text(path, text + gap + "".join(f"{line}\n" for line in new))
