"""Calibration: frequencies and a byte budget in, the hot set and its curve out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline import artefact
from pipeline.cluster import Cluster
from pipeline.curve import Reach, curve
from pipeline.frequencies import SPLIT, Frequencies
from pipeline.hot_set import data_set_ids, hot_set, placement
from pipeline.manifest import SPLITS, Budget, Embedding
from pipeline.parameters import CalibrateParameters
from pipeline.rules import RULES, StackedRows
from pipeline.schema import Schema

FILE_NAME = "hot_set.json"
CURVE = "curve.csv"
#: A table is hot whole where it takes at most this share of the budget: 1 MiB of FAE's 256 MiB.
WHOLE_TABLE_SHARE = 1 / 256


@dataclass(frozen=True)
class HotTable:
    """One table's size and price, and how many of its rows are hot."""

    name: str
    rows: int
    hot_rows: int
    dim: int
    row_bytes: int


@dataclass(frozen=True)
class Calibration:
    """A finished calibration. `inputs` counts hot and cold inputs by split."""

    directory: Path
    embedding: Embedding
    budget: Budget
    tables: tuple[HotTable, ...]
    inputs: dict[str, dict[str, int]]
    access_share: float

    def ids(self, table: str) -> npt.NDArray[np.uint32]:
        """The data set's id for each access rank of a table, rank 0 included."""
        ids: npt.NDArray[np.uint32] = np.load(self.directory / "ids" / f"{table}.npy")
        return ids

    def hot_share(self, split: str) -> float | None:
        """The share of a split's inputs that touch hot rows only; None for an empty split."""
        counts = self.inputs[split]
        total = counts["hot"] + counts["cold"]
        return counts["hot"] / total if total else None

    def curve(self) -> pl.DataFrame:
        """Hot and access shares against budget."""
        return pl.read_csv(self.directory / CURVE)

    @classmethod
    def read(cls, directory: Path) -> Calibration:
        """The calibration in a finished directory; DatasetError where there is none."""
        artefact.fingerprint_of(directory)
        document = json.loads((directory / FILE_NAME).read_text(encoding="utf-8"))
        return cls(
            directory,
            Embedding(**document["embedding"]),
            Budget(**document["budget"]),
            tuple(HotTable(**table) for table in document["tables"]),
            document["inputs"],
            document["access_share"],
        )


@dataclass(frozen=True)
class _Task:
    """The inputs of one staged part; `places` names the file with the place of each stacked row."""

    frequencies: str
    part: int
    columns: tuple[tuple[str, int], ...]
    places: str


def calibrate(
    frequencies: Frequencies,
    schema: Schema,
    out: Path,
    cluster: Cluster,
    parameters: CalibrateParameters,
    *,
    overwrite: bool = False,
) -> Calibration:
    """Choose the rows that the hot budget of `parameters` holds, into the directory `out`.

    The budget counts each row's dim, dtype and optimiser state. Raises BudgetError where it cannot
    hold one row of each table.
    """
    made_from = parameters.fingerprint(artefact.fingerprint_of(frequencies.directory))
    if artefact.is_made(out, made_from, overwrite):
        return Calibration.read(out)
    budget_bytes, embedding = int(parameters.hot_budget), parameters.embedding
    rows = stacked_rows(frequencies, schema, embedding)
    placed = placement(rows, RULES[parameters.rule](rows), int(budget_bytes * WHOLE_TABLE_SHARE))
    chosen = hot_set(rows, placed, budget_bytes)
    with artefact.building(out, made_from) as partial:
        reach = _reach(frequencies, schema, rows, chosen.placed, partial, cluster)
        (partial / "ids").mkdir()
        ids = data_set_ids(rows, chosen.placed)
        for t, table in enumerate(rows.tables):
            part = ids[rows.first[t] : rows.first[t + 1]].astype(np.uint32)
            np.save(partial / "ids" / f"{table}.npy", part, allow_pickle=False)
        curve(rows, chosen.placed, reach, budget_bytes).write_csv(partial / CURVE)
        hot = {split: int(reach[split].hot(np.array(chosen.hot))) for split in SPLITS}
        accessed = int(rows.accesses[chosen.placed[: chosen.hot]].sum())
        document = {
            "embedding": asdict(embedding),
            "budget": asdict(Budget(budget_bytes, chosen.used_bytes, parameters.rule)),
            "tables": [
                asdict(HotTable(name, int(size), int(hot_rows), dim, int(row_bytes)))
                for name, size, hot_rows, dim, row_bytes in zip(
                    rows.tables,
                    np.diff(rows.first),
                    chosen.hot_rows,
                    _dims(schema),
                    rows.row_bytes,
                    strict=True,
                )
            ],
            "inputs": {
                split: {"hot": hot[split], "cold": reach[split].total - hot[split]}
                for split in SPLITS
            },
            "access_share": accessed / max(int(rows.accesses.sum()), 1),
        }
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        (partial / FILE_NAME).write_text(text, encoding="utf-8")
    return Calibration.read(out)


