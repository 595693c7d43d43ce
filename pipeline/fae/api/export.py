"""Export a trained run: its tables in raw values, or a model that scores without the trainer."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from fae.commit.outputs import read_manifest
from fae.dataset.export import write_serving_folder, write_tables
from fae.execution.progress import console
from fae.format.errors import ParameterError
from fae.format.integrity import DataFile, compute_sha256
from fae.format.serving import EXPORT_FORMATS
from fae.storage.folder import Folder, FolderLike


def export(
    dataset: FolderLike,
    run: Path,
    out: FolderLike,
    *,
    to: str = "parquet",
    overwrite: bool = False,
) -> list[DataFile]:
    """Write a trained run to the folder `out`; return the files that hold it.

    `to` is one of:

    - `parquet`: a file a table with `id`, `value`, `kind` and `embedding`;
    - `onnx`: a model for ONNX Runtime, with `torch` one for `torch.export.load`. Beside it lies an
      encoder, with which `load_exported` scores raw rows;
    - `safetensors`: the weights of tables and network, and the encoder.

    Raises DatasetError where `run` was trained on another data set or has weights that are not
    finite, ParameterError where `to` is no format, and MissingExtraError where its library is
    absent.
    """
    from fae_trainer.run.checkpoint import FILE_NAME, load
    from fae_trainer.serving.model_files import check_libraries, write_model

    if to not in EXPORT_FORMATS:
        raise ParameterError(f"--to is {to}; it must be one of {', '.join(EXPORT_FORMATS)}.")
    run, manifest = Path(run), read_manifest(Folder.of(dataset))
    checkpoint = load(run)
    checkpoint.check_data(manifest, run)
    checkpoint.check_finite(run)
    sha256 = compute_sha256(run / FILE_NAME)
    if to == "parquet":
        weights = {name: rows.numpy() for name, rows in checkpoint.rows.items()}
        return write_tables(dataset, weights, sha256, out, overwrite=overwrite)
    check_libraries(to)
    if checkpoint.parameters.get("amp") == "bf16" and to != "safetensors":
        console.print(
            f"note: {run} was trained with --amp bf16. The exported model computes in float32, so "
            "its scores differ from those of `fae predict` by the rounding of bfloat16.",
            soft_wrap=True,
        )
    write = partial(write_model, to, manifest, checkpoint, sha256)
    return write_serving_folder(dataset, to, write, sha256, out, overwrite=overwrite)
