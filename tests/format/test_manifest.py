"""The manifest: written and read back, and whatever is not of its shape is refused by name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from fae.format.budget import DTYPE_BYTES, OPTIMIZER_STATE, Embedding
from fae.format.errors import DatasetError
from fae.format.manifest import VERSION, Manifest
from tests.support.small_logs import Stages, edit_manifest


def refusal(dataset: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        Manifest.read(dataset)
    return str(caught.value)


def test_a_manifest_is_read_back_as_it_was_written(shop: Stages, tmp_path: Path) -> None:
    shop.manifest.write(tmp_path)
    (tmp_path / "_SUCCESS").write_text("")
    assert Manifest.read(tmp_path) == shop.manifest
    assert Manifest.read(str(tmp_path)) == shop.manifest


def test_the_same_manifest_is_the_same_bytes(shop: Stages, tmp_path: Path) -> None:
    shop.manifest.write(tmp_path)
    text = (tmp_path / "manifest.json").read_bytes()
    assert text == (shop.dataset / "manifest.json").read_bytes()
    Manifest.read(shop.dataset).write(tmp_path)
    assert (tmp_path / "manifest.json").read_bytes() == text


def test_all_files_are_named_once(shop: Stages) -> None:
    paths = [file.path for file in shop.manifest.files()]
    assert len(paths) == len(set(paths)) == 8
    assert shop.manifest.table("item").rows == 5


@pytest.mark.parametrize("file", ["_SUCCESS", "manifest.json"])
def test_an_unfinished_data_set_is_refused(shop_copy: Path, file: str) -> None:
    (shop_copy / file).unlink()
    assert "is not a finished data set" in refusal(shop_copy)
    assert "fae prepare" in refusal(shop_copy)


def test_a_manifest_of_another_checksum_is_refused(shop_copy: Path) -> None:
    with (shop_copy / "manifest.json").open("a") as manifest:
        manifest.write(" ")  # JSON as before
    assert "its sha256 is not the one" in refusal(shop_copy)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"format": ' + b"[" * 100_000])
def test_what_is_not_json_is_refused(shop_copy: Path, data: bytes) -> None:
    (shop_copy / "manifest.json").write_bytes(data)
    assert "is not JSON" in refusal(shop_copy)


@pytest.mark.parametrize("text", ["[]", "{}", '"x"', '{"format": "other"}'])
def test_what_is_no_manifest_is_refused(shop_copy: Path, text: str) -> None:
    (shop_copy / "manifest.json").write_text(text)
    assert 'has no "format": "fae-dataset"' in refusal(shop_copy)


@pytest.mark.parametrize("version", [VERSION + 1, 0, str(VERSION), None])
def test_another_version_is_refused_and_both_are_named(shop_copy: Path, version: Any) -> None:
    edit_manifest(shop_copy, "version", value=version)
    assert f"has version {version!r}, and this program reads version {VERSION}" in refusal(
        shop_copy
    )


@pytest.mark.parametrize(
    ("keys", "value", "named"),
    [
        (("seed",), "0", "seed: expected int, found '0'"),
        (("fingerprint",), "\ud800", "fingerprint: expected str, found '\\ud800'"),
        (("seed",), True, "seed: expected int, found True"),
        (("seed",), -1, "seed: expected int, found -1"),
        (("seed",), 1.0, "seed: expected int, found 1.0"),
        (("tables",), {}, "tables: expected tuple"),
        (("tables", 0, "rows"), None, "tables[0]: rows: expected int, found None"),
        (("tables", 0), {"name": "city"}, "tables[0]: expected the keys"),
        (("features", "sparse", 0, "multi"), 0, "features: sparse[0]: multi: expected bool"),
        (("splits", "train"), {"hot": 1}, "splits: train: hot: expected the keys"),
        (("records",), "curve.csv", "records: expected tuple"),
        (("budget", "extra"), 1, "budget: expected the keys"),
    ],
)
def test_a_value_of_another_shape_is_named_with_its_place(
    shop_copy: Path, keys: tuple[str | int, ...], value: Any, named: str
) -> None:
    edit_manifest(shop_copy, *keys, value=value)
    assert named in refusal(shop_copy)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Manifest)])
def test_a_missing_key_is_refused(shop_copy: Path, name: str) -> None:
    path = shop_copy / "manifest.json"
    document = json.loads(path.read_text())
    del document[name]
    path.write_text(json.dumps(document))
    assert "version" in refusal(shop_copy)


@pytest.mark.parametrize(
    ("keys", "value", "named"),
    [
        (("tables", 0, "vocabulary", "path"), "../x", "'../x' leaves the data set's directory"),
        (("tables", 0, "vocabulary", "path"), "/etc/x", "'/etc/x' leaves"),
        (("tables", 0, "vocabulary", "path"), "", "'' leaves"),
        (("records", 0, "path"), "a\\b", "leaves"),
        (("tables", 0, "name"), "item", "two tables have the same name"),
        (("tables", 0, "hot_rows"), 7, "table 'city' has impossible sizes"),
        (("tables", 0, "rows"), 0, "table 'city' has impossible sizes"),
        (("tables", 0, "rows"), 2**40, "table 'city' has 1099511627776 rows of dim 4; at most"),
        (("tables", 0, "vocabulary", "rows"), 2**40, "has 1099511627776 rows in"),
        (("tables", 0, "dim"), 2**40, "rows of dim 1099511627776; at most"),
        (("tables", 0, "dim"), 0, "table 'city' has impossible sizes"),
        (("features", "sparse", 0, "table"), "town", "'city' names an unknown table 'town'"),
        (("embedding", "dtype"), "int8", "unknown dtype 'int8'"),
        (("embedding", "optimizer"), "lamb", "unknown optimizer 'lamb'"),
        (("splits", "more"), {}, "splits are"),
        (("splits", "valid"), {}, "valid has [], not ['hot', 'cold']"),
        (("splits", "train", "cold", "rows"), 7, "train/cold rows differ from its files'"),
    ],
)
def test_values_that_contradict_each_other_are_refused(
    shop_copy: Path, keys: tuple[str | int, ...], value: Any, named: str
) -> None:
    edit_manifest(shop_copy, *keys, value=value)
    assert named in refusal(shop_copy)


@pytest.mark.parametrize("dtype", sorted(DTYPE_BYTES))
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZER_STATE))
def test_a_row_is_its_elements_and_its_state(dtype: str, optimizer: str) -> None:
    size = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}[dtype]
    state = {"sgd": 0, "rowwise_adagrad": 4, "adagrad": 16 * size, "adam": 32 * size}[optimizer]
    assert Embedding(dtype, optimizer).row_bytes(16) == 16 * size + state
