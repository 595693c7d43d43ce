"""Find the rows of raw values by a table's vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from fae.format.errors import ParameterError
from fae.format.integrity import check_file
from fae.format.manifest import Table
from fae_trainer.data.decoding import reading


def find_row_ids(data: Path, table: Table, values: Sequence[Any]) -> Tensor:
    """Return the id of each raw value of a table, (values,), as the log writes it.

    A missing value is None. The vocabulary is read a row group at a time. Raises ParameterError
    where a value is unknown, given twice or of another type, and DatasetError where the vocabulary
    is absent or damaged.
    """
    path = data / table.vocabulary.path
    check_file(path, table.vocabulary)
    ids = torch.full((len(values),), -1, dtype=torch.int64)
    with reading(path), pq.ParquetFile(path.absolute()) as vocabulary:
        kind = vocabulary.schema_arrow.field("value").type
        wanted = _to_array(values, kind, table.name)
        for group in range(vocabulary.num_row_groups):
            lines = vocabulary.read_row_group(group, columns=["value", "id"])
            at = pc.index_in(lines.column("value"), value_set=wanted)
            found = lines.filter(pc.is_valid(at))
            ids[torch.tensor(at.drop_null().to_numpy())] = torch.tensor(
                found.column("id").to_numpy(), dtype=torch.int64
            )
    if unknown := (ids < 0).nonzero().flatten().tolist():
        raise ParameterError(
            f"{len(unknown)} values are not in the vocabulary of table {table.name}, for example "
            f"{values[unknown[0]]!r}. Leave them out: new rows of them use row 0."
        )
    return ids


def _to_array(values: Sequence[Any], kind: pa.DataType, table: str) -> pa.Array:
    """Return values as the vocabulary's type; raise ParameterError where that cannot be."""
    try:
        wanted = pa.array(list(values), kind)
    except (pa.ArrowException, TypeError, OverflowError):
        raise ParameterError(f"The values of table {table} are of type {kind}.") from None
    counts = pc.value_counts(wanted)
    for each in counts.filter(pc.greater(counts.field("counts"), 1))[:1]:
        raise ParameterError(f"Value {each['values'].as_py()!r} of table {table} is given twice.")
    return wanted
