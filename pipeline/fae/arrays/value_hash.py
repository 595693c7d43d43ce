"""Hash staged values, whatever their type."""

import numpy as np
import polars as pl
from xxhash import xxh3_64_intdigest

from fae.arrays.row_keys import UInt64Array, mix_bits

#: The hash of the missing category.
_MISSING_HASH = 0


def hash_values(staged: pl.Series) -> UInt64Array:
    """Return a 64-bit hash of each staged value, shape (values,), that depends on nothing else.

    An integer is hashed by splitmix64 (hex values are integers, negative ones are taken modulo
    2^64), a text's UTF-8 bytes by XXH3. The missing category has the hash 0.
    """
    if staged.dtype == pl.String():
        texts = staged.cast(pl.Binary()).to_list()
        hashes = (_MISSING_HASH if text is None else xxh3_64_intdigest(text) for text in texts)
        return np.fromiter(hashes, dtype=np.uint64, count=len(staged))
    keys = mix_bits(staged.fill_null(0).to_numpy().astype(np.uint64))
    keys[staged.is_null().to_numpy()] = _MISSING_HASH
    return keys
