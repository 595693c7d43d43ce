"""Tell a run to the tools that people watch: TensorBoard, MLflow, Weights & Biases and DVCLive.

Each tool is an extra, whose library is imported when a run starts.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fae.format.errors import FaeError, require
from fae.format.terminal import print_text
from fae_trainer.run.callbacks import Callback
from fae_trainer.run.history import CURVE_COLUMNS, CurvePoint


class Logger(Callback):
    """A tool that shows a run's parameters, its learning curve by step, and its results.

    A tool that fails as the run starts ends it with a FaeError; one that fails later is left out,
    and the run goes on.
    """

    #: The module that the tool needs, and the extra that brings it.
    module, extra = "", ""

    def __init__(self, run: Path) -> None:
        require(self.module, self.extra, f"Logging to {self.module}")
        self.run = run
        self.resumed = False  # whether an earlier run goes on
        self._fails = False

    def on_start(self, parameters: Mapping[str, Any], *, resumed: bool) -> None:
        """Open the tool's own run, and log the parameters."""
        try:
            self.resumed = resumed
            self.open()
            self.log_parameters({key: _to_plain(value) for key, value in parameters.items()})
        except Exception as error:  # each tool has errors of its own
            raise FaeError(f"Cannot log to {self.module}: {_describe(error)}.") from error

    def on_evaluation(self, curve: Sequence[CurvePoint]) -> None:
        """Log the curve's last point."""
        point = {name: getattr(curve[-1], name) for name in CURVE_COLUMNS if name != "step"}
        self._attempt(lambda: self.log_metrics(_to_numbers(point), curve[-1].step))

    def on_end(self, metrics: Mapping[str, Any]) -> None:
        """Log the numbers of metrics.json that the curve does not have."""
        rest = {key: value for key, value in metrics.items() if key not in CURVE_COLUMNS}
        self._attempt(lambda: self.log_metrics(_to_numbers(rest), metrics["steps"]))

    def _attempt(self, action: Callable[[], None]) -> None:
        """Do it unless the tool has failed before."""
        if self._fails:
            return
        try:
            action()
        except Exception as error:
            self._fails = True
            message = f"warning: {self.module} failed, and is told no more: {_describe(error)}."
            print_text(message, sys.stderr)

    def open(self) -> None:
        """Open the tool's run."""
        raise NotImplementedError

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log numbers and texts by name."""
        raise NotImplementedError

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log numbers that belong to a step."""
        raise NotImplementedError


class TensorBoardLogger(Logger):
    """Event files in RUN/tensorboard."""

    module, extra = "tensorboard", "tensorboard"
    _writer: Any = None

    def open(self) -> None:
        """Open a writer; a resumed run has one more file, another one none of before."""
        if not self.resumed:
            shutil.rmtree(self.run / "tensorboard", ignore_errors=True)
        library = importlib.import_module("torch.utils.tensorboard")
        self._writer = library.SummaryWriter(self.run / "tensorboard")

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log a table in Markdown."""
        rows = [f"| {name} | {value} |" for name, value in parameters.items()]
        self._writer.add_text("parameters", "\n".join(["| name | value |", "| --- | --- |", *rows]))

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log scalars, and write them out for whoever watches."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the writer."""
        if self._writer is not None:
            self._writer.close()


class MLflowLogger(Logger):
    """A run of MLflow, where its own settings say: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME.

    A run that is active already is used, and stays open.
    """

    module, extra = "mlflow", "mlflow"
    _library: Any = None
    _owned = False

    def open(self) -> None:
        """Start a run, unless one is active."""
        self._library = importlib.import_module("mlflow")
        if self._library.active_run() is None:
            self._library.start_run(run_name=self.run.name)
            self._owned = True

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log parameters."""
        self._library.log_params(dict(parameters))

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log metrics."""
        self._library.log_metrics(dict(metrics), step=step)

    def close(self) -> None:
        """End the run, as failed after an exception."""
        if self._owned:
            self._attempt(
                lambda: self._library.end_run("FAILED" if sys.exception() else "FINISHED")
            )


class WandbLogger(Logger):
    """A run of Weights & Biases, where its own settings say: WANDB_PROJECT, WANDB_MODE and others.

    A run that is active already is used, and stays open.
    """

    module, extra = "wandb", "wandb"
    _run: Any = None
    _owned = False

    def open(self) -> None:
        """Start a run, unless one is active."""
        library = importlib.import_module("wandb")
        self._owned = library.run is None
        self._run = library.run or library.init(name=self.run.name, dir=str(self.run))

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log the run's configuration."""
        self._run.config.update(dict(parameters), allow_val_change=True)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log metrics."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Finish the run, as failed after an exception."""
        if self._owned and self._run is not None:
            self._attempt(lambda: self._run.finish(exit_code=int(sys.exception() is not None)))


class DVCLiveLogger(Logger):
    """Files of DVCLive in RUN/dvclive, for `dvc plots` and DVC's extension for editors."""

    module, extra = "dvclive", "dvc"
    _live: Any = None

    def open(self) -> None:
        """Open the folder; DVC's own stages keep the experiment."""
        library = importlib.import_module("dvclive")
        folder = str(self.run / "dvclive")
        self._live = library.Live(folder, resume=self.resumed, dvcyaml=None, save_dvc_exp=False)

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log parameters."""
        self._live.log_params(dict(parameters))

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log metrics."""
        self._live.step = step
        for name, value in metrics.items():
            self._live.log_metric(name, value)
        self._live.next_step()

    def close(self) -> None:
        """End DVCLive's run."""
        if self._live is not None:
            self._attempt(self._live.end)


#: The tools by their names on the command line, which `parameters.LOGGERS` lists.
LOGGERS: dict[str, type[Logger]] = {
    "tensorboard": TensorBoardLogger,
    "mlflow": MLflowLogger,
    "wandb": WandbLogger,
    "dvclive": DVCLiveLogger,
}


def open_logger(name: str, run: Path | str) -> Logger:
    """Return the logger of a tool for the run in a directory; raise MissingExtraError without it.

    `name` is tensorboard, mlflow, wandb or dvclive.
    """
    if name not in LOGGERS:
        raise FaeError(f"--log-to is {name}; it must be one of {', '.join(LOGGERS)}.")
    return LOGGERS[name](Path(run))


def _to_numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in values.items() if isinstance(value, int | float)}


def _to_plain(value: Any) -> Any:
    """Return a number or a text; of layers' widths, 512-256-1."""
    return "-".join(map(str, value)) if isinstance(value, list) else value


def _describe(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
