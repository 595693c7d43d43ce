"""Documents that are read back: damage is one message that names the file, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fae.appending.append import append
from fae.cli.printing import print_dataset
from fae.commit.outputs import read_dataclass
from fae.dataset.encoder import Encoder
from fae.execution.executor import Executor
from fae.format.errors import DatasetError, ParameterError
from fae.format.manifest import Manifest
from fae.hotset.device_profile import DeviceProfile
from fae.hotset.hot_set import HotSet
from fae.hotset.parameters import CalibrateParameters
from fae.ingestion.staging import Staging
from fae.logs.files import find_logs_by_split
from fae.preparation import PreparationParameters
from fae.profiling.frequencies import Frequencies
from fae.profiling.parameters import ProfileParameters, parse_min_counts
from fae.storage.folder import Folder
from tests.support.small_logs import SHOP, digests, edit_manifest, shop_stages

READERS = [
    (Staging, "staging", "staging.json"),
    (Frequencies, "frequencies", "frequencies.json"),
    (HotSet, "hot_set", "hot_set.json"),
]


@pytest.fixture
def stages(tmp_path: Path) -> Path:
    """The folder of four stages' outputs, to be damaged."""
    shop_stages(tmp_path)
    return tmp_path


def lacking(document: dict[str, Any]) -> None:
    document.popitem()


def mistyped(document: dict[str, Any]) -> None:
    key = "parts" if "parts" in document else "tables"
    document[key] = 7


def misshapen(document: dict[str, Any]) -> None:
    key = "parts" if "parts" in document else "tables"
    document[key][0]["rows"] = "many"


@pytest.mark.parametrize(("kind", "folder", "name"), READERS)
@pytest.mark.parametrize("damage", [lacking, mistyped, misshapen])
def test_a_stages_document_of_another_shape_is_damaged(
    stages: Path, kind: Any, folder: str, name: str, damage: Callable[[Any], None]
) -> None:
    assert kind.read(stages / folder) == read_dataclass(kind, Folder.of(stages / folder), name)
    path = stages / folder / name
    document = json.loads(path.read_text())
    damage(document)
    path.write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=rf"{folder}/{name} is damaged .*Write it again"):
        kind.read(stages / folder)


@pytest.mark.parametrize("text", ['{"version": ' + "1" * 5000 + "}", "[" * 100_000])
def test_a_manifest_that_python_cannot_load_is_no_json(shop_copy: Path, text: str) -> None:
    (shop_copy / "manifest.json").write_text(text)
    with pytest.raises(DatasetError, match=r"manifest\.json is not JSON"):
        Manifest.read(shop_copy)


def test_a_manifest_without_what_a_summary_tells_is_damaged(shop_copy: Path) -> None:
    edit_manifest(shop_copy, "preparation", value={"parameters": {"profile": 1}})
    manifest = Manifest.read(shop_copy)
    with pytest.raises(DatasetError, match=r"is damaged \(KeyError: 'tables'\)"):
        print_dataset(manifest, Folder.of(shop_copy))
    with pytest.raises(DatasetError, match="preparation is damaged"):
        PreparationParameters.from_manifest(manifest)


def test_a_manifest_with_another_schema_is_damaged(shop_copy: Path) -> None:
    edit_manifest(shop_copy, "schema", value={"name": "shop"})
    with pytest.raises(DatasetError, match=r"manifest\.json is damaged"):
        Encoder(shop_copy)


@pytest.mark.parametrize("text", ["{", "{}", '{"former": 1}', "\ud800"])
def test_damaged_drift_is_one_message(day: list[str], tmp_path: Path, text: str) -> None:
    added, new = tmp_path / "added", find_logs_by_split(day[1:], [], [], SHOP)
    manifest, _ = append(new, SHOP, added, Executor(1), {})
    (added / "drift.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DatasetError, match=r"drift\.json is damaged"):
        print_dataset(manifest, Folder.of(added))


def test_damaged_rejects_stop_an_addition(day: list[str], tmp_path: Path) -> None:
    rejects = tmp_path / "added.work" / "staging" / "rejects" / "rejects.jsonl"
    rejects.write_text('{"line": 3}\n')
    before = digests(tmp_path / "added")
    with pytest.raises(DatasetError, match=r"rejects\.jsonl is damaged"):
        append(find_logs_by_split(day[1:], [], [], SHOP), SHOP, tmp_path / "added", Executor(1), {})
    assert digests(tmp_path / "added") == before


def test_a_device_profile_that_is_no_text_is_none(tmp_path: Path) -> None:
    (tmp_path / "device.json").write_bytes(b"\x80")
    with pytest.raises(ParameterError, match="is not a device profile"):
        DeviceProfile.read(tmp_path / "device.json")


@pytest.mark.parametrize(
    "make",
    [
        lambda: parse_min_counts(["9" * 5000]),
        lambda: parse_min_counts(["city=99999999999999999999"]),
        lambda: ProfileParameters.of(min_count={"": 10**30}),
        lambda: CalibrateParameters.of(hot_budget=10**400),
        lambda: CalibrateParameters.of(hot_budget="9" * 400 + "PiB"),
        lambda: CalibrateParameters.of(hot_budget=1, cold_ids="hashed", cold_buckets=10**30),
    ],
)
def test_numbers_beyond_any_machine_are_out_of_range(make: Callable[[], object]) -> None:
    with pytest.raises(ParameterError):
        make()
