"""Dictionaries: the distinct values of a column, ascending, and the positions that give it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given

from fae.ingestion.dictionaries import encode_dictionary
from tests.support.columns import TABLES, sort_key


@given(table=TABLES)
def test_a_dictionary_ascends_and_its_positions_give_the_values(
    table: tuple[pa.DataType, list[Any]],
) -> None:
    kind, values = table
    positions, dictionary = encode_dictionary(pa.array(values, kind))
    assert dictionary.to_pylist() == sorted(set(values), key=sort_key)
    assert [dictionary.to_pylist()[position] for position in positions.tolist()] == values
    assert positions.dtype == np.min_scalar_type(max(len(dictionary) - 1, 0))
