"""Export a trained model for serving: its tables by raw value, or a model beside its encoder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fae.commit import outputs
from fae.dataset.integrity import read_checked, read_vocabulary
from fae.format.errors import ParameterError, disk_errors_reported
from fae.format.integrity import DataFile, describe_file
from fae.format.manifest import MANIFEST_FILE, OOV_ID, SUCCESS, Table
from fae.format.serving import ENCODER_FOLDER, SERVING_FILE, Serving
from fae.storage.folder import Folder, FolderLike


def write_tables(
    dataset: FolderLike,
    weights: Mapping[str, npt.NDArray[np.floating[Any]]],
    checkpoint_sha256: str,
    out: FolderLike,
    *,
    overwrite: bool = False,
) -> list[DataFile]:
    """Write a Parquet file per table to `out`: `id`, `value`, `kind` and `embedding` (dim), by id.

    `weights` maps each table's name to its trained rows, (rows, dim), in the order of ids. `kind`
    is `value`, or says which of two a null value is: `out of vocabulary`, which has id 0, or
    `missing`, the missing category. A hashed id has a line for each of its values, and none if it
    has no value.
    """
    source, out = Folder.of(dataset), Folder.of(out)
    manifest = outputs.read_manifest(source)
    sources = (manifest.fingerprint, checkpoint_sha256)
    made_from = outputs.compute_fingerprint({"stage": "export"}, *sources)
    if outputs.is_made(out, made_from, overwrite):
        return [_describe(out, table) for table in manifest.tables]
    files = []
    with outputs.build_output(out, made_from) as partial:
        for table in manifest.tables:
            with read_checked(source, table.vocabulary) as path:
                vocabulary = read_vocabulary(path, ["value", "id"], source / table.vocabulary.path)
            lines = _join_weights(vocabulary, weights[table.name])
            name = f"{table.name}.parquet"
            with partial.write(name) as path:
                pq.write_table(lines, path, compression="zstd")
                files.append(describe_file(path, name, lines.num_rows))
    return files


def write_serving_folder(
    dataset: FolderLike,
    to: str,
    write_model: Callable[[Path], Serving],
    checkpoint_sha256: str,
    out: FolderLike,
    *,
    overwrite: bool = False,
) -> list[DataFile]:
    """Write a model `to` a format beside what encodes raw rows for it; return the model's files.

    `write_model` writes them to a folder and describes them. Raises ParameterError where `out` is
    in an object store.
    """
    source, out = Folder.of(dataset), Folder.of(out)
    if out.remote:
        raise ParameterError(
            f"--out {out}: a model is written to a local disk. Name a folder there, and copy it."
        )
    manifest = outputs.read_manifest(source)
    sources = (manifest.fingerprint, checkpoint_sha256)
    made_from = outputs.compute_fingerprint({"stage": "export", "to": to}, *sources)
    if outputs.is_made(out, made_from, overwrite):
        return list(Serving.read(out.path).files)
    with outputs.build_output(out, made_from) as partial, disk_errors_reported(out):
        serving = write_model(partial.path)
        for name in (MANIFEST_FILE, SUCCESS):
            partial.write_text(f"{ENCODER_FOLDER}/{name}", source.read_text(name))
        for table in manifest.tables:
            with (
                read_checked(source, table.vocabulary) as path,
                partial.write(f"{ENCODER_FOLDER}/{table.vocabulary.path}") as copy,
            ):
                shutil.copyfile(path, copy)
        partial.write_text(SERVING_FILE, serving.to_json())
    return list(serving.files)


def _describe(out: Folder, table: Table) -> DataFile:
    """Return the entry of a table's finished file."""
    name = f"{table.name}.parquet"
    with out.read(name) as path:
        return describe_file(path, name, table.vocabulary.rows + 1)


def _join_weights(vocabulary: pl.DataFrame, weights: npt.NDArray[np.floating[Any]]) -> pa.Table:
    """Return `id`, `value`, `kind` and `embedding` of a vocabulary's lines, after one for id 0."""
    oov_line = pl.DataFrame({"value": [None], "id": [OOV_ID]}, vocabulary.schema)
    lines = pl.concat([oov_line, vocabulary])
    rows = pa.array(weights[lines["id"].to_numpy()].ravel())
    kind = pl.when(pl.col("value").is_not_null()).then(pl.lit("value")).otherwise(pl.lit("missing"))
    kind = pl.when(pl.col("id") == OOV_ID).then(pl.lit("out of vocabulary")).otherwise(kind)
    lines = lines.with_columns(kind=kind)
    columns = {name: lines[name].to_arrow() for name in ("id", "value", "kind")}
    embedding = pa.FixedSizeListArray.from_arrays(rows, weights.shape[1])
    return pa.table(columns | {"embedding": embedding})
