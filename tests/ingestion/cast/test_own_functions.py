"""A schema's own functions work row by row, count for the fingerprint, and are trusted code."""

from __future__ import annotations

from pathlib import Path

import pytest

import fae
from fae.format.errors import DatasetError, ParameterError, SchemaError
from fae.logs.files import find_logs
from fae.logs.schema import Schema
from tests.support.small_logs import LABEL, schema_of, staged, written

LOG = "".join(f"{row % 2},{row}\n" for row in range(20))


def schema_with(function: str) -> Schema:
    return schema_of([LABEL, {"name": "item", "role": "sparse", "function": function}])


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("no_such_module:f", "cannot load the function no_such_module:f: No module named"),
        ("tests.support.own_functions:none", "cannot load the function"),
        ("tests.support.own_functions:NUMBER", "is not a function"),
        ("tests.support.own_functions:subtract_mean", "does not work row by row"),
        ("tests.support.own_functions:fail", "failed: no"),
    ],
)
def test_a_function_that_does_not_work_is_told(tmp_path: Path, function: str, why: str) -> None:
    schema = schema_with(function)
    logs = find_logs(written(tmp_path, {"a.txt": LOG}), schema)
    with pytest.raises(SchemaError, match=why):
        staged(logs, schema, tmp_path / "out")


def test_a_changed_function_is_a_changed_staging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = tmp_path / "mine_for_a_test.py"
    module.write_text("def same(raw):\n    return raw\n")
    schema = schema_with("mine_for_a_test:same")
    logs = find_logs(written(tmp_path, {"a.txt": LOG}), schema)
    staged(logs, schema, tmp_path / "out")
    staged(logs, schema, tmp_path / "out")
    module.write_text("def same(raw):\n    return raw + '!'\n")
    with pytest.raises(DatasetError, match="--overwrite"):
        staged(logs, schema, tmp_path / "out")


def test_code_that_a_data_set_names_runs_only_where_the_user_says_so(tmp_path: Path) -> None:
    schema = schema_with("tests.support.own_functions:shout")
    (log,) = written(tmp_path, {"a.txt": LOG})
    out = tmp_path / "out"
    dataset = fae.prepare(log, schema=schema, out=out, hot_budget="1KiB", threads=1, keep_work=True)
    with pytest.raises(DatasetError, match=r"own_functions:shout.*own_functions=True"):
        dataset.encoder()
    encoded = dataset.encoder(own_functions=True).encode([{"item": "3"}])
    assert encoded["item"].to_list() != [0]
    (more,) = written(tmp_path, {"b.txt": LOG + "1,77\n"})
    with pytest.raises(ParameterError, match="give the schema again with --schema"):
        fae.append(more, out=out, threads=1)
    appended = fae.append(more, out=out, schema=schema, threads=1)
    assert sum(split.rows for split in appended.splits.values()) == 41
