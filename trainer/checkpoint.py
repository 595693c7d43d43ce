"""What is kept of a run: one file from which it goes on, under any placement, or is evaluated.

Tables are kept a name each, their rows in the order of ids, so that the file says nothing of where
rows lived. No state of a random generator is needed: the schedule is a function of the seed and
the epoch, and training draws no random number.
"""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.errors import DatasetError, FaeError
from pipeline.manifest import Manifest
from trainer.files import replace_file
from trainer.history import History
from trainer.parameters import TrainParameters
from trainer.recommender import Recommender

FILE_NAME = "checkpoint.pt"
FORMAT = "fae-checkpoint"
VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A run as its file has it; `rows` and `states` map a table's name to (rows, width).

    `parameters` and `history` are the documents of TrainParameters and History.
    """

    fingerprint: str
    parameters: dict[str, Any]
    history: dict[str, Any]
    rows: dict[str, Tensor]
    states: dict[str, Tensor]
    network: dict[str, Any]
    network_optimizer: dict[str, Any]

    def restore(self, recommender: Recommender) -> None:
        """Give the recommender all its values; its layers must be those of `parameters`."""
        recommender.tables.load(self.rows, self.states)
        recommender.network.load_state_dict(self.network)
        recommender.network_optimizer.load_state_dict(copy.deepcopy(self.network_optimizer))

    def check_data(self, manifest: Manifest, run: Path) -> None:
        """Raise DatasetError unless the run was trained on this data set."""
        if self.fingerprint != manifest.fingerprint:
            raise DatasetError(
                f"{run} was trained on the data set {self.fingerprint}, and this one is "
                f"{manifest.fingerprint}: its ids mean other values, as they do after preparing "
                "with another hot budget. Give the data set of the run, carry the run over by "
                "`import`, or train anew."
            )


def save(
    run: Path,
    manifest: Manifest,
    parameters: TrainParameters,
    recommender: Recommender,
    history: History,
) -> None:
    """Replace the run's checkpoint; it needs a second copy of the tables in the host's memory.

    Of several ranks, all call it, and the first writes.
    """
    document = {
        "format": FORMAT,
        "version": VERSION,
        "fingerprint": manifest.fingerprint,
        "parameters": parameters.document(),
        "history": history.document(),
        "rows": recommender.tables.rows(),
        "states": recommender.tables.states(),
        "network": recommender.network.state_dict(),
        "network_optimizer": recommender.network_optimizer.state_dict(),
    }
    if not recommender.ranks.first:
        return
    path = run / FILE_NAME
    try:
        replace_file(path, lambda partial: torch.save(document, partial))
    except (OSError, RuntimeError) as error:
        raise FaeError(
            f"{path} cannot be written ({_reason(error)}). If its disk is full, free space there; "
            "then go on with --resume."
        ) from None


def load(run: Path) -> Checkpoint:
    """The run's checkpoint; tensors stay in the file until they are read.

    Raises DatasetError where there is none, or where it is damaged or of another version.
    """
    path = run / FILE_NAME
    if not path.is_file():
        raise DatasetError(
            f"{run} has no {FILE_NAME}; it is no run, or was stopped before its first."
        )
    try:
        document = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, EOFError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
        raise DatasetError(f"{path} is damaged ({_reason(error)}). Train again.") from None
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise DatasetError(f"{path} is no checkpoint of this program.")
    if (found := document.pop("version", None)) != VERSION:
        raise DatasetError(f"{path} has version {found!r}, and this program reads {VERSION}.")
    return Checkpoint(**document)


def table_weights(run: Path) -> dict[str, npt.NDArray[np.floating[Any]]]:
    """Each table's name to its trained rows, (rows, dim), in the order of the data set's ids."""
    return {name: rows.numpy() for name, rows in load(run).rows.items()}


def _reason(error: Exception) -> str:
    """The beginning of what torch says, which goes on for a page."""
    return str(error).splitlines()[0][:100] if str(error) else type(error).__name__
