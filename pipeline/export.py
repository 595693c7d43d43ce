"""Export: the trained embedding tables in raw values, for whoever serves the model."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import artefact
from pipeline.manifest import OOV_ID, DataFile, Manifest
from pipeline.partitions import data_file


def export(dataset: Path, run: Path, out: Path, *, overwrite: bool = False) -> list[DataFile]:
    """Write one Parquet file a table to `out`: `id`, `value` and `embedding` (dim), by id.

    Id 0, out of vocabulary, has a null value; so has the missing category, under its own id. Each
    value of a hashed id has a line with the id's embedding; an id without a value has none.
    Raises DatasetError where the run was trained on another data set.
    """
    from trainer.checkpoint import load, table_weights

    manifest = Manifest.read(dataset)
    load(run).check_data(manifest, run)
    weights = table_weights(run)
    made_from = artefact.fingerprint({"stage": "export"}, manifest.fingerprint, _digest(run))
    files: list[DataFile] = []
    if artefact.is_made(out, made_from, overwrite):
        return [
            data_file(out, f"{table.name}.parquet", table.vocabulary.rows + 1)
            for table in manifest.tables
        ]
    with artefact.building(out, made_from) as partial:
        for table in manifest.tables:
            values = pl.read_parquet(dataset / table.vocabulary.path, columns=["value", "id"])
            out_of_vocabulary = pl.DataFrame({"value": [None], "id": [OOV_ID]}, values.schema)
            lines = pl.concat([out_of_vocabulary, values])
            matrix = pa.array(weights[table.name][lines["id"].to_numpy()].ravel())
            embedding = pa.FixedSizeListArray.from_arrays(matrix, table.dim)
            columns = {
                "id": lines["id"].to_arrow(),
                "value": lines["value"].to_arrow(),
                "embedding": embedding,
            }
            path = f"{table.name}.parquet"
            pq.write_table(pa.table(columns), partial / path, compression="zstd")
            files.append(data_file(partial, path, lines.height))
    return files


def _digest(run: Path) -> str:
    return data_file(run, "checkpoint.pt", 0).sha256
