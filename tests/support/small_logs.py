"""Twenty rows that an eye can check, and what is needed to prepare and to read back small logs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from fae.dataset.parameters import PartitionParameters
from fae.dataset.stage import write_dataset
from fae.execution.executor import Executor
from fae.format.integrity import compute_sha256
from fae.format.manifest import Manifest, format_success
from fae.hotset.hot_set import HotSet
from fae.hotset.parameters import CalibrateParameters
from fae.hotset.stage import calibrate
from fae.ingestion.parameters import IngestParameters
from fae.ingestion.part import Codes
from fae.ingestion.stage import ingest
from fae.ingestion.staging import Staging
from fae.logs.blocks import BLOCK_BYTES
from fae.logs.files import Log, find_logs
from fae.logs.schema import Schema
from fae.preparation import PreparationParameters
from fae.profiling.frequencies import Frequencies
from fae.profiling.parameters import ProfileParameters
from fae.profiling.stage import profile
from fae.storage.folder import Folder, FolderLike
from tests.support.oracle import Options

SHOP = Schema.model_validate(
    {
        "name": "shop",
        "separator": ",",
        "header": True,
        "quote": '"',
        "embedding": {"dim": 4},
        "columns": [
            {"name": "id", "role": "drop"},
            {"name": "click", "role": "label"},
            {"name": "time", "role": "time"},
            {"name": "price", "role": "dense"},
            {"name": "city", "role": "sparse"},
            {"name": "item", "role": "sparse", "encoding": "integer"},
            {
                "name": "seen",
                "role": "sparse",
                "encoding": "integer",
                "table": "item",
                "multi": {"separator": " "},
            },
        ],
    }
)

# In time's order; the last two rows are the test split and the two before them valid.
# Train has cities Oslo 8, Rome 4, missing 2, Bonn 1, Lima 1 and items 7: 12, 5: 6, 3: 4, 9: 1
# (as candidate and as seen together: 7 is 8 + 4, 5 is 4 + 2, 3 is 3 + 1, 9 is 1 + 0).
SHOP_LOG = """\
id,click,time,price,city,item,seen
a,1,1000,3,Oslo,7,
b,0,1001,,Oslo,7,7
c,0,1002,-1,Oslo,5,7 5
d,1,1003,0,Rome,7,
e,0,1004,1,Oslo,3,7
f,1,1005,1,,7,
g,0,1006,2,Rome,5,5
h,0,1007,2,Oslo,7,7
i,1,1008,9,Oslo,3,
j,0,1009,9,Bonn,7,3
k,0,1010,0,Rome,5,
l,1,1011,1,Oslo,7,
m,0,1012,1,,3,
n,0,1013,4,Rome,7,
o,1,1014,4,Oslo,5,
p,0,1015,5,Lima,9,
q,1,1016,5,Oslo,7,5
r,0,1017,6,Kyiv,7,
s,0,1018,6,Oslo,8,7 8
t,1,1019,7,Oslo,7,
"""
#: A row takes 4 × 4 bytes and 4 of state: six rows, so 0, Oslo and Rome; 0, 7 and 5.
SHOP_BUDGET = 6 * 20


@dataclass(frozen=True)
class Stages:
    """The four stages' outputs below one directory."""

    staging: Staging
    frequencies: Frequencies
    hot_set: HotSet
    manifest: Manifest
    dataset: Path


def schema_of(columns: Sequence[Mapping[str, Any]], **rest: Any) -> Schema:
    """Return a schema of comma-separated lines with these columns."""
    document = {"name": "test", "separator": ",", "embedding": {"dim": 4}, **rest}
    return Schema.model_validate({**document, "columns": list(columns)})


LABEL = {"name": "label", "role": "label"}


def written(directory: Path, files: Mapping[str, bytes | str]) -> list[str]:
    """Write `files` below `directory` and return their paths."""
    paths = []
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        paths.append(str(path))
    return paths


def staged(
    logs: Sequence[Log],
    schema: Schema,
    out: Path,
    *,
    block_bytes: int = BLOCK_BYTES,
    max_reject_share: float = 1.0,
    executor: Executor | None = None,
) -> Staging:
    parameters = IngestParameters.of(max_reject_share=max_reject_share)
    return ingest(logs, schema, out, executor or Executor(1), parameters, block_bytes=block_bytes)


def staged_rows(staging: Staging) -> list[tuple[Any, ...]]:
    """Return all staged rows, in order; times are fractions of seconds."""
    schema = staging.schema
    plain = ["label", *(column.name for column in schema.dense)]
    found: list[tuple[Any, ...]] = []
    for index in range(len(staging.parts)):
        part = staging.open_part(index)
        columns = [part.read_columns([name])[name].to_pylist() for name in plain]
        for column in schema.sparse:
            values = part.read_values(column.name).to_pylist()
            columns.append(cells(part.read_codes(column.name), values))
        if schema.time:
            seconds, *rest = (times.to_pylist() for times in part.read_times())
            parts = rest[0] if rest else [0] * len(seconds)
            pairs = zip(seconds, parts, strict=True)
            columns.append([second + Fraction(micro, 10**6) for second, micro in pairs])
        found += zip(*columns, strict=True)
    return found


def cells(codes: Codes, meanings: Sequence[Any]) -> list[Any]:
    """Return the values of a part's column, given the meanings of its codes."""
    values = [meanings[code] for code in codes.codes.tolist()]
    if codes.lengths is None:
        return values
    stops = np.cumsum(codes.lengths).tolist()
    return [values[a:b] for a, b in zip([0, *stops], stops, strict=False)]


