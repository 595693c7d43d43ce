"""Drift: what a data set's hot set was still worth on further logs, and which ids became which."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import TypeAdapter

from fae.appending.merge_stagings import MergedStaging
from fae.commit import outputs
from fae.dataset.presence import checked
from fae.execution.executor import Executor
from fae.format.integrity import DataFile, describe_file
from fae.format.manifest import DRIFT, MAPPING, OOV_ID, Manifest, Table
from fae.hotset.hot_set import HotSet
from fae.ingestion.staging import Staging
from fae.profiling.frequencies import Frequencies
from fae.storage.folder import Folder
from fae.storage.raw_arrays import read_numbers, write_numbers

Flags = npt.NDArray[np.bool_]
_LARGEST_INT32 = 2**31 - 1
_MASKS = "former_hot.partial"


@dataclass(frozen=True)
class Worth:
    """What a hot set covers: inputs that touch hot rows only, and accesses to hot rows."""

    inputs: int
    accesses: int


@dataclass(frozen=True)
class Coverage:
    """Rows of all splits and their accesses, and what of them each hot set covers."""

    inputs: int
    accesses: int
    former: Worth
    now: Worth

    def shares(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The shares of inputs and of accesses that the former hot set covers, and that this."""
        former, now = (
            (worth.inputs / max(self.inputs, 1), worth.accesses / max(self.accesses, 1))
            for worth in (self.former, self.now)
        )
        return former, now


