"""Ids and their fixed properties: one 32-bit mixer, a bijection, so that no two ranks collide.

Everything that an id *is* (its eight hex digits, what its parent maps it to, its effect on the
label) comes from here and depends on no seed; a seed only chooses which ids appear in which rows.
"""

import zlib

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

Ids = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]

_HEX = np.frombuffer(b"".join(b"%04x" % i for i in range(1 << 16)), dtype=np.uint32)


def salt(*names: str) -> int:
    """The fixed 32-bit salt of a purpose such as ("C3", "hex")."""
    return zlib.crc32("/".join(names).encode())


def mixed(ids: Ids, salt: int) -> Ids:
    """A permutation of the 32-bit integers, another for each salt (MurmurHash3's finaliser)."""
    x = ids ^ np.uint32(salt)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return x


def unit(ids: Ids, salt: int) -> Floats:
    """A fixed number in [0, 1) for each id, as good as uniform over the ids."""
    return mixed(ids, salt).astype(np.float64) * 2.0**-32


def hex_keys(keys: Ids, missing: npt.NDArray[np.bool_] | None = None) -> pl.Series:
    """Keys as eight lower-case hex digits, null where missing."""
    digits = np.empty((len(keys), 2), dtype=np.uint32)  # (rows, two groups of four characters)
    digits[:, 0] = _HEX[keys >> np.uint32(16)]
    digits[:, 1] = _HEX[keys & np.uint32(0xFFFF)]
    offsets = np.arange(0, 8 * len(keys) + 1, 8, dtype=np.int64)
    valid = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(digits)]
    return pl.Series(pa.Array.from_buffers(pa.large_string(), len(keys), buffers))
