"""Check what a row group of a Parquet log takes in memory, before it is decoded."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fae.format.errors import LogError
from fae.format.units import format_gib, read_most_memory
from fae.logs.files import Log, open_parquet

#: The share of the memory that decoded rows may take; casting them takes as much, and more.
MEMORY_SHARE = 1 / 4
#: Bytes of a value by its physical type; of a text, those of its place.
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4}
_MOST_WIDTH = 8
#: Read at once of a column of texts, whose first page mostly is all that is needed.
_BUFFER_BYTES = 1 << 20


@dataclass
class _Column:
    """What is known of a column: bytes without its texts, and its texts that a dictionary holds."""

    bytes: int = 0
    texts: int = 0
    text_paths: list[str] = field(default_factory=list)


def check_decoded_bytes(
    log: Log, file: pq.ParquetFile, group: int, names: Sequence[str], rows_at_once: int
) -> None:
    """Raise LogError where rows that are read at once would take too much of the memory.

    A dictionary holds a repeated text once, and equal values or lengths of lists take no bytes, so
    a small file can decode to any number of bytes. Texts are counted as if each were the longest of
    its dictionary and, where that would be too much, one by one.
    """
    limit = int(read_most_memory() * MEMORY_SHARE)
    columns = _find_columns(file, group, names, rows_at_once)
    _check(log, group, {name: column.bytes for name, column in columns.items()}, limit)
    with_texts = [name for name, column in columns.items() if column.texts]
    paths = [path for name in with_texts for path in columns[name].text_paths]
    if not paths:
        return
    with open_parquet(log, read_dictionary=paths, buffer_size=_BUFFER_BYTES) as file:
        head = next(file.iter_batches(1, [group], with_texts), None)
        longest = _measure(head, lambda lengths, _: pc.max(lengths)) if head is not None else {}
        most = sum(
            column.bytes + column.texts * longest.get(name, 0) for name, column in columns.items()
        )
        if most <= limit:
            return
        for batch in file.iter_batches(rows_at_once, [group], with_texts):
            texts = _measure(batch, lambda lengths, indices: pc.sum(lengths.take(indices)))
            decoded = {name: column.bytes + texts.get(name, 0) for name, column in columns.items()}
            _check(log, group, decoded, limit)


def _find_columns(
    file: pq.ParquetFile, group: int, names: Sequence[str], rows_at_once: int
) -> dict[str, _Column]:
    """Return what the file's footer says about the columns `names` of a row group."""
    columns = {name: _Column() for name in names}
    found = file.metadata.row_group(group)
    for index in range(found.num_columns):
        chunk, leaf = found.column(index), file.schema.column(index)
        column = columns.get(leaf.path) or columns.get(leaf.path.split(".")[0])
        if column is None:
            continue
        values = chunk.num_values
        if leaf.max_repetition_level == 0:
            values = min(values, rows_at_once)
        width = max(leaf.length, _WIDTHS.get(chunk.physical_type, _MOST_WIDTH))
        column.bytes += values * width
        if chunk.physical_type == "BYTE_ARRAY" and chunk.has_dictionary_page:
            column.texts += values
            column.text_paths.append(leaf.path)
    return columns


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


def _check(log: Log, group: int, decoded: Mapping[str, int], limit: int) -> None:
    """Raise LogError, which names the largest column, where all of them take more than `limit`."""
    total = sum(decoded.values())
    if total > limit:
        largest = max(decoded, key=lambda name: decoded[name])
        raise LogError(
            f"{log.name}: the columns of row group {group} would take {format_gib(total)} of "
            f"memory, column {largest!r} {format_gib(decoded[largest])} of them; at most "
            f"{format_gib(limit)} are read at once, {MEMORY_SHARE:.0%} of this machine's memory. "
            "If the log is sound, write it with fewer rows in a row group."
        )
