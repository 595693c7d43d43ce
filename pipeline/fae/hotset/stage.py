"""Calibration: frequencies and a byte budget in, the hot set and its curve out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from dask.utils import format_bytes

from fae.arrays.arrow import Int64Array
from fae.arrays.run_length import RowRanges, RunLengthArray
from fae.commit import outputs
from fae.execution.executor import Executor
from fae.format.errors import BudgetError, ParameterError
from fae.format.manifest import SPLITS, Budget, Embedding
from fae.hotset.cold_hash import Sharing, is_hashed, sharing, with_hashed
from fae.hotset.coverage import COUNTED, UNCOUNTED, Reach, reach, rows_for
from fae.hotset.curve import curve, knee, points
from fae.hotset.parameters import CalibrateParameters
from fae.hotset.rules import RULES
from fae.hotset.rules.problem import Problem, Ranking, StackedInputs, StackedRows
from fae.hotset.selection import HotSet, check_budget, hot_set, id_offsets
from fae.hotset.stacking import exact_levels, stacked_inputs, stacked_rows
from fae.ingestion.staging import Staging
from fae.logs.schema import Schema
from fae.profiling.frequencies import Frequencies
from fae.storage.folder import Folder, FolderLike
from fae.storage.raw_arrays import read_numbers

FILE_NAME = "hot_set.json"
CURVE = "curve.csv"
#: The data set's id of each access rank, table by table.
IDS = "ids.uint32"
_ID = np.dtype("<u4")
#: z of a two-sided 95 % interval.
_Z = 1.96
#: What peeling needs, with what it is given: see the growth in benchmarks/RESULTS.md.
_BYTES_AN_ACCESS = 15


@dataclass(frozen=True)
class HotTable:
    """One table's size and price, and how many of its rows are hot; hashed cold rows count.

    `ranks` are the values that have rows, and one for those that have none.
    """

    name: str
    ranks: int
    rows: int
    hot_rows: int
    dim: int
    row_bytes: int


@dataclass(frozen=True)
class SampleCheck:
    """The hot share of the sampled train inputs, and that of the others with its 95 % interval.

    A hot set fits the inputs that it was chosen for best; the others say what it is worth.
    """

    sampled: float
    others: float
    low: float
    high: float

    @property
    def too_small(self) -> bool:
        """Whether the sample promises more than the other inputs keep."""
        return self.sampled > self.high + 0.01


@dataclass(frozen=True)
class Calibration:
    """A finished calibration. `inputs` counts hot and cold inputs by split.

    `notes` are figures of the rule, which maximised `objective`; `bound`, where known, is a share
    of the counted inputs that no hot set of this budget can exceed; `knee_bytes` is the budget
    beyond which bytes buy little; `sharing` tells of the tables with hashed ids; `parameters` and
    `frequencies`, a fingerprint, are what it was made from.
    """

    directory: Folder
    embedding: Embedding
    budget: Budget
    tables: tuple[HotTable, ...]
    inputs: dict[str, dict[str, int]]
    access_share: float
    bound: float | None
    knee_bytes: int
    sample: SampleCheck | None
    notes: dict[str, int]
    objective: str
    sharing: tuple[Sharing, ...]
    parameters: dict[str, Any]
    frequencies: str

    def ids(self) -> dict[str, npt.NDArray[np.uint32]]:
        """The data set's id for each access rank of each table, rank 0 included."""
        every = read_numbers(self.directory, IDS, _ID)
        found, first = {}, 0
        for table in self.tables:
            found[table.name] = every[first : first + table.ranks]
            first += table.ranks
        return found

    def hot_share(self, split: str) -> float | None:
        """The share of a split's inputs that touch hot rows only; None for an empty split."""
        counts = self.inputs[split]
        total = counts["hot"] + counts["cold"]
        return counts["hot"] / total if total else None

    def curve(self) -> pl.DataFrame:
        """Hot and access shares against budget."""
        with self.directory.read(CURVE) as path:
            return pl.read_csv(path)

    @classmethod
    def read(cls, directory: FolderLike) -> Calibration:
        """The calibration in a finished directory; DatasetError where there is none."""
        return outputs.read_dataclass(cls, Folder.of(directory), FILE_NAME)


