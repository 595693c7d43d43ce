"""What is kept of a run: one file from which it goes on, under any placement, or is evaluated.

Tables are kept a name each, their rows in the order of ids, so that the file says nothing of where
rows lived. No state of a random generator is needed: the schedule is a function of the seed and
the epoch, and training draws no random number.
"""

from __future__ import annotations

import copy
import dataclasses
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fae.format.atomic_files import replace_file
from fae.format.errors import DatasetError, FaeError
from fae.format.manifest import Manifest
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import TrainParameters
from fae_trainer.run.history import History

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
        """Give the recommender all its values; its layers must be those of `parameters`.

        Raises DatasetError where the values are of another model.
        """
        try:
            self._check_sizes(recommender)
            recommender.tables.load(self.rows, self.states)
            recommender.network.load_state_dict(self.network)
            recommender.network_optimizer.load_state_dict(copy.deepcopy(self.network_optimizer))
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise DatasetError(
                f"{FILE_NAME} does not fit its own parameters ({_first_line(error)}). Train again."
            ) from None

    def _check_sizes(self, recommender: Recommender) -> None:
        """Raise ValueError unless each table has all of its rows and of their states."""
        tables = recommender.tables
        for name, count in zip(tables.layout.names, tables.layout.rows.tolist(), strict=True):
            expected = (count, tables.dim), (count, tables.optimizer.state_width)
            if (tuple(self.rows[name].shape), tuple(self.states[name].shape)) != expected:
                raise ValueError(f"table {name!r} has not {count} rows")

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
        "parameters": parameters.to_document(),
        "history": history.to_document(),
        "rows": recommender.tables.rows(),
        "states": recommender.tables.states(),
        "network": recommender.network.state_dict(),
        "network_optimizer": recommender.network_optimizer.state_dict(),
    }
    if not recommender.ranks.first:
        return
    path = run / FILE_NAME
    try:
        with replace_file(path) as partial:
            torch.save(document, partial)
    except (OSError, RuntimeError) as error:
        raise FaeError(
            f"Cannot write {path} ({_first_line(error)}). If the disk is full, free space; then train "
            "again with --resume."
        ) from None


def load(run: Path) -> Checkpoint:
    """The run's checkpoint, its checksums compared; tensors stay in the file until they are read.

    Raises DatasetError where there is none, or where it is damaged or of another version.
    """
    path = run / FILE_NAME
    if not path.is_file():
        raise DatasetError(
            f"{run} has no {FILE_NAME}; it is no run, or was stopped before its first."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            if part := archive.testzip():  # torch compares no checksum of what it maps
                raise zipfile.BadZipFile(f"the checksum of {part}")
        document = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # damaged files raise nearly anything
        raise DatasetError(f"{path} is damaged ({_first_line(error)}). Train again.") from None
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise DatasetError(f"{path} is no checkpoint of this program.")
    if (found := document.pop("version", None)) != VERSION:
        raise DatasetError(f"{path} has version {found!r}, and this program reads {VERSION}.")
    if set(document) != {field.name for field in dataclasses.fields(Checkpoint)}:
        raise DatasetError(f"{path} is damaged: it holds {sorted(document)}. Train again.")
    known = {field.name for field in dataclasses.fields(TrainParameters)}
    if not isinstance(document["parameters"], dict) or not set(document["parameters"]) <= known:
        raise DatasetError(f"{path} has parameters that this program does not know. Train again.")
    return Checkpoint(**document)


def load_table_weights(run: Path) -> dict[str, npt.NDArray[np.floating[Any]]]:
    """Each table's name to its trained rows, (rows, dim), in the order of the data set's ids."""
    return {name: rows.numpy() for name, rows in load(run).rows.items()}


def _first_line(error: Exception) -> str:
    """The beginning of what torch says, which goes on for a page."""
    return str(error).splitlines()[0][:100] if str(error) else type(error).__name__
