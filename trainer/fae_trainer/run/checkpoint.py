"""Save and load a run as one file, from which it resumes or is evaluated under any placement.

Each table's rows are stored in the order of ids, so the file does not depend on where rows live. It
holds no state of a random generator: the schedule is a function of the seed and the epoch, and
training draws no random numbers.
"""

from __future__ import annotations

import copy
import dataclasses
import typing
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fae.format.atomic_files import replace_file
from fae.format.errors import DatasetError, FaeError, ParameterError
from fae.format.json_codec import decode
from fae.format.manifest import Manifest
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import DEFAULTS, TrainParameters
from fae_trainer.run.history import History

FILE_NAME = "checkpoint.pt"
FORMAT = "fae-checkpoint"
VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint; `rows` and `states` map a table's name to (rows, width).

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
        """Load all values into a recommender that was made with `parameters`.

        Raises DatasetError where the values belong to another model.
        """
        with _misfits_reported():
            self._check_sizes(recommender)
            recommender.tables.load(self.rows, self.states)
            recommender.network.load_state_dict(self.network)
            recommender.network_optimizer.load_state_dict(copy.deepcopy(self.network_optimizer))

    def restore_network(self, network: nn.Module) -> None:
        """Load the network's weights alone; raises DatasetError where they are another one's."""
        with _misfits_reported():
            network.load_state_dict(self.network)

    def check_finite(self, run: Path) -> None:
        """Raise DatasetError unless all weights are finite."""
        weights = {f"table {name!r}": rows for name, rows in self.rows.items()}
        weights |= {f"the network's {name}": layer for name, layer in self.network.items()}
        for name, values in weights.items():
            if not _is_finite(values):
                raise DatasetError(
                    f"{run}: {name} has values that are not finite (NaN or infinity): the training "
                    "diverged. Train again with a lower --lr or --dense-lr."
                )

    def _check_sizes(self, recommender: Recommender) -> None:
        """Raise ValueError unless each table has all of its rows and of their states."""
        for tables in recommender.tables.groups:
            for name, count in zip(tables.layout.names, tables.layout.rows.tolist(), strict=True):
                expected = (count, tables.dim), (count, tables.width - tables.dim)
                if (tuple(self.rows[name].shape), tuple(self.states[name].shape)) != expected:
                    raise ValueError(f"table {name!r} does not have {count} rows")

    def check_data(self, manifest: Manifest, run: Path) -> None:
        """Raise DatasetError unless the run was trained on this data set."""
        if self.fingerprint != manifest.fingerprint:
            raise DatasetError(
                f"{run} was trained on the data set {self.fingerprint}, and this one is "
                f"{manifest.fingerprint}: its ids mean other values, for example because it was "
                "prepared with another hot budget. Use the data set of the run, convert the run "
                "with `import`, or train again."
            )
        for table in manifest.tables:
            rows = self.rows.get(table.name)
            if rows is None or tuple(rows.shape) != (table.rows, table.dim):
                found = "no rows" if rows is None else " x ".join(map(str, rows.shape))
                raise DatasetError(
                    f"{run / FILE_NAME}: table {table.name!r} has {found}, and the data set "
                    f"{table.rows} x {table.dim}. Train again."
                )


def save(
    run: Path,
    manifest: Manifest,
    parameters: TrainParameters,
    recommender: Recommender,
    history: History,
) -> None:
    """Replace the run's checkpoint. This takes a second copy of the tables in host memory.

    With several ranks, all of them call it, and the first one writes. Raises FaeError where the
    file cannot be written.
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
    if not recommender.ranks.is_first:
        return
    path = run / FILE_NAME
    try:
        with replace_file(path) as partial:
            torch.save(document, partial)
    except (OSError, RuntimeError) as error:
        raise FaeError(
            f"Cannot write {path} ({_first_line(error)}). If the disk is full, free space; then "
            "train again with --resume."
        ) from None


def load(run: Path) -> Checkpoint:
    """Return the run's checkpoint with verified checksums; tensors are mapped, not read.

    Raises DatasetError where there is none, or where it is damaged or of another version.
    """
    path = run / FILE_NAME
    if not path.is_file():
        raise DatasetError(
            f"{run} has no {FILE_NAME}; it is not a run, or was stopped before its first one."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            if part := archive.testzip():  # torch does not check what it maps
                raise zipfile.BadZipFile(f"the checksum of {part}")
        document = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # damaged files raise errors of many types
        raise DatasetError(f"{path} is damaged ({_first_line(error)}). Train again.") from None
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise DatasetError(f"{path} is not a checkpoint of this program.")
    if (version := document.pop("version", None)) != VERSION:
        raise DatasetError(f"{path} has version {version!r}; this program reads {VERSION}.")
    if set(document) != {field.name for field in dataclasses.fields(Checkpoint)}:
        raise DatasetError(f"{path} is damaged: it holds {sorted(document)}. Train again.")
    known = {field.name for field in dataclasses.fields(TrainParameters)}
    if not isinstance(document["parameters"], dict) or not set(document["parameters"]) <= known:
        raise DatasetError(f"{path} has parameters that this version does not know. Train again.")
    _check_parameters(document["parameters"], f"{path}: parameters")
    History.from_document(document["history"], f"{path}: history")
    for name in ("rows", "states"):
        if not _is_of_matrices(document[name]):
            raise DatasetError(f"{path}: {name} are not a matrix for each table. Train again.")
    return Checkpoint(**document)


def _check_parameters(stored: dict[str, Any], where: str) -> None:
    """Raise DatasetError unless the parameters of a checkpoint are such as a run can have."""
    hints = typing.get_type_hints(TrainParameters)
    values = {
        name: decode(hints[name], value, f"{where}: {name}") for name, value in stored.items()
    }
    try:
        TrainParameters(**{**DEFAULTS, **values})
    except (ParameterError, TypeError) as error:
        raise DatasetError(f"{where}: {error}") from None


def _is_of_matrices(tables: Any) -> bool:
    """Return whether this maps texts to dense matrices of floating-point numbers."""
    return isinstance(tables, dict) and all(
        isinstance(name, str)
        and isinstance(table, Tensor)
        and table.is_floating_point()
        and table.layout == torch.strided
        and table.dim() == 2
        for name, table in tables.items()
    )


def load_table_weights(run: Path) -> dict[str, npt.NDArray[np.floating[Any]]]:
    """Return each table's trained rows by name, (rows, dim), in the order of the data set's ids."""
    return {name: rows.numpy() for name, rows in load(run).rows.items()}


@contextmanager
def _misfits_reported() -> Iterator[None]:
    """Raise DatasetError where the block finds that a checkpoint's values belong elsewhere."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise DatasetError(
            f"{FILE_NAME} does not fit its own parameters ({_first_line(error)}). Train again."
        ) from None


def _is_finite(values: Tensor) -> bool:
    """Tell whether all values are finite, without a second tensor of their size."""
    least, greatest = values.aminmax()  # NaN if one value is
    return bool(least.isfinite() and greatest.isfinite())


def _first_line(error: Exception) -> str:
    """Return the start of an error's first line; torch's messages can fill a page."""
    return str(error).splitlines()[0][:100] if str(error) else type(error).__name__
