"""Write a trained run's model to files that other programs read."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from fae.format.errors import require
from fae.format.integrity import DataFile, describe_file
from fae.format.manifest import Manifest
from fae.format.serving import VERSION, Serving, Tensors
from fae.format.version import __version__
from fae_trainer.run.checkpoint import Checkpoint
from fae_trainer.serving.scoring_model import ScoringModel

_FILES = "model.*"
#: What writing each format needs beside torch.
_LIBRARIES = {"onnx": ("onnx", "onnxscript"), "safetensors": ("safetensors",), "torch": ()}


def check_libraries(to: str) -> None:
    """Raise MissingExtraError where what writes a format is not installed."""
    for library in _LIBRARIES[to]:
        require(library, "export", f"Export to {to}")


def write_model(
    to: str, manifest: Manifest, checkpoint: Checkpoint, sha256: str, folder: Path
) -> Serving:
    """Write the model of a checkpoint, whose file has this sha256, to `folder`; describe it.

    Raises DatasetError where the weights of the checkpoint do not fit its parameters.
    """
    model = ScoringModel(manifest, checkpoint)
    for path in folder.glob(_FILES):  # of an export that was killed
        path.unlink()
    _WRITERS[to](model, manifest, folder)
    dtype = str(model.dtype).removeprefix("torch.")
    p = model.parameters_of_run
    return Serving(
        VERSION,
        to,
        manifest.fingerprint,
        sha256,
        inputs=model.inputs,
        outputs=tuple(Tensors(name, dtype, ("batch",)) for name in ("logit", "score")),
        network={
            "bottom_mlp": list(p.bottom_mlp),
            "top_mlp": list(p.top_mlp),
            "trained_with_amp": p.amp,
        },
        made_with={"fae": __version__, "torch": torch.__version__}
        | {library: version(library) for library in _LIBRARIES[to]},
        files=tuple(_describe_files(folder, manifest)),
    )


def _describe_files(folder: Path, manifest: Manifest) -> Iterator[DataFile]:
    """Yield the model's file, then those that it needs. The last one holds the tables' rows."""
    files = sorted(folder.glob(_FILES))
    rows = sum(table.rows for table in manifest.tables)
    for path in files:
        yield describe_file(path, path.name, rows if path == files[-1] else 0)


def _write_safetensors(model: ScoringModel, manifest: Manifest, folder: Path) -> None:
    """Write the tables as `tables.NAME`, (rows, dim) by id, and the network's layers by name."""
    from safetensors.torch import save_file

    names = (table.name for table in manifest.tables)
    weights = {f"tables.{name}": rows for name, rows in zip(names, model.tables, strict=True)}
    weights |= {f"network.{name}": layer for name, layer in model.network.state_dict().items()}
    path = folder / "model.safetensors"
    path.touch()
    mode = path.stat().st_mode  # as the user's umask has it; the library's file is the user's alone
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    path.chmod(mode)


def _write_torch(model: ScoringModel, _: Manifest, folder: Path) -> None:
    with _exporters_quiet():
        torch.export.save(_trace(model), folder / "model.pt2")


def _write_onnx(model: ScoringModel, _: Manifest, folder: Path) -> None:
    with _exporters_quiet():
        program = torch.onnx.export(
            _trace(model),
            input_names=[tensors.name for tensors in model.inputs],
            output_names=["logit", "score"],
            dynamic_shapes=_find_varying_axes(model),  # for the sizes' names
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.save(folder / "model.onnx", external_data=True)


_WRITERS: Mapping[str, Callable[[ScoringModel, Manifest, Path], None]] = {
    "safetensors": _write_safetensors,
    "torch": _write_torch,
    "onnx": _write_onnx,
}


def _trace(model: ScoringModel) -> ExportedProgram:
    """Return the model as a program for batches of any size and lists of any length."""
    # Sizes of 0 and 1 would be taken for fixed, and equal ones for one size.
    traced = {name: 2 + number for number, name in enumerate(_name_sizes(model))}
    samples = (
        torch.zeros(
            [traced.get(size, size) for size in tensors.shape], dtype=getattr(torch, tensors.dtype)
        )
        for tensors in model.inputs
    )
    return torch.export.export(model, tuple(samples), dynamic_shapes=_find_varying_axes(model))


def _find_varying_axes(model: ScoringModel) -> tuple[tuple[dict[int, Any], ...]]:
    """Return the axes of each input that vary, and their sizes by name."""
    dims = {name: Dim(name) for name in _name_sizes(model)}
    axes = (
        {axis: dims[size] for axis, size in enumerate(tensors.shape) if size in dims}
        for tensors in model.inputs
    )
    return (tuple(axes),)


def _name_sizes(model: ScoringModel) -> list[str]:
    """Return the names of the sizes that vary, each once."""
    sizes = (size for tensors in model.inputs for size in tensors.shape)
    return list(dict.fromkeys(size for size in sizes if isinstance(size, str)))


@contextmanager
def _exporters_quiet() -> Iterator[None]:
    """Silence what torch's exporters tell about themselves, which no user can act on."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