def _dims(schema: Schema) -> list[int]:
    return [schema.dim(columns[0]) for columns in schema.tables.values()]


def stacked_rows(frequencies: Frequencies, schema: Schema, embedding: Embedding) -> StackedRows:
    """The rows of all tables with their accesses (in the sample, where there is one) and prices."""
    counts: list[npt.NDArray[np.int64]] = []
    for table in frequencies.tables:
        found = frequencies.accesses(table.name)["sampled"].to_numpy()
        out_of_vocabulary = table.accesses - int(found.sum()) if frequencies.sample >= 1 else 0
        counts.append(np.concatenate([[out_of_vocabulary], found]).astype(np.int64))
    return StackedRows(
        tables=tuple(table.name for table in frequencies.tables),
        first=np.cumsum([0, *(count.size for count in counts)]),
        accesses=np.concatenate(counts),
        row_bytes=np.array([embedding.row_bytes(dim) for dim in _dims(schema)], dtype=np.int64),
    )


def _reach(
    frequencies: Frequencies,
    schema: Schema,
    rows: StackedRows,
    placed: npt.NDArray[np.int64],
    partial: Path,
    cluster: Cluster,
) -> dict[str, Reach]:
    """For each split, how many inputs each further row of `placed` makes hot."""
    place = np.full(rows.accesses.size, placed.size, dtype=np.int64)
    place[placed] = np.arange(placed.size)
    places = partial / "places.npy"
    np.save(places, place, allow_pickle=False)
    first = dict(zip(rows.tables, rows.first.tolist(), strict=False))
    columns = tuple((column.name, first[column.table_name]) for column in schema.sparse)
    tasks = [
        _Task(str(frequencies.directory), part, columns, str(places))
        for part in range(frequencies.splits().num_row_groups)
    ]
    found = cluster.run("calibrate", _coldest_places, tasks)
    places.unlink()
    codes = np.concatenate([codes for codes, _ in found])
    coldest = np.concatenate([coldest for _, coldest in found])
    return {
        split: Reach(np.bincount(coldest[codes == code] + 1, minlength=placed.size + 2))
        for code, split in enumerate(SPLITS)
    }


def _coldest_places(task: _Task) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int64]]:
    """The split of each input of a part, and the place of its coldest access; -1 for no access."""
    frequencies = Frequencies.read(Path(task.frequencies))
    place = np.load(task.places, mmap_mode="r")
    codes = frequencies.splits().read_row_group(task.part)[SPLIT].to_numpy()
    coldest = np.full(codes.size, -1, dtype=np.int64)
    for column, first in task.columns:
        ids = frequencies.inputs(column).read_row_group(task.part)[column].combine_chunks()
        if pa.types.is_large_list(ids.type):
            rows = np.repeat(np.arange(codes.size), np.diff(ids.offsets.to_numpy()))
            np.maximum.at(coldest, rows, place[first + ids.flatten().to_numpy().astype(np.int64)])
        else:
            np.maximum(coldest, place[first + ids.to_numpy().astype(np.int64)], out=coldest)
    return codes, coldest
