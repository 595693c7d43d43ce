"""Convert a trained run to another data set, matching rows by the raw values of their ids."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from fae.format.errors import DatasetError, ParameterError
from fae.format.integrity import check_file, check_files
from fae.format.manifest import DRIFT, MAPPING, OOV_ID, LearntMoments, Manifest
from fae_trainer.data.batches import Ints
from fae_trainer.data.decoding import reading
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import resolve_parameters
from fae_trainer.run import checkpoint
from fae_trainer.run.history import History
from fae_trainer.run.train import check_out, start_run

_VALUES = ["value", "id", "accesses"]
_MOVED = ["old", "new", "accesses"]


@dataclass(frozen=True)
class ImportedTable:
    """One table of the new run: its rows, and how many of them come from the trained run."""

    name: str
    rows: int
    known: int


@dataclass(frozen=True)
class ImportedRun:
    """What came of a run: its tables, and the dense columns whose learnt constants now differ."""

    tables: list[ImportedTable]
    restandardized: list[str]


@dataclass(frozen=True)
class _Match:
    """How the former data set maps to the new one.

    `moves` has for each table the `old` and `new` id and the `accesses` of each value of the run;
    `new` is the id in the new data set, or 0 where the value has no row there. `standardized` says
    how the former dense columns were standardised.
    """

    moves: dict[str, pa.Table]
    standardized: tuple[LearntMoments, ...]


def import_run(
    run: Path, data: Path, out: Path, former: Path | None = None, overwrite: bool = False
) -> ImportedRun:
    """Convert the trained `run` to the data set `data`, as the new run `out` before its first step.

    A row whose raw value the run knew keeps its values and optimiser state, whatever its new id and
    temperature; other rows are initialised as for training. Where several values share a new row,
    the one with most accesses in the former data decides it. The network, its optimiser and the
    parameters are those of the run.

    `former` is the data set that the run was trained on; by default the one that `data` was
    appended to, or that the run names. Raises DatasetError where it is neither, ParameterError
    where `out` is `run` or holds another run.
    """
    manifest = Manifest.read(data)
    saved = checkpoint.load(run)
    if out.resolve() == run.resolve():
        raise ParameterError(f"--out {out} is the run to convert; choose another directory.")
    check_out(out, overwrite)
    chosen = resolve_parameters({"data": str(data), "out": str(out)}, manifest, saved.parameters)
    match = _match_data(saved, manifest, data, former, run)
    on_host = dataclasses.replace(chosen, device="cpu", placement="cpu")
    recommender = Recommender(manifest, on_host)
    recommender.initialise(chosen.seed)
    rows, states = recommender.tables.rows(), recommender.tables.states()
    tables = []
    for table in manifest.tables:
        old, new = _choose_rows(match.moves[table.name])
        if table.name not in saved.rows or old.max() >= len(saved.rows[table.name]):
            raise DatasetError(f"{run} lacks rows of the table {table.name!r}. Train it again.")
        old_rows, new_rows = torch.from_numpy(old), torch.from_numpy(new)
        rows[table.name][new_rows] = saved.rows[table.name][old_rows]
        states[table.name][new_rows] = saved.states[table.name][old_rows]
        tables.append(ImportedTable(table.name, table.rows, old.size))
    dataclasses.replace(saved, rows=rows, states=states).restore(recommender)
    start_run(out, chosen, overwrite)
    checkpoint.save(out, manifest, chosen, recommender, History())
    changed = set(manifest.features.standardized) - set(match.standardized)
    return ImportedRun(
        tables, [one.column for one in manifest.features.standardized if one in changed]
    )


def _choose_rows(moves: pa.Table) -> tuple[Ints, Ints]:
    """Return the old and the new id of each row to copy: id 0 first, then by new id.

    Where several values have one new row, the one with most accesses is copied, and among equals
    the one with the lowest old id. The out-of-vocabulary row, id 0, is copied to itself; values
    that are out of vocabulary now are not.
    """
    old, new, accesses = (
        moves[name].to_numpy().astype(np.int64) for name in ("old", "new", "accesses")
    )
    best = np.lexsort((old, -accesses, new))  # by new id, then most accesses, then old id
    _, first = np.unique(new[best], return_index=True)
    kept = best[first]
    kept = kept[new[kept] != OOV_ID]
    return np.append(OOV_ID, old[kept]), np.append(OOV_ID, new[kept])


def _match_data(
    saved: checkpoint.Checkpoint, manifest: Manifest, data: Path, former: Path | None, run: Path
) -> _Match:
    """Return how the data set that the run was trained on maps to `data`."""
    appended_to, standardized = _read_appended_to(manifest, data)
    if former is None and appended_to == saved.fingerprint:
        moves = {
            table.name: _read_columns(data, manifest, f"{MAPPING}/{table.name}.parquet", _MOVED)
            for table in manifest.tables
        }
        return _Match(moves, standardized)
    place = former or Path(saved.parameters["data"])
    try:
        known = Manifest.read(place)
        saved.check_data(known, run)
    except DatasetError as error:
        remedy = "Name the data set that it was trained on with --former." if former is None else ""
        raise DatasetError(
            f"Cannot match the ids of {run}: {data} was not appended to its data set, and "
            f"{error} {remedy}".rstrip()
        ) from None
    if known.schema != manifest.schema:
        raise DatasetError(
            f"{data} and {place}, on which {run} was trained, have different schemas, so the "
            "model's features differ. Train a new run."
        )
    moves = {
        table.name: _match_values(
            _read_vocabulary(place, known, table.name),
            _read_vocabulary(data, manifest, table.name),
        )
        for table in manifest.tables
    }
    return _Match(moves, known.features.standardized)


def _read_appended_to(
    manifest: Manifest, data: Path
) -> tuple[str | None, tuple[LearntMoments, ...]]:
    """Return the fingerprint of the data set that this one was appended to, or None.

    Beside it is how that data set's dense columns were standardised.
    """
    if DRIFT not in {record.path for record in manifest.records}:
        return None, ()
    _check_file(data, manifest, DRIFT)
    try:
        drift = json.loads((data / DRIFT).read_text(encoding="utf-8"))
        former = drift.get("former_standardized", [])
        return str(drift["former"]), tuple(LearntMoments(**one) for one in former)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(
            f"{data / DRIFT} is damaged ({error}). Prepare the data set again."
        ) from None


def _read_vocabulary(data: Path, manifest: Manifest, table: str) -> pa.Table:
    """Return a table's `value`, of which null is the missing category, `id` and `accesses`."""
    return _read_columns(data, manifest, manifest.table(table).vocabulary.path, _VALUES)


def _read_columns(data: Path, manifest: Manifest, name: str, columns: list[str]) -> pa.Table:
    """Return columns of a file of the data set; raise DatasetError where it is damaged."""
    _check_file(data, manifest, name)
    with reading(data / name):
        return pq.read_table((data / name).absolute(), columns=columns, partitioning=None)


def _check_file(data: Path, manifest: Manifest, name: str) -> None:
    """Raise DatasetError unless a file is the one that the manifest names."""
    files = [file for file in manifest.files() if file.path == name]
    if not files:
        raise DatasetError(
            f"{data}: the manifest does not name {name}. Prepare the data set again."
        )
    check_files(data, files)
    check_file(data / name, files[0])


def _match_values(old: pa.Table, new: pa.Table) -> pa.Table:
    """Return `old`, `new` and `accesses` of each value of a former vocabulary."""
    position = pc.index_in(old["value"], value_set=new["value"].combine_chunks(), skip_nulls=False)
    ids = pc.fill_null(pc.take(new["id"], position), OOV_ID)
    return pa.table({"old": old["id"], "new": ids, "accesses": old["accesses"]})
