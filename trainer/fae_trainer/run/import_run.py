"""Transfer: a trained model on another data set, its rows found by the raw values of their ids."""

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
from fae.format.manifest import DRIFT, MAPPING, OOV_ID, Manifest
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
    """One table of the new run: its rows, and how many of them were trained already."""

    name: str
    rows: int
    known: int


def import_run(
    run: Path, data: Path, out: Path, former: Path | None = None, overwrite: bool = False
) -> list[ImportedTable]:
    """Make the run `out` on the data set `data` from the trained `run`, before its first step.

    A row whose value the run knew keeps its values and optimiser state, whatever its id and
    temperature are now; other rows begin as `Tables.initialise` has it. Where values share rows, a
    row is that of its value with the most accesses on the former data. Network, its optimiser and
    parameters are the run's. `former` is the data set that it was trained on; by default the one
    that `data` was appended to, or that the run names. Raises DatasetError where neither is it.
    """
    manifest = Manifest.read(data)
    saved = checkpoint.load(run)
    if out.resolve() == run.resolve():
        raise ParameterError(f"--out {out} is the run to carry over; give another directory.")
    check_out(out, overwrite)
    chosen = resolve_parameters({"data": str(data), "out": str(out)}, manifest, saved.parameters)
    moves = _map_ids(saved, manifest, data, former, run)
    on_host = dataclasses.replace(chosen, device="cpu", placement="cpu")
    recommender = Recommender(manifest, on_host)
    recommender.initialise(chosen.seed)
    rows, states = recommender.tables.rows(), recommender.tables.states()
    carried = []
    for table in manifest.tables:
        old, new = _choose_rows(moves[table.name])
        at, come = torch.from_numpy(new), torch.from_numpy(old)
        rows[table.name][at] = saved.rows[table.name][come]
        states[table.name][at] = saved.states[table.name][come]
        carried.append(ImportedTable(table.name, table.rows, old.size))
    dataclasses.replace(saved, rows=rows, states=states).restore(recommender)
    start_run(out, chosen, overwrite)
    checkpoint.save(out, manifest, chosen, recommender, History())
    return carried


def _choose_rows(moves: pa.Table) -> tuple[Ints, Ints]:
    """The old row of each new one that is known, and these: id 0 first, then by new id.

    Several values may lead to one new row: the one with the most accesses does, of equals the one
    with the lower old id. Out of vocabulary is itself; values that are folded now are not it.
    """
    old, new, accesses = (
        moves[name].to_numpy().astype(np.int64) for name in ("old", "new", "accesses")
    )
    best = np.lexsort((old, -accesses, new))
    _, first = np.unique(new[best], return_index=True)
    kept = best[first]
    kept = kept[new[kept] != OOV_ID]
    return np.append(OOV_ID, old[kept]), np.append(OOV_ID, new[kept])


def _map_ids(
    saved: checkpoint.Checkpoint, manifest: Manifest, data: Path, former: Path | None, run: Path
) -> dict[str, pa.Table]:
    """For each table, `old`, `new` and `accesses` of each value of the run.

    `new` is the id in `data`, 0 where the value has no row there.
    """
    if former is None and _read_appended_to(manifest, data) == saved.fingerprint:
        return {
            table.name: _read_columns(data, manifest, f"{MAPPING}/{table.name}.parquet", _MOVED)
            for table in manifest.tables
        }
    place = former or Path(saved.parameters["data"])
    try:
        known = Manifest.read(place)
        saved.check_data(known, run)
    except DatasetError as error:
        remedy = "Give the data set that it was trained on by --former." if former is None else ""
        raise DatasetError(
            f"the ids of {run} cannot be told: {data} was not appended to its data set, and "
            f"{error} {remedy}".rstrip()
        ) from None
    if known.schema != manifest.schema:
        raise DatasetError(
            f"{data} was made with another schema than {place}, on which {run} was trained: its "
            "features are others. Train anew."
        )
    return {
        table.name: _match_values(
            _read_vocabulary(place, known, table.name),
            _read_vocabulary(data, manifest, table.name),
        )
        for table in manifest.tables
    }


def _read_appended_to(manifest: Manifest, data: Path) -> str | None:
    """The fingerprint of the data set that logs were added to for this one, if any."""
    if DRIFT not in {record.path for record in manifest.records}:
        return None
    _check_file(data, manifest, DRIFT)
    try:
        return str(json.loads((data / DRIFT).read_text(encoding="utf-8"))["former"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise DatasetError(f"{data / DRIFT} is damaged ({error}). Prepare it again.") from None


def _read_vocabulary(data: Path, manifest: Manifest, table: str) -> pa.Table:
    """A vocabulary's lines: `value`, of which null is the missing category, `id`, `accesses`."""
    return _read_columns(data, manifest, manifest.table(table).vocabulary.path, _VALUES)


def _read_columns(data: Path, manifest: Manifest, name: str, columns: list[str]) -> pa.Table:
    """Columns of a file that the manifest names; DatasetError where it is absent or damaged."""
    _check_file(data, manifest, name)
    with reading(data / name):
        return pq.read_table(data / name, columns=columns, partitioning=None)


def _check_file(data: Path, manifest: Manifest, name: str) -> None:
    """Raise DatasetError unless a file is the one that the manifest tells of."""
    files = [file for file in manifest.files() if file.path == name]
    if not files:
        raise DatasetError(f"{data}: the manifest names no {name}. Prepare the data set again.")
    check_files(data, files)
    check_file(data / name, files[0])


def _match_values(old: pa.Table, new: pa.Table) -> pa.Table:
    """`old`, `new` and `accesses` of each value of a former vocabulary, found among the new."""
    place = pc.index_in(old["value"], value_set=new["value"].combine_chunks(), skip_nulls=False)
    ids = pc.fill_null(pc.take(new["id"], place), OOV_ID)
    return pa.table({"old": old["id"], "new": ids, "accesses": old["accesses"]})
