"""Profiling: count how often training reads each value of a staging."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np

from fae.commit import outputs
from fae.execution.executor import Executor
from fae.format.errors import ParameterError
from fae.format.manifest import SPLITS
from fae.ingestion.part import IntegerArray
from fae.ingestion.staging import Staging
from fae.profiling.dictionary_tree import build_tree
from fae.profiling.frequencies import FILE_NAME, Frequencies, OutOfVocabulary, TableFrequencies
from fae.profiling.histogram import merge_histograms
from fae.profiling.merge_ranges import Move, merge_ranges
from fae.profiling.moments import learn_moments
from fae.profiling.parameters import ProfileParameters
from fae.profiling.part_ranks import write_part_ranks
from fae.profiling.split_counts import SplitCounts
from fae.profiling.splits import StepCounts, Timeline, TimeWindow, find_split_points
from fae.profiling.value_ranges import ColumnCounts, Ranges, count_ranges, plan_ranges
from fae.storage.folder import Folder, FolderLike


def profile(
    staging: Staging,
    out: FolderLike,
    executor: Executor,
    parameters: ProfileParameters,
    *,
    overwrite: bool = False,
) -> Frequencies:
    """Count the accesses of the train rows of a staging into the directory `out`.

    With a sample below 1, that share of the train rows is counted apart, for calibration as in the
    FAE paper; vocabulary and `accesses` stay exact. Raises ParameterError where `min_count` names a
    table that does not exist, and where no row is left to train on.
    """
    out = Folder.of(out)
    tables = staging.schema.tables
    unknown = ", ".join(sorted(set(parameters.min_count) - set(tables) - {""}))
    if unknown:
        raise ParameterError(f"--min-count names {unknown}; the tables are {', '.join(tables)}.")
    made_from = parameters.fingerprint(outputs.read_fingerprint(staging.directory))
    if outputs.is_made(out, made_from, overwrite):
        return Frequencies.read(out)
    executor.timings.begin_stage("profile")
    with outputs.build_output(out, made_from) as partial:
        timeline, stated = _build_timeline(staging, executor, partial), _count_stated_rows(staging)
        held_out, order = (parameters.valid, parameters.test), staging.schema.split_order
        cuts, split_rows = find_split_points(timeline, stated, *held_out, order)
        counts = SplitCounts(staging.directory, partial, cuts, parameters.sample, parameters.seed)
        counts.write(executor)
        min_counts = {table: parameters.get_min_count(table) for table in tables}
        ranges = {table: plan_ranges(staging, table) for table in tables}
        frequencies = _count_tables(counts, ranges, min_counts, executor)
        document = {
            "tables": [asdict(table) for table in frequencies],
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
        if moments := learn_moments(staging, cuts, executor, partial):
            document["moments"] = [asdict(column) for column in moments]
        outputs.write_document(partial, FILE_NAME, document)
    return Frequencies.read(out)


def _count_tables(
    counts: SplitCounts, ranges: Ranges, min_counts: Mapping[str, int], executor: Executor
) -> list[TableFrequencies]:
    """Count the tables, given the ranges and the min_count of each, and write their files."""
    tree = build_tree(counts, executor)
    range_counts = count_ranges(tree, ranges, min_counts, executor)
    tables: list[TableFrequencies] = []
    moves: list[Move] = []
    for table, in_table in ranges.items():
        counted = [range_counts[one] for one in in_table]
        histogram, first_ranks = merge_histograms([one.histogram for one in counted])
        kept = histogram.filter(min_counts[table])
        tables.append(
            TableFrequencies(
                name=table,
                rows=kept.value_count + 1,
                accesses=histogram.access_count,
                min_count=min_counts[table],
                folded_ids=histogram.value_count - kept.value_count,
                folded_accesses=histogram.access_count - kept.access_count,
                columns=_add_up([one.columns for one in counted]),
            )
        )
        if len(in_table) > 1:
            for value_range, found, starts in zip(in_table, counted, first_ranks, strict=True):
                levels = (found.values, starts.tolist())
                moves.append(Move(tree, value_range, *levels, kept.value_count))
    merge_ranges(moves, executor)
    write_part_ranks(tree, ranges, executor)
    return tables


def _add_up(ranges: Sequence[ColumnCounts]) -> ColumnCounts:
    """Add up the accesses in all ranges, by column and split."""
    total: ColumnCounts = {column: {} for column in ranges[0]}
    for column, split in itertools.product(ranges[0], SPLITS):
        accesses = sum(counts[column][split].accesses for counts in ranges)
        oov = sum(counts[column][split].out_of_vocabulary for counts in ranges)
        total[column][split] = OutOfVocabulary(accesses, oov)
    return total


@dataclass(frozen=True)
class _Window:
    """One staged part's rows to count in a window of time."""

    staging: Folder
    part: int
    window: TimeWindow


def _build_timeline(staging: Staging, executor: Executor, task_log: Folder) -> Timeline:
    """Return the timeline of the rows whose logs state no split."""
    parts = [number for number, part in enumerate(staging.parts) if part.split is None]

    @cache
    def count_rows(window: TimeWindow) -> Sequence[StepCounts]:
        if staging.schema.split_order == "position":
            return [{0: staging.parts[part].rows} for part in parts]
        tasks = [_Window(staging.directory, part, window) for part in parts]
        return executor.run(window.name, _count_window, tasks, task_log=task_log)

    def rows_at(index: int, time: int) -> IntegerArray:
        part = parts[index]
        return staging.first_row(part) + np.flatnonzero(staging.read_order(part) == time)

    return Timeline(count_rows, rows_at)


def _count_window(task: _Window) -> StepCounts:
    return task.window.count(Staging.read(task.staging).read_order(task.part))


def _count_stated_rows(staging: Staging) -> dict[str, int]:
    """Count the rows of the logs for which the user stated a split, by that split."""
    rows: Counter[str] = Counter()
    for part in staging.parts:
        if part.split is not None:
            rows[part.split] += part.rows
    return rows
