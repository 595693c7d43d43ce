"""A vocabulary that is not as it should be is refused by all who read it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from fae.dataset.integrity import read_vocabulary
from fae.format.errors import DatasetError


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"value": ["a"], "id": ["1"]}, r"id is String, not integers. Run `fae verify`"),
        ({"value": [["a"]], "id": [1]}, r"value is List.*, not text or integers. Run"),
        ({"value": ["a"]}, r"Cannot read .*city.parquet: .*Run `fae verify`"),
    ],
)
def test_a_vocabulary_of_other_columns_or_types_is_refused(
    tmp_path: Path, columns: dict[str, object], says: str
) -> None:
    path = tmp_path / "city.parquet"
    pl.DataFrame(columns).write_parquet(path)
    with pytest.raises(DatasetError, match=says) as caught:
        read_vocabulary(path, ["value", "id"])
    assert str(path) in str(caught.value)
