"""Measure drift: what the former hot set covers of further logs, and which ids changed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import TypeAdapter

from fae.appending.merge_stagings import MergedStaging
from fae.arrays.arrow import BoolArray, Int64Array
from fae.commit import outputs
from fae.dataset.integrity import read_checked, read_vocabulary
from fae.execution.executor import Executor
from fae.format.integrity import DataFile, describe_file
from fae.format.manifest import DRIFT, MAPPING, OOV_ID, LearntMoments, Manifest, Table
from fae.hotset.hot_set import HotSet
from fae.ingestion.staging import Staging
from fae.profiling.frequencies import Frequencies
from fae.profiling.splits import TRAIN
from fae.storage.folder import Folder
from fae.storage.raw_arrays import read_numbers, write_numbers

_MAX_INT32 = 2**31 - 1
#: A folder of the unfinished data set, not of the finished one.
_MASKS_FOLDER = "former_hot.partial"


@dataclass(frozen=True)
class HotCounts:
    """What a hot set covers: samples that touch hot rows only (`inputs`), and hot accesses."""

    inputs: int
    accesses: int


@dataclass(frozen=True)
class Coverage:
    """Samples of all splits (`inputs`) and their accesses, and how many each hot set covers."""

    inputs: int
    accesses: int
    former: HotCounts
    now: HotCounts

    def shares(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the shares of samples and accesses that each hot set covers, the former first."""
        former, now = (
            (hot.inputs / max(self.inputs, 1), hot.accesses / max(self.accesses, 1))
            for hot in (self.former, self.now)
        )
        return former, now


@dataclass(frozen=True)
class TableDrift:
    """One table's rows and hot rows before and now, and how many entered and left the hot set.

    Rows are identified by their raw values. `gone` counts values that have no row now.
    """

    name: str
    former_rows: int
    rows: int
    gone: int
    former_hot_rows: int
    hot_rows: int
    entered: int
    left: int


@dataclass(frozen=True)
class Drift:
    """The former hot set compared with this one, on all rows and on those of the new logs.

    Of these, some became train rows and others are held out, for validation and test; a data set of
    an earlier version does not tell them apart.
    `former` is the fingerprint of the data set before logs were appended. A value that it did not
    know is cold under its hot set; a value that has no row now is hot under both, as id 0 is.
    `former_standardized` says how its dense columns were standardised, where that was learnt.
    """

    former: str
    former_budget: int
    budget: int
    new_rows: Coverage
    all_rows: Coverage
    tables: tuple[TableDrift, ...]
    new_train_rows: Coverage | None = None
    new_held_out_rows: Coverage | None = None
    former_standardized: tuple[LearntMoments, ...] = ()

    @classmethod
    def read(cls, dataset: Folder, manifest: Manifest) -> Drift | None:
        """Return the drift of the data set's last append; None where nothing was appended.

        Raises DatasetError where the file is damaged.
        """
        if DRIFT not in {record.path for record in manifest.records}:
            return None
        with outputs.damage_reported(dataset / DRIFT):
            return TypeAdapter(cls).validate_json(dataset.read_text(DRIFT))


@dataclass(frozen=True)
class _Task:
    """One staged part; the folder `masks` has, for each table, which ranks were hot before."""

    staging: str
    frequencies: str
    hot_set: str
    masks: str
    part: int


def write_drift(
    former: Folder,
    merged: MergedStaging,
    frequencies: Frequencies,
    hot_set: HotSet,
    partial: Folder,
    tables: tuple[Table, ...],
    executor: Executor,
) -> tuple[DataFile, ...]:
    """Write `mapping/TABLE.parquet` and `drift.json` into the unfinished data set `partial`.

    `former` is the data set that it will replace. Return the files for the manifest. Raises
    DatasetError where a former vocabulary is damaged.
    """
    manifest = outputs.read_manifest(former)
    masks = partial / _MASKS_FOLDER
    files, table_drifts, ids = [], [], hot_set.read_ids()
    for table in tables:
        former_table = manifest.table(table.name)
        with (
            read_checked(former, former_table.vocabulary) as former_vocabulary,
            partial.read(table.vocabulary.path) as vocabulary,
        ):
            values = _match_values(former_vocabulary, vocabulary)
        mapping = _id_mapping(values)
        name = f"{MAPPING}/{table.name}.parquet"
        with partial.write(name) as path:
            mapping.write_parquet(path, compression="zstd")
            files.append(describe_file(path, name, mapping.height))
        ranks = np.argsort(ids[table.name], kind="stable")
        was_hot = _was_hot(values["line"].to_numpy(), ranks, former_table)
        write_numbers(masks, f"{table.name}.bool", [was_hot])
        stayed = int(was_hot[ranks[: table.hot_rows]].sum())
        gone = int((values["new"][1:] == OOV_ID).sum())
        table_drifts.append(_table_drift(former_table, table, gone, stayed))
    stages = (merged.staging, frequencies, hot_set)
    staged, counted, chosen = (str(stage.directory) for stage in stages)
    parts = range(len(merged.staging.parts))
    tasks = [_Task(staged, counted, chosen, str(masks), part) for part in parts]
    counts = np.array(executor.run("drift", _count_part, tasks, task_log=partial), dtype=np.int64)
    of_new = counts[sorted(merged.new_parts)]
    drift = Drift(
        former=manifest.fingerprint,
        former_budget=manifest.budget.bytes,
        budget=hot_set.budget.bytes,
        new_rows=_sum_coverage(of_new),
        all_rows=_sum_coverage(counts),
        tables=tuple(table_drifts),
        new_train_rows=_sum_coverage(of_new[:, :1]),
        new_held_out_rows=_sum_coverage(of_new[:, 1:]),
        former_standardized=manifest.features.standardized,
    )
    document = asdict(drift)
    if not drift.former_standardized:
        del document["former_standardized"]
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    with partial.write(DRIFT) as path:
        path.write_text(text, encoding="utf-8")
        return (*files, describe_file(path, DRIFT, len(table_drifts)))


