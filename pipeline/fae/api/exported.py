"""Score raw rows with an exported model, without the trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fae.api.conversions import PathLike
from fae.dataset.encoder import Encoder
from fae.format.errors import DatasetError, ParameterError, require
from fae.format.serving import ENCODER_FOLDER, NO_ID, Serving, Tensors

Array = npt.NDArray[Any]
#: Scored at a time: rows, and ids of lists that are filled up to the longest.
_ROWS, _IDS = 8192, 1 << 20


class ExportedModel:
    """A model with its encoder, as `fae export --to onnx` or `torch` writes them.

    Examples:
        >>> model = fae.load_exported("MODEL")                              # doctest: +SKIP
        >>> model.predict([{"I1": 3, "C1": "68fd1e64", ...}])               # doctest: +SKIP
    """

    def __init__(self, directory: PathLike, own_functions: bool = False) -> None:
        """Open an exported model; `load_exported` says what it raises."""
        self.directory = Path(directory)
        #: What `serving.json` says.
        self.serving = Serving.read(self.directory)
        if self.serving.to not in _OPENERS:
            raise ParameterError(
                f"{self.directory} holds weights alone, in {self.serving.to}. To score with it, "
                "export the run with --to onnx or --to torch."
            )
        self.encoder = Encoder(self.directory / ENCODER_FOLDER, own_functions)
        if self.encoder.manifest.fingerprint != self.serving.fingerprint:
            raise DatasetError(
                f"{self.directory}: the model and the encoder are of different data sets. Export "
                "the model again."
            )
        self._score = _OPENERS[self.serving.to](self.directory / self.serving.files[0].path)

    def predict(self, rows: Any) -> npt.NDArray[np.float64]:
        """Return the probability that the first label of each of `rows` is 1, (rows,).

        Rows and errors are those of `Encoder.encode`.
        """
        encoded = self.encoder.encode(rows)
        logits = [np.empty(0)]
        first = 0
        while first < encoded.height:
            piece = encoded[first : first + self._count_rows(encoded[first : first + _ROWS])]
            inputs = fill_inputs(piece, self.serving.inputs)
            logits.append(self._score(inputs).astype(np.float64))
            first += piece.height
        score: npt.NDArray[np.float64] = 1 / (1 + np.exp(-np.concatenate(logits)))
        return score

    def _count_rows(self, encoded: pl.DataFrame) -> int:
        """Return how many of some rows to score at a time, so that long lists fit in memory."""
        lists = [tensors.columns[0] for tensors in self.serving.inputs if tensors.holds_lists]
        ids = sum(_find_longest(encoded[name]) for name in lists)
        return max(1, min(_ROWS, _IDS // max(ids, 1)))


def load_exported(directory: PathLike, own_functions: bool = False) -> ExportedModel:
    """Return the model in a folder that `fae export` wrote to onnx or torch.

    Functions of a user's own that the schema names run only with `own_functions`. Raises
    DatasetError where the folder is absent or damaged, ParameterError where it holds no model that
    scores, and MissingExtraError where what runs it is not installed.
    """
    return ExportedModel(directory, own_functions)


def _open_onnx(path: Path) -> Callable[[dict[str, Array]], Array]:
    require("onnxruntime", "serve", "Scoring with an ONNX model")
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda inputs: np.asarray(session.run(["logit"], inputs)[0])


def _open_torch(path: Path) -> Callable[[dict[str, Array]], Array]:
    require("torch", "train", "Scoring with a torch model")
    import torch

    program = torch.export.load(path).module()
    return lambda inputs: program(*map(torch.from_numpy, inputs.values()))[0].numpy()


_OPENERS = {"onnx": _open_onnx, "torch": _open_torch}


def fill_inputs(encoded: pl.DataFrame, inputs: Sequence[Tensors]) -> dict[str, Array]:
    """Return a model's inputs, by name, for rows with the features of a data set."""
    return {tensors.name: _fill(encoded, tensors) for tensors in inputs}


def _fill(encoded: pl.DataFrame, tensors: Tensors) -> Array:
    """Return the values of an input, (rows, columns) or (rows, the longest list's length)."""
    if not tensors.holds_lists:
        return _stack([encoded[name] for name in tensors.columns], np.dtype(tensors.dtype))
    lists = encoded[tensors.columns[0]]
    lengths = lists.list.len().to_numpy()
    ids = np.full((len(lists), _find_longest(lists)), NO_ID, dtype=np.int64)
    ids[np.arange(ids.shape[1]) < lengths[:, None]] = lists.filter(lengths > 0).explode().to_numpy()
    return ids


def _stack(columns: Sequence[pl.Series], dtype: np.dtype[Any]) -> Array:
    stacked = np.empty((len(columns[0]), len(columns)), dtype=dtype)
    for number, column in enumerate(columns):
        stacked[:, number] = column.to_numpy()
    return stacked


def _find_longest(lists: pl.Series) -> int:
    """Return the length of the longest list, at least 1."""
    return max(1, int(lists.list.len().max() or 0))  # type: ignore[arg-type]
