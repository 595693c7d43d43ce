"""Split counts: how often each value of a part's dictionaries stands in each split.

Nearly all parts have rows of one split, and what ingest counted is that. The others, and all parts
where a sample is counted, are counted again from their rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fae.arrays.arrow import shrink_dtype, to_arrow, to_numpy, wrap_in_list
from fae.arrays.row_keys import draw_sample
from fae.execution.executor import Executor
from fae.format.manifest import SPLITS
from fae.ingestion.part import Numbers, StagedPart
from fae.ingestion.staging import Staging
from fae.profiling.splits import TRAIN, SplitPoints, assign_splits
from fae.storage.folder import Folder

#: The kind of a count, beside the splits: accesses of train rows in the sample.
SAMPLED = len(SPLITS)
_FOLDER = "split_counts.partial"


@dataclass(frozen=True)
class SplitCounts:
    """The counts of a staging's parts, of which those that are counted again lie in `directory`."""

    staging: str
    directory: str
    cuts: SplitPoints
    sample: float
    seed: int

    def count(self, executor: Executor) -> None:
        """Count the parts again that must be, into `directory`."""
        staging = Staging.read(self.staging)
        parts = range(len(staging.parts))
        tasks = [_Task(self, part) for part in parts if self._split_of(staging, part) is None]
        executor.run("splits", _count, tasks, task_log=self.directory)

    def of(
        self, staging: Staging, part: int, staged: StagedPart, columns: Sequence[str]
    ) -> list[dict[int, Numbers]]:
        """For each column, how often each entry of its dictionary stands in each split.

        In those splits that have rows of the part, which is open as `staged`, and as SAMPLED where
        there is a sample.
        """
        split = self._split_of(staging, part)
        if split is not None:
            return [{split: staged.read_accesses(column)} for column in columns]
        with Folder.of(self.directory).open(_file(part)) as source:
            counts = pa.ipc.open_file(source).get_batch(0)
        return [
            {
                kind: to_numpy(counts[f"{column}@{kind}"].values)
                for kind in (*range(len(SPLITS)), SAMPLED)
                if f"{column}@{kind}" in counts.schema.names
            }
            for column in columns
        ]

    def _split_of(self, staging: Staging, part: int) -> int | None:
        """The split of all rows of a part, where its entries need not be counted again."""
        timed, rows = staging.schema.time is not None, staging.parts[part].rows
        given, first = staging.parts[part].split, staging.first_row(part)
        return self.cuts.shared_split(given, first, rows, timed) if self.sample >= 1 else None


@dataclass(frozen=True)
class _Task:
    """One part to count."""

    of: SplitCounts
    part: int


def _count(task: _Task) -> int:
    """Write how often each entry of a part stands in each split and in the sample."""
    staging = Staging.read(task.of.staging)
    staged, rows = staging.open_part(task.part), staging.parts[task.part].rows
    splits = assign_splits(staging, task.part, task.of.cuts)
    kinds = {code: splits == code for code in range(len(SPLITS)) if (splits == code).any()}
    if task.of.sample < 1:
        drawn = draw_sample(staging.first_row(task.part), rows, task.of.sample, task.of.seed)
        kinds[SAMPLED] = drawn & (splits == TRAIN)
    columns = {}
    for column in staging.schema.sparse:
        found, size = staged.read_codes(column.name), len(staged.read_values(column.name))
        for kind, chosen in kinds.items():
            kept = chosen if found.lengths is None else np.repeat(chosen, found.lengths)
            counts = np.bincount(found.codes[kept], minlength=size)
            columns[f"{column.name}@{kind}"] = wrap_in_list(to_arrow(shrink_dtype(counts)))
    batch = pa.record_batch(columns)
    with (
        Folder.of(task.of.directory).write(_file(task.part)) as path,
        pa.ipc.new_file(str(path), batch.schema) as writer,
    ):
        writer.write_batch(batch)
    return rows


def _file(part: int) -> str:
    return f"{_FOLDER}/{part:06d}.arrow"
