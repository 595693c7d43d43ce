"""Rows are split at random, by a column's values, or as a column says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fae.execution.executor import Executor
from fae.format.errors import ParameterError
from fae.logs.files import find_logs
from fae.profiling.parameters import ProfileParameters
from fae.profiling.stage import profile
from tests.support.small_logs import LABEL, schema_of, splits_of, staged, written

ROWS = 400
CITY = {"name": "city", "role": "sparse"}


def split_rows(directory: Path, block_bytes: int, **keys: Any) -> tuple[list[int], list[str]]:
    """The split of each row of a log of 40 users, and its user."""
    rng = np.random.default_rng(1)
    users = [f"u{number}" for number in rng.integers(40, size=ROWS)]
    text = "".join(f"{i % 2},c{i % 7},{user}\n" for i, user in enumerate(users))
    schema = schema_of([LABEL, CITY, {"name": "user", "role": "key"}], **keys)
    logs = find_logs(written(directory, {"a.txt": text}), schema)
    staging = staged(logs, schema, directory / f"s{block_bytes}", block_bytes=block_bytes)
    parameters = ProfileParameters.of(valid="0.2", test="0.2")
    frequencies = profile(staging, directory / f"f{block_bytes}", Executor(1), parameters)
    return splits_of(staging, frequencies), users


def test_a_random_split_has_the_shares_and_no_order(tmp_path: Path) -> None:
    codes, _ = split_rows(tmp_path, 1 << 20, split_by="random")
    assert np.bincount(codes).tolist() == [240, 80, 80]
    assert 10 < sum(code == 2 for code in codes[: ROWS // 2]) < 70
    assert codes == split_rows(tmp_path, 500, split_by="random")[0]


def test_a_split_by_user_keeps_each_user_together(tmp_path: Path) -> None:
    codes, users = split_rows(tmp_path, 1 << 20, split_by="user")
    by_user = {user: {c for c, u in zip(codes, users, strict=True) if u == user} for user in users}
    assert {len(found) for found in by_user.values()} == {1}
    assert all(count > ROWS * 0.1 for count in np.bincount(codes))
    assert codes == split_rows(tmp_path, 500, split_by="user")[0]


def test_days_cannot_be_held_out_at_random(tmp_path: Path) -> None:
    schema = schema_of([LABEL, CITY, {"name": "t", "role": "time"}], split_by="random")
    logs = find_logs(written(tmp_path, {"a.txt": "1,a,1000\n0,b,2000\n"}), schema)
    staging = staged(logs, schema, tmp_path / "s")
    with pytest.raises(ParameterError, match="splits by it"):
        profile(staging, tmp_path / "f", Executor(1), ProfileParameters.of(valid="1d"))