def _match_values(former_vocabulary: Path, vocabulary: Path) -> pl.DataFrame:
    """Return `old`, `new`, `accesses` and `line` of each former value, with id 0 in front.

    `new` is the id that the value has now and `line` its line in the new vocabulary, from 1; both
    are 0 where it has none. `accesses` are those in the former train split.
    """
    lines = read_vocabulary(vocabulary, ["value", "id"]).with_row_index("line", offset=1)
    former = read_vocabulary(former_vocabulary, ["value", "id", "accesses"])
    matched = former.rename({"id": "old"}).join(
        lines.rename({"id": "new"}), on="value", how="left", nulls_equal=True, maintain_order="left"
    )
    columns = ["old", "new", "accesses", "line"]
    values = matched.select(pl.col(columns).fill_null(OOV_ID).cast(pl.Int64()))
    out_of_vocabulary = values.clear(1).fill_null(OOV_ID)
    return pl.concat([out_of_vocabulary, values])


def _id_mapping(values: pl.DataFrame) -> pl.DataFrame:
    """Return `old` and `new`, in 32 bits where all ids fit, and `accesses`."""
    is_wide = bool((values.select("old", "new").to_numpy() > _MAX_INT32).any())
    ids = pl.Int64() if is_wide else pl.Int32()
    return values.select(pl.col("old", "new").cast(ids), "accesses")


def _was_hot(lines: Int64Array, ranks: Int64Array, former: Table) -> BoolArray:
    """Return which of a table's access ranks were hot before, shape (rows,); that of id 0 was.

    `lines` maps lines of the former vocabulary to lines of the new one, and `ranks` maps these to
    access ranks. Both count id 0 as line 0, and a former vocabulary lists hot values first.
    """
    was_hot = np.zeros(ranks.size, dtype=np.bool_)
    was_hot[ranks[lines[: former.hot_rows]]] = True
    return was_hot


def _table_drift(former: Table, table: Table, gone: int, stayed: int) -> TableDrift:
    return TableDrift(
        name=table.name,
        former_rows=former.rows,
        rows=table.rows,
        gone=gone,
        former_hot_rows=former.hot_rows,
        hot_rows=table.hot_rows,
        entered=table.hot_rows - stayed,
        left=former.hot_rows - stayed,
    )


def _count_part(task: _Task) -> list[list[int]]:
    """Return a part's samples and accesses, and how many each hot set covers, the former first.

    The first list counts train rows, the second those held out. A sample is hot where none of its
    accesses, over all columns, is to a cold row.
    """
    staging = Staging.read(task.staging)
    frequencies = Frequencies.read(task.frequencies)
    hot_set = HotSet.read(task.hot_set)
    hot_rows = {table.name: table.hot_rows for table in hot_set.tables}
    part, rows = staging.open_part(task.part, buffered=True), staging.parts[task.part].rows
    ids_of_table = hot_set.read_ids()
    accesses = np.zeros(rows, dtype=np.int64)
    # Index 0 is the former hot set, 1 the new one.
    hot_accesses = np.zeros((2, rows), dtype=np.int64)
    for column in staging.schema.sparse:
        table = column.table_name
        # A column's codes number the part's distinct values; each has a rank, and a rank an id. So
        # hotness is looked up once a distinct value, then spread over the accesses.
        ranks = frequencies.read_ranks(column.name, task.part)
        ids = ids_of_table[table][ranks]
        was_hot = read_numbers(Folder.of(task.masks), f"{table}.bool", np.bool_)
        codes = part.read_codes(column.name)
        accesses += 1 if codes.lengths is None else codes.lengths
        for index, is_hot in enumerate((was_hot[ranks], ids < hot_rows[table])):
            is_hot_access = is_hot[codes.codes]
            if codes.lengths is not None:
                of_hot = codes.expand_rows(rows)[is_hot_access]
                hot_accesses[index] += np.bincount(of_hot, minlength=rows)
            else:
                hot_accesses[index] += is_hot_access
    is_train = frequencies.assign_splits(staging, task.part) == TRAIN
    counts = []
    for selected in (is_train, ~is_train):
        made, hot = accesses[selected], hot_accesses[:, selected]
        samples = (hot == made).sum(axis=1).tolist()
        former, now = zip(samples, hot.sum(axis=1).tolist(), strict=True)
        counts.append([made.size, int(made.sum()), *former, *now])
    return counts


def _sum_coverage(counts: Int64Array) -> Coverage:
    """Return the coverage of some rows, given `_count_part`'s numbers, shape (parts, splits, 6)."""
    samples, accesses, *hot = counts.sum(axis=(0, 1)).tolist()
    return Coverage(samples, accesses, HotCounts(*hot[:2]), HotCounts(*hot[2:]))
