"""Define `serving.json`, which says what an exported model's folder holds and how to call it.

The folder has the model, and below `encoder` a data set without its rows: its manifest and its
vocabularies, which are what turns raw rows into the model's inputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fae.format.errors import DatasetError
from fae.format.integrity import DataFile, find_fault
from fae.format.json_codec import decode, encode, optional
from fae.format.manifest import Manifest

#: What `fae export --to` takes: tables in raw values, weights, and programs that score.
EXPORT_FORMATS = ("parquet", "safetensors", "torch", "onnx")
FORMAT = "fae-serving"
VERSION = 1
SERVING_FILE = "serving.json"
ENCODER_FOLDER = "encoder"
#: Fills up the lists of ids that are shorter than the longest one of a batch.
NO_ID = -1


@dataclass(frozen=True)
class Tensors:
    """An input or output. `shape` has sizes and names of sizes that vary, the batch first.

    An input has a column for each of `columns`; where it `holds_lists`, it is one column's lists of
    ids, each filled up to the longest with NO_ID.
    """

    name: str
    dtype: str
    shape: tuple[Any, ...]
    columns: tuple[str, ...] = optional(())
    holds_lists: bool = optional(False)


@dataclass(frozen=True)
class Serving:
    """The content of `serving.json`: the model `to` a format, made of a data set and a run.

    `files` are the model's, of which the first is to be opened. `network` has the widths of the
    layers, and `made_with` the versions of the programs that wrote the folder.
    """

    version: int
    to: str
    fingerprint: str
    checkpoint_sha256: str
    inputs: tuple[Tensors, ...]
    outputs: tuple[Tensors, ...]
    network: Mapping[str, Any]
    made_with: Mapping[str, str]
    files: tuple[DataFile, ...]

    def to_json(self) -> str:
        """Return the text of `serving.json`."""
        document = {"format": FORMAT, **encode(self)}
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def read(cls, directory: Path) -> Serving:
        """Return the description of an exported model whose files have been checked.

        Raises DatasetError where there is none, it is of another version, or a file is damaged.
        """
        path = directory / SERVING_FILE
        try:
            document = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            document = None
        if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
            raise DatasetError(
                f"{directory} is not an exported model: it has no readable {SERVING_FILE}. Write "
                f"one: fae export DIR RUN --to onnx --out {directory}"
            )
        if document.get("version") != VERSION:
            raise DatasetError(
                f"{path} has version {document.get('version')!r}, and this program reads version "
                f"{VERSION}. Export the model again."
            )
        serving = decode(cls, document, str(path))
        for file in serving.files:
            if Path(file.path).name != file.path:
                raise DatasetError(f"{path}: {file.path!r} is not a file of this folder.")
            if fault := find_fault(directory / file.path, file):
                raise DatasetError(
                    f"{directory / file.path}: {fault}. Copy the folder again, or export the model "
                    "again."
                )
        return serving


def describe_inputs(manifest: Manifest) -> tuple[Tensors, ...]:
    """Return a data set's inputs: dense values, ids, and for each list column its lists of ids.

    Those that the data set has no columns for are left out.
    """
    sparse = manifest.features.sparse
    dense, plain = manifest.features.dense, tuple(f.name for f in sparse if not f.multi)
    inputs = [
        Tensors("dense", "float32", ("batch", len(dense)), dense),
        Tensors("ids", "int64", ("batch", len(plain)), plain),
    ]
    lists = [
        Tensors(f"list_{name}", "int64", ("batch", f"longest_{number}"), (name,), True)
        for number, name in enumerate(f.name for f in sparse if f.multi)
    ]
    return (*(tensors for tensors in inputs if tensors.columns), *lists)
