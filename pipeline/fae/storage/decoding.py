"""Check what Parquet takes in memory before it is decoded, and bound what all threads hold."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fae.format.errors import DatasetError, FaeError
from fae.format.memory import count_decoded_bytes, format_gib, read_most_memory

#: The share of the memory that decoded rows may take; what is made of them takes more.
MEMORY_SHARE = 1 / 4
#: Read at once of a column of texts, whose first page mostly is all that is needed.
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class ParquetSource:
    """A Parquet file: what messages call it, how it is opened, and the error where it is at fault.

    `open` takes the options of `pq.ParquetFile`; `remedy` ends the message.
    """

    name: str
    open: Callable[..., AbstractContextManager[pq.ParquetFile]]
    error: type[FaeError] = DatasetError
    remedy: str = "If the file is sound, use a machine with more memory."

    @classmethod
    def of(cls, path: Path, name: object = None) -> ParquetSource:
        """Return the source of a local file that messages call `name`, or else by its path."""
        return cls(str(name or path), partial(pq.ParquetFile, path.absolute()))


class _Allowance:
    """Bytes that the threads of this process hold together."""

    def __init__(self) -> None:
        self._held: Counter[int] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size: int, limit: int) -> Iterator[None]:
        """Wait until other threads leave `size` of `limit` bytes, or all of them; then hold them.

        A thread that holds some already does not wait, lest two of them wait for each other.
        """
        thread = threading.get_ident()

        def fits() -> bool:
            total = self._held.total()
            return self._held[thread] > 0 or total == 0 or total + size <= limit

        with self._changed:
            self._changed.wait_for(fits)
            self._held[thread] += size
        try:
            yield
        finally:
            with self._changed:
                self._held[thread] -= size
                self._changed.notify_all()


_allowance = _Allowance()


@contextmanager
def decoded_bytes_held(
    source: ParquetSource,
    metadata: pq.FileMetaData,
    groups: Sequence[int],
    names: Sequence[str],
    rows_at_once: int | None = None,
) -> Iterator[None]:
    """Allow the block to decode row groups, once other threads leave the memory for them.

    `groups` are in memory together, or `rows_at_once` of each. Raises the source's error where the
    columns `names` take more than a quarter of the memory. A dictionary holds a repeated text once,
    and equal values or lengths of lists take no bytes, so a small file can decode to any number of
    bytes. Texts are counted as if each were the longest of its dictionary and, where that would be
    too much for one thread of many, one by one.
    """
    limit = int(read_most_memory() * MEMORY_SHARE)
    decoded: Counter[str] = Counter(dict.fromkeys(names, 0))
    for group in groups:
        rows = metadata.row_group(group).num_rows
        at_once = min(rows, rows_at_once or rows)
        decoded.update(_measure_group(source, metadata, group, names, at_once, limit))
        _check(source, groups, decoded, limit)
    with _allowance.hold(decoded.total(), limit):
        yield


def read_parquet(path: Path, columns: list[str] | None = None, name: object = None) -> pl.DataFrame:
    """Return columns of a Parquet file that messages call `name`, or else by its path.

    Raises DatasetError where they would take too much of the memory.
    """
    metadata = pq.read_metadata(path.absolute())
    names = columns or metadata.schema.to_arrow_schema().names
    groups = range(metadata.num_row_groups)
    with decoded_bytes_held(ParquetSource.of(path, name), metadata, groups, names):
        return pl.read_parquet(path, columns=columns, hive_partitioning=False, glob=False)


def iter_row_groups(
    path: Path,
    columns: list[str] | None = None,
    name: object = None,
    rows: range | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield columns of a Parquet file's row groups as `read_parquet` does, or of `rows` alone.

    Of all rows, there is at least one frame.
    """
    with pq.ParquetFile(path.absolute()) as file:
        names = columns or file.schema_arrow.names
        source, end = ParquetSource.of(path, name), 0
        for groups in [[group] for group in range(file.num_row_groups)] or [[]]:
            begin, end = end, end + sum(file.metadata.row_group(each).num_rows for each in groups)
            wanted = rows or range(begin, end)
            if rows and (wanted.stop <= begin or end <= wanted.start):
                continue
            with decoded_bytes_held(source, file.metadata, groups, names):
                frame = pl.DataFrame(file.read_row_groups(groups, columns=names)).select(names)
                yield frame[max(wanted.start - begin, 0) : wanted.stop - begin]


def _measure_group(
    source: ParquetSource,
    metadata: pq.FileMetaData,
    group: int,
    names: Sequence[str],
    rows_at_once: int,
    limit: int,
) -> dict[str, int]:
    """Return the bytes by column of a row group, or of so many rows of it that exceed `limit`."""
    columns = count_decoded_bytes(metadata, group, names, rows_at_once)
    decoded = {name: column.bytes for name, column in columns.items()}
    with_texts = [name for name, column in columns.items() if column.texts]
    if not with_texts or sum(decoded.values()) > limit:
        return decoded
    paths = [path for name in with_texts for path in columns[name].text_paths]
    with source.open(read_dictionary=paths, buffer_size=_BUFFER_BYTES) as file:
        head = next(file.iter_batches(1, [group], with_texts), None)
        longest = _measure(head, lambda lengths, _: pc.max(lengths)) if head is not None else {}
        most = {
            name: column.bytes + column.texts * longest.get(name, 0)
            for name, column in columns.items()
        }
        if sum(most.values()) <= limit // len(os.sched_getaffinity(0)):
            return most
        largest = decoded
        for batch in file.iter_batches(max(rows_at_once, 1), [group], with_texts):
            texts = _measure(batch, lambda lengths, indices: pc.sum(lengths.take(indices)))
            found = {name: column.bytes + texts.get(name, 0) for name, column in columns.items()}
            largest = max(largest, found, key=lambda each: sum(each.values()))
            if sum(largest.values()) > limit:
                break
    return largest


def _measure(batch: pa.RecordBatch, reduce: Callable[[Any, Any], Any]) -> dict[str, int]:
    """Return the sum by column of what `reduce` makes of its texts' lengths and their indices."""
    return {
        name: sum(
            reduce(pc.binary_length(texts.dictionary), texts.indices).as_py() or 0
            for texts in _find_dictionaries(column)
        )
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }


def _find_dictionaries(array: pa.Array) -> Iterator[pa.DictionaryArray]:
    """Yield the arrays with dictionaries within an array, of structs and lists of any depth."""
    if pa.types.is_dictionary(array.type):
        yield array
    elif pa.types.is_struct(array.type):
        for index in range(array.type.num_fields):
            yield from _find_dictionaries(array.field(index))
    elif pa.types.is_nested(array.type):
        yield from _find_dictionaries(array.values)


def _check(source: ParquetSource, groups: Sequence[int], decoded: Counter[str], limit: int) -> None:
    """Raise the source's error, with the largest column, where all take more than `limit`."""
    total = decoded.total()
    if total > limit:
        largest = max(decoded, key=lambda name: decoded[name])
        raise source.error(
            f"{source.name}: the columns of row group{'s' * (len(groups) > 1)} "
            f"{', '.join(map(str, groups[:3]))}{' …' * (len(groups) > 3)} would take "
            f"{format_gib(total)} of memory, column {largest!r} {format_gib(decoded[largest])} of "
            f"them; at most {format_gib(limit)} are decoded at once, {MEMORY_SHARE:.0%} of this "
            f"machine's memory. {source.remedy}"
        )
