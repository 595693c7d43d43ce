"""Part ranks: take the ranks of merged dictionaries' entries to the entries of the parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fae.execution.executor import Executor
from fae.ingestion.staging import Staging
from fae.profiling.dictionary_tree import DictionaryTree
from fae.profiling.frequencies import ranks_file, read_all_ranks, write_ranks
from fae.profiling.histogram import Ranks
from fae.profiling.value_ranges import Ranges, ValueRange


def write_part_ranks(tree: DictionaryTree, ranges: Ranges, executor: Executor) -> None:
    """Write the files of ranks, whose ranks are so far those of the tree's last level."""
    if not tree.merged:
        return
    staging = Staging.read(tree.counts.staging)
    tasks = [
        _Task(tree, column.name, value_range)
        for table, in_table in ranges.items()
        for column in staging.schema.tables[table]
        for value_range in in_table
    ]
    executor.run("ranks", _write, tasks, task_log=tree.counts.directory)


@dataclass(frozen=True)
class _Task:
    """A column and a range of values, whose file of ranks to write."""

    tree: DictionaryTree
    column: str
    range: ValueRange


def _write(task: _Task) -> int:
    """Write the ranks of all parts' entries of a column in a range; return the parts."""
    parts, directory = task.tree.sizes[0], task.tree.counts.directory
    name = ranks_file(task.column, task.range.number)
    write_ranks(_iter_part_ranks(task), parts, directory, name)
    return parts


def _iter_part_ranks(task: _Task) -> Iterator[Ranks]:
    tree, staging = task.tree, Staging.read(task.tree.counts.staging)
    name = tree.name_ranks(ranks_file(task.column, task.range.number))
    for number, ranks in enumerate(read_all_ranks(tree.counts.directory, name, tree.size)):
        [dictionary] = tree.read(staging, number, [task.column])
        begin = task.range.slice_of(dictionary.values).start
        yield from tree.descend(task.column, tree.top, number, begin, ranks)
