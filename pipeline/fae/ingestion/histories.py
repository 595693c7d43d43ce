"""Histories: lists of what earlier rows of a user have, for the columns of a schema that are such.

Rows of all parts are scattered by user; each group of users is ordered by time and linked; then
each part gets the lists of its rows, beside it. A task holds a part or a group of users.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pyarrow as pa

from fae.arrays.arrow import to_arrow, to_numpy, write_table
from fae.arrays.value_hash import hash_values
from fae.commit import outputs
from fae.execution.executor import Executor
from fae.ingestion.dictionaries import encode_dictionary
from fae.ingestion.part import HISTORIES, IntegerArray, StagedPart, write_part
from fae.ingestion.staging import Staging
from fae.logs.columns import SparseColumn
from fae.logs.schema import Schema
from fae.storage.folder import Folder

#: About so many rows are in a group of users, if no user has more.
ROWS_PER_GROUP = 1 << 21
_SCRATCH = "histories.partial"
_BYTES_PER_ROW = 100


@dataclass(frozen=True)
class _Part:
    """A staged part, the number of its first row, and how many groups its users are in."""

    directory: Folder
    schema: Schema
    path: str
    number: int
    first_row: int
    rows: int
    groups: int


@dataclass(frozen=True)
class _Group:
    """A group of users, for one column, whose rows are in so many parts."""

    directory: Folder
    column: SparseColumn
    number: int
    parts: int


def add_histories(staging: Staging, executor: Executor) -> Staging:
    """Return an unfinished staging with the histories of its schema beside its parts."""
    schema, columns = staging.schema, staging.schema.histories
    if not columns:
        return staging
    groups = -(-staging.rows // ROWS_PER_GROUP)
    common = (staging.directory, schema)
    parts = [
        _Part(*common, part.path, number, staging.first_row(number), part.rows, groups)
        for number, part in enumerate(staging.parts)
    ]
    links = [
        _Group(staging.directory, column, group, len(staging.parts))
        for column in columns
        for group in range(groups)
    ]
    log, needs = staging.directory, _BYTES_PER_ROW * ROWS_PER_GROUP
    executor.run("users", _scatter, parts, task_log=log)
    executor.run("histories", _link, links, task_log=log, needs=needs)
    counts = executor.run("lists", _gather, parts, task_log=log)
    outputs.remove_output(staging.directory / _SCRATCH)
    made = [
        replace(part, values=_insert(part.values, of_histories, schema))
        for part, of_histories in zip(staging.parts, counts, strict=True)
    ]
    return replace(staging, parts=tuple(made))


def _insert(plain: tuple[int, ...], histories: list[int], schema: Schema) -> tuple[int, ...]:
    """Return the numbers of distinct values of all sparse columns, in the schema's order."""
    plain_left, histories_left = iter(plain), iter(histories)
    return tuple(
        next(plain_left if column.history is None else histories_left) for column in schema.sparse
    )


def _scatter(task: _Part) -> int:
    """Write, for each column, a part's rows that have a user, sorted by group."""
    staged = StagedPart(task.directory, task.path)
    for column in task.schema.histories:
        assert column.history is not None
        users, user = _read(staged, column.history.by)
        values, item = _read(staged, column.history.of)
        group_of_user = (hash_values(users) % np.uint64(task.groups)).astype(np.int64)
        frame = pl.DataFrame(
            {
                "group": group_of_user[user],
                "user": users.gather(user),
                "time": staged.read_moments(),
                "row": np.arange(task.first_row, task.first_row + task.rows),
                "item": values.gather(item),
            }
        )
        is_user = pl.col("user").is_not_null()
        if users.dtype == pl.String():  # a key has no null
            is_user = is_user & (pl.col("user") != "")
        rows = frame.filter(is_user).sort("group", maintain_order=True)
        _write(task.directory, _scattered_file(column, task.number), rows)
    return task.rows


def _read(staged: StagedPart, name: str) -> tuple[pl.Series, IntegerArray]:
    """Return the distinct values of a sparse column or a key, and each row's position in them."""
    if name in staged.list_sparse():
        return pl.Series(staged.read_values(name)), staged.read_codes(name).codes
    positions, values = encode_dictionary(staged.read_columns([name])[name].chunk(0))
    return pl.Series(values), positions


def _link(task: _Group) -> int:
    """Write the lists of a group's rows, sorted by the number of the row."""
    history = task.column.history
    assert history is not None
    rows = pl.concat(
        _read_slice(task.directory, _scattered_file(task.column, part), "group", task.number)
        for part in range(task.parts)
    ).sort("user", "time", "row")
    is_new = rows["user"].ne_missing(rows["user"].shift()).to_numpy()
    has_item = rows["item"].is_not_null().to_numpy()
    before = np.cumsum(has_item) - has_item  # items of the rows before, of all users
    first = np.maximum.accumulate(np.where(is_new, before, 0))  # of them, those of other users
    lengths = np.minimum(before - first, history.length)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - before + lengths, lengths)
    items = rows["item"].drop_nulls().gather(place).to_arrow()
    lists = pa.LargeListArray.from_arrays(to_arrow(offsets), items)
    linked = pl.DataFrame({"row": rows["row"], "list": pl.Series(lists)}).sort("row")
    _write(task.directory, _linked_file(task.column, task.number), linked)
    return rows.height


def _gather(task: _Part) -> list[int]:
    """Write a part's histories beside it; return the number of distinct values of each."""
    columns = {}
    numbers = pl.DataFrame({"row": np.arange(task.first_row, task.first_row + task.rows)})
    last = task.first_row + task.rows - 1
    for column in task.schema.histories:
        files = (_linked_file(column, group) for group in range(task.groups))
        found = pl.concat(
            _read_slice(task.directory, file, "row", task.first_row, last) for file in files
        )
        joined = numbers.join(found, on="row", how="left", maintain_order="left")
        columns[column.name] = joined["list"].fill_null([])
    name = task.path + HISTORIES
    return list(write_part(pl.DataFrame(columns), list(columns), task.directory, name))


def _scattered_file(column: SparseColumn, part: int) -> str:
    return f"{_SCRATCH}/{column.name}/{part:06d}.users.arrow"


def _linked_file(column: SparseColumn, group: int) -> str:
    return f"{_SCRATCH}/{column.name}/{group:06d}.lists.arrow"


def _write(directory: Folder, name: str, rows: pl.DataFrame) -> None:
    with directory.write(name) as path:
        write_table(rows.to_arrow().combine_chunks(), path)


def _read_slice(
    directory: Folder, name: str, key: str, low: int, high: int | None = None
) -> pl.DataFrame:
    """Return the rows of a file, sorted by `key`, whose key is from `low` to `high`."""
    with directory.open(name) as source:
        table = pa.ipc.open_file(source).read_all()
        keys = np.concatenate([to_numpy(chunk) for chunk in table[key].chunks] or [np.empty(0)])
        first = np.searchsorted(keys, low, side="left")
        stop = np.searchsorted(keys, low if high is None else high, side="right")
        frame = pl.from_arrow(table.slice(first, stop - first))
    assert isinstance(frame, pl.DataFrame)
    return frame
