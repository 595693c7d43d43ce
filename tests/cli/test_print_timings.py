"""Commands say where the time went, from a file beside the output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command_line import fae, plain
from tests.support.small_logs import SHOP, SHOP_LOG, digests, written

ROUNDS = [
    *("start-up: driver", "start-up: checksum", "ingest", "splits", "profile"),
    *("calibrate", "partition: scatter", "partition", "tidying up: driver"),
]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a working directory with the twenty rows and their schema."""
    schema = json.dumps(SHOP.model_dump(mode="json", exclude_none=True))
    written(tmp_path, {"shop.csv": SHOP_LOG, "shop.yaml": schema})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepare(*more: str) -> str:
    """Return what `fae prepare` prints on standard output."""
    options = ("--schema", "shop.yaml", "--hot-budget", "432", "--out", "ds", *more)
    result = fae("prepare", "shop.csv", *options)
    assert result.exit_code == 0, result.output
    return plain(result.stdout)


def test_prepare_prints_its_rounds_where_asked_and_summary_where_they_are_known(
    place: Path,
) -> None:
    assert "tidying up" not in prepare()
    assert all(name in plain(fae("summary", "ds").stdout) for name in ROUNDS)
    (place / "ds.timings.json").unlink()
    assert "tidying up" not in plain(fae("summary", "ds").stdout)
    printed = prepare("--seed", "1", "--overwrite", "--timings")
    assert all(name in printed for name in ROUNDS)
    assert "processor seconds; in" in printed


def test_timings_lie_beside_the_data_set_whose_bytes_they_leave_alone(place: Path) -> None:
    prepare("--timings")
    before = digests(place / "ds")
    first = (place / "ds.timings.json").read_bytes()
    prepare("--timings")  # nothing to do
    assert (place / "ds.timings.json").read_bytes() == first
    prepare("--seed", "1", "--overwrite")
    assert (place / "ds.timings.json").read_bytes() != first
    prepare("--overwrite")
    assert digests(place / "ds") == before


def test_each_stage_has_timings_of_its_own(place: Path) -> None:
    commands = [
        ("ingest", "shop.csv", "--schema", "shop.yaml", "--out", "staging"),
        ("profile", "staging", "--out", "frequencies"),
        ("calibrate", "staging", "frequencies", "--hot-budget", "432", "--out", "hot_set"),
        ("partition", "staging", "frequencies", "hot_set", "--out", "ds"),
    ]
    for command in commands:
        result = fae(*command, "--timings")
        assert result.exit_code == 0, result.output
        assert f"{command[0]} " in plain(result.stdout).split("round ")[1]
        assert (place / f"{command[-1]}.timings.json").exists()