def calibrate(
    staging: Staging,
    frequencies: Frequencies,
    out: FolderLike,
    executor: Executor,
    parameters: CalibrateParameters,
    *,
    overwrite: bool = False,
) -> Calibration:
    """Choose the hot rows by the budget or the hot share of `parameters`, into `out`.

    The budget counts each row's dim, dtype and optimiser state. Raises BudgetError where it cannot
    hold one row of each table, or where no budget reaches the hot share.
    """
    out = Folder.of(out)
    made_from = parameters.fingerprint(outputs.read_fingerprint(frequencies.directory))
    if outputs.is_made(out, made_from, overwrite):
        return Calibration.read(out)
    schema = staging.schema
    rows = stacked_rows(frequencies, schema, parameters.embedding)

    @cache
    def inputs() -> StackedInputs:
        _check_memory(rows.levels.total, parameters.rule, executor.memory)
        return stacked_inputs(staging, frequencies, rows)

    def ranked(budget_bytes: int) -> Ranking:
        problem = Problem(rows, inputs, budget_bytes, parameters.weights, frequencies.seed)
        return RULES[parameters.rule](problem)

    def reached(placed: RowRanges, at: Int64Array) -> dict[str, Reach]:
        return reach(staging, frequencies, rows, placed, at, partial, executor)

    def bytes_for(share: float, placed: RowRanges) -> int:
        count = rows_for(share, placed.size, lambda at: reached(placed, at)[SPLITS[0]])
        if count is None:
            raise BudgetError(
                f"no budget makes {share:.1%} of the train inputs hot by this rule. Ask for less."
            )
        return rows.bytes_of(placed.head(max(count, len(rows.tables))))

    with outputs.build_output(out, made_from) as partial:
        if parameters.hot_budget is not None:
            budget_bytes = int(parameters.hot_budget)
            check_budget(rows, budget_bytes)
            ranking = ranked(budget_bytes)
        else:
            share = parameters.hot_share or 0.0
            ranking = ranked(rows.total_bytes)
            ranking = ranked(bytes_for(share, ranking.placed))
            budget_bytes = bytes_for(share, ranking.placed)
        chosen = hot_set(rows, ranking.placed, budget_bytes)
        at = points(rows, ranking.placed, budget_bytes)
        found = reached(ranking.placed, np.unique(at[1]))
        at_budgets = curve(rows, ranking, at, found, parameters.weights, parameters.device_profile)
        with partial.write(CURVE) as path:
            at_budgets.write_csv(path)
        shared = _write_ids(partial, frequencies, rows, chosen, parameters.cold_buckets)
        accesses = rows.levels if frequencies.sample >= 1 else exact_levels(frequencies)
        document = {
            "embedding": asdict(parameters.embedding),
            "budget": asdict(Budget(budget_bytes, chosen.used_bytes, parameters.rule)),
            "tables": [asdict(table) for table in _tables(schema, rows, chosen, shared)],
            **_shares(accesses, chosen, found),
            "bound": _at(at_budgets, budget_bytes, "bound"),
            "knee_bytes": knee(at_budgets),
            "notes": dict(ranking.notes),
            "objective": parameters.objective,
            "sharing": [asdict(table) for table in shared],
            "parameters": parameters.model_dump(mode="json"),
            "frequencies": outputs.read_fingerprint(frequencies.directory),
        }
        outputs.write_document(partial, FILE_NAME, document)
    return Calibration.read(out)


def _check_memory(accesses: int, rule: str, memory: int) -> None:
    """Raise ParameterError where the accesses of all inputs are too many for a rule to rank by."""
    needed = accesses * _BYTES_AN_ACCESS
    if needed > memory:
        sample = max(memory / needed * 0.9, 0.01)
        raise ParameterError(
            f"the rule {rule!r} ranks by all {accesses:,} accesses at a time, which needs "
            f"{format_bytes(needed)}; there are {format_bytes(memory)} for it. Give more by "
            f"--memory, profile with --sample {sample:.2f}, or take --rule accesses."
        )


def _write_ids(
    directory: Folder, frequencies: Frequencies, rows: StackedRows, chosen: HotSet, buckets: int
) -> list[Sharing]:
    """Write each table's ids; return what the tables share whose cold ids are hashed."""
    found = []
    with directory.write(IDS) as path:
        with path.open("wb") as file:
            for first, offsets in id_offsets(rows, chosen.placed).chunks():
                ids = offsets + np.arange(first, first + offsets.size)
                file.write(ids.astype(_ID).data)
        every = np.memmap(path, _ID, mode="r+")
        for t, counted in enumerate(frequencies.tables):
            mine, hot_rows = every[rows.first[t] : rows.first[t + 1]], int(chosen.hot_rows[t])
            if is_hashed(mine.size, hot_rows, buckets):
                known = frequencies.read_accesses(counted.name)
                mine[:] = with_hashed(mine, known["value"], hot_rows, buckets)
                accesses = np.append([counted.folded_accesses], known["accesses"])
                found.append(sharing(counted.name, mine, hot_rows, buckets, accesses))
    return found


def _tables(
    schema: Schema, rows: StackedRows, chosen: HotSet, shared: Sequence[Sharing]
) -> list[HotTable]:
    ranks = np.diff(rows.first).tolist()
    sizes = dict(zip(rows.tables, ranks, strict=True))
    for one in shared:
        sizes[one.table] += one.rows - one.values
    return [
        HotTable(
            name, ranks[t], sizes[name], int(chosen.hot_rows[t]), schema.dim(columns[0]),
            int(rows.row_bytes[t]),
        )
        for t, (name, columns) in enumerate(schema.tables.items())
    ]  # fmt: skip


def _shares(accesses: RunLengthArray, chosen: HotSet, found: Mapping[str, Reach]) -> dict[str, Any]:
    """Hot and cold inputs by split, the share of accesses, and what the sample promised."""
    hot = {name: int(one.hot(np.array(chosen.hot))) for name, one in found.items()}
    accessed = int(accesses.sum_ranges(chosen.placed.head(chosen.hot)).sum())
    sample = None
    if found[UNCOUNTED].total:
        others, total = hot[UNCOUNTED], found[UNCOUNTED].total
        low, high = wilson(others, total)
        sampled = hot[COUNTED] / max(found[COUNTED].total, 1)
        sample = asdict(SampleCheck(sampled, others / total, low, high))
    return {
        "inputs": {
            split: {"hot": hot[split], "cold": found[split].total - hot[split]} for split in SPLITS
        },
        "access_share": accessed / max(accesses.total, 1),
        "sample": sample,
    }


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval (1927) of a share of which `hits` of `total` were seen."""
    share, weight = hits / total, _Z**2 / total
    centre = (share + weight / 2) / (1 + weight)
    half = _Z / (1 + weight) * float(np.sqrt(share * (1 - share) / total + weight / (4 * total)))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def _at(points: pl.DataFrame, budget_bytes: int, column: str) -> float | None:
    if column not in points.columns:
        return None
    return float(points.filter(pl.col("budget_bytes") == budget_bytes)[column][0])
