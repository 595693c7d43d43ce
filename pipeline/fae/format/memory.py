"""Bytes: as people write them (512KiB, 2GiB), how many memory has, and what data takes in it."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fae.format.errors import ParameterError

SIZE_HELP = "a number with a unit: 512KiB, 256MiB, 2GiB, or 256MB for millions of bytes"
_FACTORS = {
    prefix + end: base**power
    for power, prefix in enumerate(("", "k", "m", "g", "t", "p", "e"))
    for end, base in (("b", 1000), ("ib", 1024), ("", 1000))
}
#: Where the kernel shows the bounds of the process's control group.
_GROUP = Path("/sys/fs/cgroup")
#: Bytes of a value by its physical type in Parquet; of a text, those of its place.
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4}
_MOST_WIDTH = 8


def parse_bytes(size: str | float) -> int:
    """Return the bytes that `size` means, in whole bytes rounded down.

    A number counts bytes; a text is a number with a unit, whose case does not matter. Raises
    ValueError for anything else, with the accepted notation in the message.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(size))
    if found is None or (factor := _FACTORS.get(found[2].lower())) is None:
        raise ValueError(f"is not a valid size. Write {SIZE_HELP}")
    number = found[1]
    return int(float(number) * factor) if "." in number else int(number) * factor


def format_gib(size: int) -> str:
    """Return a number of bytes as people read it: `5.9 GiB`."""
    return f"{size / 2**30:,.1f} GiB"


def read_free_memory() -> int:
    """Return the bytes that processes can still take, or 0 if they are unknown."""
    free = _read_kernels("MemAvailable")
    limit, used = _read_groups("memory.max"), _read_groups("memory.current")
    if limit is None or used is None:
        return free
    return max(min(free, limit - used), 0)


def read_most_memory() -> int:
    """Return the bytes that processes have at the very most: all memory, and swap.

    More than that certainly does not fit; less may not fit either.
    """
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(total, _read_groups("memory.max") or total) + _read_kernels("SwapTotal")


def check_host_memory(parts: Mapping[str, int], remedies: Mapping[str, str]) -> None:
    """Raise ParameterError where `parts`, bytes by name, take more than all memory of the host.

    The message lists them, and ends with the remedy of the largest. The kernel grants more than it
    has, and would end the process when the bytes are written.
    """
    most, size = read_most_memory(), sum(parts.values())
    if size > most:
        listed = ", ".join(f"{name} {format_gib(part)}" for name, part in parts.items())
        raise ParameterError(
            f"The model takes {format_gib(size)} of memory ({listed}), and this machine has "
            f"{format_gib(most)}, swap included. {remedies[max(parts, key=lambda n: parts[n])]}"
        )


@dataclass
class ColumnBytes:
    """What is known of a column: bytes without its repeated texts, and those texts.

    `bytes` holds all texts that lie in the file themselves; a dictionary's may come up to `texts`
    times. `text_paths` are the leaves of the column that have a dictionary.
    """

    bytes: int = 0
    texts: int = 0
    text_paths: list[str] = field(default_factory=list)


def count_decoded_bytes(
    metadata: Any, group: int, names: Iterable[str], rows_at_once: int
) -> dict[str, ColumnBytes]:
    """Return what a footer says about `names` of a row group, of which so many rows are read.

    `metadata` is PyArrow's FileMetaData. Equal values and lengths of lists take no bytes in a file,
    however many they are.
    """
    columns = {name: ColumnBytes() for name in names}
    found = metadata.row_group(group)
    for index in range(found.num_columns):
        chunk, leaf = found.column(index), metadata.schema.column(index)
        column = _find_column(columns, leaf.path.split("."))
        if column is None:
            continue
        values = chunk.num_values
        if leaf.max_repetition_level == 0:
            values = min(values, rows_at_once)
        width = max(leaf.length, _WIDTHS.get(chunk.physical_type, _MOST_WIDTH))
        column.bytes += values * width
        if chunk.physical_type == "BYTE_ARRAY":
            column.bytes += chunk.total_uncompressed_size
            if chunk.has_dictionary_page:
                column.texts += values
                column.text_paths.append(leaf.path)
    return columns


def _find_column(columns: dict[str, ColumnBytes], path: Sequence[str]) -> ColumnBytes | None:
    """Return the column that a leaf belongs to; names of columns may hold points themselves."""
    prefixes = (".".join(path[:length]) for length in range(len(path), 0, -1))
    return next((columns[prefix] for prefix in prefixes if prefix in columns), None)


def _read_kernels(name: str) -> int:
    """Return the bytes that the kernel states under a name; 0 where it does not."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return int(dict(line.split(":") for line in lines)[name].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 0


def _read_groups(name: str) -> int | None:
    """Return the bytes that the control group states; None where it has no such bound."""
    try:
        return int((_GROUP / name).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
