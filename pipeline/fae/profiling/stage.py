"""Profiling: staged rows in, their access frequencies out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from fae.arrays.arrow import Int64Array
from fae.commit import outputs
from fae.execution.executor import Executor
from fae.format.errors import ParameterError
from fae.format.manifest import SPLITS
from fae.ingestion.staging import Staging
from fae.profiling.counting import merge_histograms
from fae.profiling.frequencies import FILE_NAME, Frequencies, OutOfVocabulary, TableFrequencies
from fae.profiling.merge_ranges import rank_ranges
from fae.profiling.parameters import ProfileParameters
from fae.profiling.split_counts import SplitCounts
from fae.profiling.splits import StepCounts, Timeline, TimeWindow, find_split_points
from fae.profiling.value_ranges import (
    ColumnCounts,
    RangeCounts,
    ValueRange,
    count_ranges,
    plan_ranges,
)
from fae.storage.folder import Folder, FolderLike


def profile(
    staging: Staging,
    out: FolderLike,
    executor: Executor,
    parameters: ProfileParameters,
    *,
    overwrite: bool = False,
) -> Frequencies:
    """Count the accesses of the train rows, table by table, into the directory `out`.

    With a sample below 1, that share of the train rows is counted apart, for calibration as in the
    FAE paper; vocabulary and `accesses` stay exact.
    """
    out = Folder.of(out)
    tables = staging.schema.tables
    unknown = sorted(set(parameters.min_count) - set(tables) - {""})
    if unknown:
        raise ParameterError(
            f"--min-count names {', '.join(unknown)}; the tables are {', '.join(tables)}."
        )
    made_from = parameters.fingerprint(outputs.read_fingerprint(staging.directory))
    if outputs.is_made(out, made_from, overwrite):
        return Frequencies.read(out)
    with outputs.build_output(out, made_from) as partial:
        cuts, split_rows = find_split_points(
            _timeline(staging, executor, partial),
            _given(staging),
            parameters.valid,
            parameters.test,
            timed=staging.schema.time is not None,
        )
        counts = SplitCounts(
            str(staging.directory), str(partial), cuts, parameters.sample, parameters.seed
        )
        counts.count(executor)
        fewest = {table: parameters.get_min_count(table) for table in tables}
        ranges = {table: plan_ranges(staging, table) for table in tables}
        document = {
            "tables": [asdict(table) for table in _tables(counts, ranges, fewest, executor)],
            "ranges": {
                column.name: len(ranges[column.table_name]) for column in staging.schema.sparse
            },
            "split_rows": split_rows,
            "cuts": asdict(cuts),
            "sample": parameters.sample,
            "seed": parameters.seed,
            "parameters": parameters.model_dump(mode="json"),
            "staging": outputs.read_fingerprint(staging.directory),
        }
        outputs.write_document(partial, FILE_NAME, document)
    return Frequencies.read(out)


def _tables(
    counts: SplitCounts,
    ranges: Mapping[str, Sequence[ValueRange]],
    fewest: Mapping[str, int],
    executor: Executor,
) -> list[TableFrequencies]:
    """Count the tables, in which values of `fewest` accesses or more have rows."""
    every = {one: fewest[table] for table, its in ranges.items() for one in its}
    found = count_ranges(counts, every, executor)
    tables: list[TableFrequencies] = []
    starts: dict[ValueRange, tuple[RangeCounts, Int64Array]] = {}
    for table, its in ranges.items():
        tally, firsts = merge_histograms([found[one].tally for one in its])
        kept = tally.of(fewest[table])
        tables.append(
            TableFrequencies(
                name=table,
                rows=kept.seen + 1,
                accesses=tally.total,
                min_count=fewest[table],
                folded_ids=tally.seen - kept.seen,
                folded_accesses=tally.total - kept.total,
                columns=_summed([found[one].columns for one in its]),
            )
        )
        if len(its) > 1:
            starts |= {one: (found[one], first) for one, first in zip(its, firsts, strict=True)}
    rank_ranges(counts, starts, {table.name: table.rows - 1 for table in tables}, executor)
    return tables


def _summed(ranges: Sequence[ColumnCounts]) -> ColumnCounts:
    """What is out of vocabulary in all ranges, by column and split."""
    return {
        column: {
            split: OutOfVocabulary(
                sum(one[column][split].accesses for one in ranges),
                sum(one[column][split].out_of_vocabulary for one in ranges),
            )
            for split in SPLITS
        }
        for column in ranges[0]
    }


@dataclass(frozen=True)
class _Window:
    """One staged part's rows to count in a window of time."""

    staging: str
    part: int
    window: TimeWindow


def _timeline(staging: Staging, executor: Executor, scratch: Folder) -> Timeline:
    """The timeline of the staged rows whose logs state no split; the task log is in `scratch`."""
    parts = [number for number, part in enumerate(staging.parts) if part.split is None]

    @cache
    def measure(window: TimeWindow) -> Sequence[StepCounts]:
        if staging.schema.time is None:
            return [{0: staging.parts[part].rows} for part in parts]
        tasks = [_Window(str(staging.directory), part, window) for part in parts]
        return executor.run(window.name, _counted, tasks, task_log=scratch)

    def rows_at(place: int, time: int) -> npt.NDArray[np.integer[Any]]:
        part = parts[place]
        return staging.first_row(part) + np.flatnonzero(staging.read_times(part) == time)

    return Timeline(measure, rows_at)


def _counted(task: _Window) -> StepCounts:
    return task.window.count(Staging.read(task.staging).read_times(task.part))


def _given(staging: Staging) -> dict[str, int]:
    """The rows of the logs for which the user stated a split, by that split."""
    rows: Counter[str] = Counter()
    for part in staging.parts:
        if part.split is not None:
            rows[part.split] += part.rows
    return rows
