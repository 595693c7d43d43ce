"""Export: the trained embedding tables in raw values, for whoever serves the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from fae.commit import outputs
from fae.dataset.presence import checked
from fae.format.integrity import DataFile, describe_file
from fae.format.manifest import OOV_ID
from fae.storage.folder import Folder, FolderLike


def write_tables(
    dataset: FolderLike,
    weights: Mapping[str, npt.NDArray[np.floating[Any]]],
    checkpoint_sha256: str,
    out: FolderLike,
    *,
    overwrite: bool = False,
) -> list[DataFile]:
    """Write one Parquet file a table to `out`: `id`, `value` and `embedding` (dim), by id.

    `weights` map each table's name to its trained rows, (rows, dim), in the order of ids. Id 0, out
    of vocabulary, has a null value; so has the missing category, under its own id. Each value of a
    hashed id has a line with the id's embedding; an id without a value has none.
    """
    source, out = Folder.of(dataset), Folder.of(out)
    manifest = outputs.read_manifest(source)
    made_from = outputs.compute_fingerprint(
        {"stage": "export"}, manifest.fingerprint, checkpoint_sha256
    )
    files: list[DataFile] = []
    if outputs.is_made(out, made_from, overwrite):
        return [
            _exported(out, f"{table.name}.parquet", table.vocabulary.rows + 1)
            for table in manifest.tables
        ]
    with outputs.build_output(out, made_from) as partial:
        for table in manifest.tables:
            with checked(source, table.vocabulary) as path:
                values = pl.read_parquet(path, columns=["value", "id"])
            out_of_vocabulary = pl.DataFrame({"value": [None], "id": [OOV_ID]}, values.schema)
            lines = pl.concat([out_of_vocabulary, values])
            matrix = pa.array(weights[table.name][lines["id"].to_numpy()].ravel())
            embedding = pa.FixedSizeListArray.from_arrays(matrix, table.dim)
            columns = {
                "id": lines["id"].to_arrow(),
                "value": lines["value"].to_arrow(),
                "embedding": embedding,
            }
            name = f"{table.name}.parquet"
            with partial.write(name) as path:
                pq.write_table(pa.table(columns), path, compression="zstd")
                files.append(describe_file(path, name, lines.height))
    return files


def _exported(out: Folder, name: str, rows: int) -> DataFile:
    with out.read(name) as path:
        return describe_file(path, name, rows)
