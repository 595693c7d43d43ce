"""Columns of all types that a staging has, for tests."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

INTEGERS = st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1)
#: Arrow types, each with values of it, null for missing ones.
TABLES = st.one_of(
    st.tuples(st.just(pa.int64()), st.lists(st.none() | INTEGERS)),
    st.tuples(st.just(pa.uint32()), st.lists(st.none() | st.integers(0, 2**32 - 1))),
    st.tuples(st.just(pa.large_string()), st.lists(st.none() | st.text(max_size=2))),
)


def sort_key(value: Any) -> tuple[bool, Any]:
    """Return the key by which dictionaries are sorted: null first, texts by their bytes."""
    return value is not None, value.encode() if isinstance(value, str) else value or 0