@dataclass(frozen=True)
class TableDrift:
    """One table's rows and hot rows before and now, and how many entered and left the hot set.

    A row is the same where its raw value is. `gone` counts values that have no row now.
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
    """The former hot set against this one, over all rows and over those of the new logs.

    `former` is the fingerprint of the data set that was added to. A value that it did not know is
    cold under its hot set; a value that has no row now is hot under both, as id 0 is.
    """

    former: str
    former_budget: int
    budget: int
    new_rows: Coverage
    all_rows: Coverage
    tables: tuple[TableDrift, ...]

    @classmethod
    def read(cls, dataset: Folder, manifest: Manifest) -> Drift | None:
        """What a data set tells of its last addition; None where nothing was added to it."""
        if DRIFT not in {record.path for record in manifest.records}:
            return None
        with outputs.damage_reported(dataset / DRIFT):
            return TypeAdapter(cls).validate_json(dataset.text(DRIFT))


@dataclass(frozen=True)
class _Task:
    """One staged part; below `masks` lies, for each table, which ranks were hot before."""

    staging: str
    frequencies: str
    hot_set: str
    part: int
    masks: str


def write_drift(
    former: Folder,
    extension: MergedStaging,
    frequencies: Frequencies,
    hot_set: HotSet,
    partial: Folder,
    tables: tuple[Table, ...],
    executor: Executor,
) -> tuple[DataFile, ...]:
    """Write `mapping/TABLE.parquet` and `drift.json` into the data set that is made at `partial`.

    `former` is the data set that it will replace. Return the files for the manifest.
    """
    manifest = outputs.read_manifest(former)
    masks = partial / _MASKS
    files, found, ids = [], [], hot_set.read_ids()
    for table in tables:
        before = manifest.table(table.name)
        with (
            checked(former, before.vocabulary) as old,
            partial.read(table.vocabulary.path) as now,
        ):
            known = _known(old, now)
        mapping = _mapping(known)
        name = f"{MAPPING}/{table.name}.parquet"
        with partial.write(name) as path:
            mapping.write_parquet(path, compression="zstd")
            files.append(describe_file(path, name, mapping.height))
        ranks = np.argsort(ids[table.name], kind="stable")
        was_hot = _was_hot(known["line"].to_numpy(), ranks, before)
        write_numbers(masks, f"{table.name}.bool", [was_hot])
        stayed = int(was_hot[ranks[: table.hot_rows]].sum())
        gone = int((known["new"][1:] == OOV_ID).sum())
        found.append(_table_drift(before, table, gone, stayed))
    tasks = [
        _Task(
            str(extension.staging.directory),
            str(frequencies.directory),
            str(hot_set.directory),
            part,
            str(masks),
        )
        for part in range(len(extension.staging.parts))
    ]
    counts = np.array(executor.run("drift", _covered, tasks, task_log=partial), dtype=np.int64)
    drift = Drift(
        former=manifest.fingerprint,
        former_budget=manifest.budget.bytes,
        budget=hot_set.budget.bytes,
        new_rows=_summed(counts[sorted(extension.new_parts)]),
        all_rows=_summed(counts),
        tables=tuple(found),
    )
    text = json.dumps(asdict(drift), indent=1, ensure_ascii=False) + "\n"
    with partial.write(DRIFT) as path:
        path.write_text(text, encoding="utf-8")
        return (*files, describe_file(path, DRIFT, len(found)))


def _known(former: Path, now: Path) -> pl.DataFrame:
    """`old`, `new`, `accesses` and `line` of each value of a former vocabulary, after id 0.

    `new` is the id that the value has now and `line` that of its line in the vocabulary, from 1;
    both are 0 where it has none. `accesses` are those of the former train split.
    """
    lines = pl.read_parquet(now, columns=["value", "id"]).with_row_index("line", offset=1)
    before = pl.read_parquet(former, columns=["value", "id", "accesses"])
    found = before.rename({"id": "old"}).join(
        lines.rename({"id": "new"}),
        on="value",
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    columns = ["old", "new", "accesses", "line"]
    known = found.select(pl.col(columns).fill_null(OOV_ID).cast(pl.Int64()))
    out_of_vocabulary = known.clear(1).fill_null(OOV_ID)
    return pl.concat([out_of_vocabulary, known])


def _mapping(known: pl.DataFrame) -> pl.DataFrame:
    """`old`, `new`, as wide as ids must be, and `accesses`."""
    wide = bool((known.select("old", "new").to_numpy() > _LARGEST_INT32).any())
    ids = pl.Int64() if wide else pl.Int32()
    return known.select(pl.col("old", "new").cast(ids), "accesses")


def _was_hot(lines: npt.NDArray[np.int64], ranks: npt.NDArray[np.intp], before: Table) -> Flags:
    """Which of a table's access ranks were hot before; that of id 0 always was.

    `lines` leads from the former vocabulary's lines to this one's, and `ranks` on from these.
    """
    was_hot = np.zeros(ranks.size, dtype=np.bool_)
    was_hot[ranks[lines[: before.hot_rows]]] = True
    return was_hot


def _table_drift(before: Table, table: Table, gone: int, stayed: int) -> TableDrift:
    return TableDrift(
        name=table.name,
        former_rows=before.rows,
        rows=table.rows,
        gone=gone,
        former_hot_rows=before.hot_rows,
        hot_rows=table.hot_rows,
        entered=table.hot_rows - stayed,
        left=before.hot_rows - stayed,
    )


def _covered(task: _Task) -> list[int]:
    """A part's inputs and accesses, and those that the former hot set and this one cover."""
    staging = Staging.read(task.staging)
    frequencies = Frequencies.read(task.frequencies)
    hot_set = HotSet.read(task.hot_set)
    hot_rows = {table.name: table.hot_rows for table in hot_set.tables}
    staged, rows = staging.open_part(task.part, passing=True), staging.parts[task.part].rows
    accesses, ids_of = 0, hot_set.read_ids()
    hot = np.zeros(2, dtype=np.int64)
    cold = np.zeros((2, rows), dtype=np.bool_)
    for column in staging.schema.sparse:
        name = column.table_name
        ranks = frequencies.read_ranks(column.name, task.part)
        ids = ids_of[name][ranks]
        was_hot = read_numbers(Folder.of(task.masks), f"{name}.bool", np.bool_)
        found = staged.read_codes(column.name)
        accesses += found.codes.size
        for one, meant in enumerate((was_hot[ranks], ids < hot_rows[name])):
            touched = meant[found.codes]
            hot[one] += np.count_nonzero(touched)
            if found.lengths is None:
                cold[one] |= ~touched
            else:
                cold[one, found.expand_rows(rows)[~touched]] = True
    inputs = rows - cold.sum(axis=1)
    return [rows, accesses, *(int(n) for pair in zip(inputs, hot, strict=True) for n in pair)]


def _summed(counts: npt.NDArray[np.int64]) -> Coverage:
    """The coverage over parts, given what `_covered` found of each."""
    inputs, accesses, *worths = counts.sum(axis=0).tolist()
    return Coverage(inputs, accesses, Worth(*worths[:2]), Worth(*worths[2:]))