def ranks_of(staging: Staging, frequencies: Frequencies, column: str) -> list[Any]:
    """Return the access ranks of a column, row by row."""
    return [
        cell
        for index in range(len(staging.parts))
        for cell in cells(
            staging.open_part(index).read_codes(column),
            frequencies.read_ranks(column, index).tolist(),
        )
    ]


def splits_of(staging: Staging, frequencies: Frequencies) -> list[int]:
    """Return the split code of each row."""
    parts = range(len(staging.parts))
    return np.concatenate([frequencies.assign_splits(staging, part) for part in parts]).tolist()


def rejects_of(directory: Path) -> list[dict[str, Any]]:
    """Read the rejected lines in the `rejects.jsonl` of `directory`."""
    text = (directory / "rejects.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]


def parameters_of(options: Options) -> PreparationParameters:
    return PreparationParameters(
        IngestParameters.of(max_reject_share=1.0),
        ProfileParameters.of(
            valid=options.valid,
            test=options.test,
            min_count=dict(options.min_count),
            sample=options.sample,
            seed=options.seed,
        ),
        CalibrateParameters.of(
            hot_budget=options.budget,
            dtype=options.dtype,
            optimizer=options.optimizer,
            rule="accesses",
            cold_ids="hashed" if options.cold_buckets else "exact",
            cold_buckets=options.cold_buckets,
        ),
        PartitionParameters.of(seed=options.seed),
    )


def stages(
    logs: Sequence[Log],
    schema: Schema,
    directory: Path,
    options: Options,
    *,
    executor: Executor | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Stages:
    """Run the four stages in `directory`."""
    executor = executor or Executor(1)
    parameters = parameters_of(options)
    staging = ingest(
        logs,
        schema,
        directory / "staging",
        executor,
        parameters.ingest,
        block_bytes=block_bytes,
    )
    frequencies = profile(staging, directory / "frequencies", executor, parameters.profile)
    hot_set = calibrate(staging, frequencies, directory / "hot_set", executor, parameters.calibrate)
    dataset = directory / "dataset"
    manifest = write_dataset(staging, frequencies, hot_set, dataset, executor, parameters.partition)
    return Stages(staging, frequencies, hot_set, manifest, dataset)


def shop_stages(directory: Path, **changed: Any) -> Stages:
    """Prepare the twenty rows; `changed` are options."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = written(directory, {"shop.csv": SHOP_LOG})
    options = Options(**{"budget": SHOP_BUDGET, **changed})
    return stages(find_logs(paths, SHOP), SHOP, directory, options)


def leaf_rows(
    dataset: Path, manifest: Manifest, schema: Schema
) -> dict[tuple[str, str], list[tuple[Any, ...]]]:
    """Return the rows of every leaf as the oracle does: (label, dense, ids), in order."""
    leaves = {}
    for split, temperatures in manifest.splits.items():
        for temperature, leaf in temperatures.items():
            rows = []
            for file in leaf.files:
                for row in pq.read_table(dataset / file.path, partitioning=None).to_pylist():
                    ids = [
                        tuple(row[column.name]) if column.multi else row[column.name]
                        for column in schema.sparse
                    ]
                    dense = tuple(float(np.float32(row[column.name])) for column in schema.dense)
                    rows.append((row["label"], dense, tuple(ids)))
            leaves[split, temperature] = rows
    return leaves


def vocabularies(dataset: Path, manifest: Manifest) -> dict[str, dict[int, Any]]:
    """Return each table's raw values by id, the first of each."""
    found = {}
    for table in manifest.tables:
        frame = pl.read_parquet(dataset / table.vocabulary.path)
        first = frame.unique("id", keep="first", maintain_order=True)
        found[table.name] = dict(zip(first["id"], first["value"], strict=True))
    return found


def ids_by_value(dataset: Path, manifest: Manifest) -> dict[str, dict[Any, int]]:
    """Return each table's ids by raw value."""
    return {
        table.name: dict(
            pl.read_parquet(dataset / table.vocabulary.path, columns=["value", "id"]).iter_rows()
        )
        for table in manifest.tables
    }


def digests(place: FolderLike) -> dict[str, str]:
    """Return the sha256 of every file in a folder on a disk or in a store."""
    folder, found = Folder.of(place), {}
    for name in folder.list_files():
        with folder.read(name) as path:
            found[name] = compute_sha256(path)
    return found


def edit_manifest(dataset: Path, *keys: str | int, value: Any) -> None:
    """Set the entry of `manifest.json` that `keys` lead to."""
    path = dataset / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    place = document
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(document), encoding="utf-8")
    signed(dataset)


def signed(dataset: Path) -> None:
    """Make the checksum in `_SUCCESS` that of the manifest as it is now."""
    path = dataset / "_SUCCESS"
    fingerprint = path.read_text(encoding="utf-8").split("\n")[0]
    path.write_text(format_success(fingerprint, (dataset / "manifest.json").read_bytes()))


def resigned(dataset: Path, file: str) -> None:
    """Make the manifest's size and checksum of `file` those that it has now."""
    path = dataset / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    data = (dataset / file).read_bytes()

    def correct(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("path") == file:
                value |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for item in value.values():
                correct(item)
        elif isinstance(value, list):
            for item in value:
                correct(item)

    correct(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    signed(dataset)
