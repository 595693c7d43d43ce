"""Export a trained run's embedding tables in raw values."""

from __future__ import annotations

from pathlib import Path

from fae.commit.outputs import read_manifest
from fae.dataset.export import write_tables
from fae.format.integrity import DataFile, compute_sha256
from fae.storage.folder import Folder, FolderLike


def export(
    dataset: FolderLike, run: Path, out: FolderLike, *, overwrite: bool = False
) -> list[DataFile]:
    """Write one Parquet file a table to `out`: `id`, `value`, `kind` and `embedding`.

    Raises DatasetError where `run` was trained on another data set.
    """
    from fae_trainer.run.checkpoint import FILE_NAME, load

    checkpoint = load(run)
    checkpoint.check_data(read_manifest(Folder.of(dataset)), run)
    weights = {name: rows.numpy() for name, rows in checkpoint.rows.items()}
    return write_tables(dataset, weights, compute_sha256(run / FILE_NAME), out, overwrite=overwrite)
