"""Split counts: how often each entry of a part's dictionaries occurs in each split.

Nearly all parts have rows of one split, and ingest has counted their entries. The other parts, and
all parts if a sample is counted, are counted again from their rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fae.arrays.arrow import shrink_dtype, to_arrow, to_numpy, wrap_in_list, write_table
from fae.arrays.row_keys import draw_sample
from fae.execution.executor import Executor
from fae.format.manifest import SPLITS
from fae.ingestion.part import IntegerArray, StagedPart
from fae.ingestion.staging import Staging
from fae.profiling.splits import TRAIN, SplitPoints, assign_splits
from fae.storage.folder import Folder

#: The kind of count beside the splits: accesses of train rows in the sample.
SAMPLED = len(SPLITS)
_KINDS = (*range(len(SPLITS)), SAMPLED)
_FOLDER_NAME = "split_counts.partial"


@dataclass(frozen=True)
class SplitCounts:
    """The counts of a staging's parts; those that are counted again lie in `directory`."""

    staging: Folder
    directory: Folder
    cuts: SplitPoints
    sample: float
    seed: int

    def write(self, executor: Executor) -> None:
        """Count the entries of the parts again whose counts by ingest do not do."""
        staging = Staging.read(self.staging)
        parts = range(len(staging.parts))
        tasks = [_Task(self, part) for part in parts if self._shared_split(staging, part) is None]
        executor.run("splits", _count_part, tasks, task_log=self.directory)

    def read(
        self, staging: Staging, part: int, staged: StagedPart, columns: Sequence[str]
    ) -> list[dict[int, IntegerArray]]:
        """Return how often each dictionary entry of each column occurs, by kind of count.

        The kinds are the splits that have rows of the part and, if there is a sample, SAMPLED.
        `staged` is the part, opened.
        """
        split = self._shared_split(staging, part)
        if split is not None:
            return [{split: staged.read_accesses(column)} for column in columns]
        with self.directory.open(_file_name(part)) as source:
            counts = pa.ipc.open_file(source).get_batch(0)
        names = set(counts.schema.names)
        kinds = [kind for kind in _KINDS if f"{columns[0]}@{kind}" in names]
        return [
            {kind: to_numpy(counts[f"{column}@{kind}"].values) for kind in kinds}
            for column in columns
        ]

    def _shared_split(self, staging: Staging, part: int) -> int | None:
        """Return the split of all rows of a part, or None if its entries are counted again."""
        if self.sample < 1:
            return None
        stated, rows = staging.parts[part].split, staging.parts[part].rows
        ordered = staging.schema.split_order != "position"
        return self.cuts.shared_split(stated, staging.first_row(part), rows, ordered)


@dataclass(frozen=True)
class _Task:
    """One part to count."""

    of: SplitCounts
    part: int


def _count_part(task: _Task) -> int:
    """Write how often each entry of a part occurs in each split and in the sample."""
    staging = Staging.read(task.of.staging)
    staged, rows = staging.open_part(task.part), staging.parts[task.part].rows
    splits = assign_splits(staging, task.part, task.of.cuts)
    masks = {code: splits == code for code in range(len(SPLITS)) if (splits == code).any()}
    if task.of.sample < 1:
        sample = draw_sample(staging.first_row(task.part), rows, task.of.sample, task.of.seed)
        masks[SAMPLED] = sample & (splits == TRAIN)
    columns = {}
    for column in staging.schema.sparse:
        accesses, size = staged.read_codes(column.name), len(staged.read_values(column.name))
        for kind, mask in masks.items():
            chosen = mask if accesses.lengths is None else np.repeat(mask, accesses.lengths)
            counts = np.bincount(accesses.codes[chosen], minlength=size)
            columns[f"{column.name}@{kind}"] = wrap_in_list(to_arrow(shrink_dtype(counts)))
    with task.of.directory.write(_file_name(task.part)) as path:
        write_table(pa.table(columns), path)
    return rows


def _file_name(part: int) -> str:
    return f"{_FOLDER_NAME}/{part:06d}.arrow"
