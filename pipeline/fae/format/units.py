"""Sizes in bytes, as people write them (512KiB, 256MiB, 2GiB), and the memory that there is."""

import os
import re
from pathlib import Path

SIZE_HELP = "a number with a unit: 512KiB, 256MiB, 2GiB, or 256MB for millions of bytes"
_FACTORS = {
    prefix + end: base**power
    for power, prefix in enumerate(("", "k", "m", "g", "t", "p", "e"))
    for end, base in (("b", 1000), ("ib", 1024), ("", 1000))
}
#: Where the kernel shows the bounds of the process's control group.
_GROUP = Path("/sys/fs/cgroup")


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
