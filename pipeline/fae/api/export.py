"""Export a trained run's embedding tables in raw values."""

from __future__ import annotations

from pathlib import Path

from fae.commit.outputs import manifest_of
from fae.dataset.export import write_tables
from fae.format.integrity import DataFile, sha256_of
from fae.storage.folder import Folder, FolderLike


def export(
    dataset: FolderLike, run: Path, out: FolderLike, *, overwrite: bool = False
) -> list[DataFile]:
    """Write one Parquet file a table to `out`: `id`, `value` and `embedding`.

    Raises DatasetError where `run` was trained on another data set.
    """
    from fae_trainer.run.checkpoint import FILE_NAME, load

    checkpoint = load(run)
    checkpoint.check_data(manifest_of(Folder.of(dataset)), run)
    weights = {name: rows.numpy() for name, rows in checkpoint.rows.items()}
    return write_tables(dataset, weights, sha256_of(run / FILE_NAME), out, overwrite=overwrite)
