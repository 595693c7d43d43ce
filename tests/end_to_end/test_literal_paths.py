"""A path means the file or folder of that name, whatever a shell or a library makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

import fae
from fae.logs.files import find_logs
from fae.storage.folder import Folder
from tests.support import command_line
from tests.support.small_logs import SHOP, SHOP_LOG

NAMES = ["v[1]", "~", "a::b%41", "what?{a,b}*"]


@pytest.mark.parametrize("name", NAMES)
def test_a_log_and_its_data_set_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / name
    (folder / "sub").mkdir(parents=True)
    (folder / f"{name}.csv").write_text(SHOP_LOG)
    dataset = fae.prepare(f"{name}/{name}.csv", schema=SHOP, hot_budget="1KiB", out=f"{name}/DIR")
    assert dataset.read("train").height == 16
    assert dataset.verify().faults == ()
    encoded = fae.Encoder(f"{name}/DIR").encode([{"city": "Rome"}])
    assert encoded["city"].to_list() == [2]
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(["DIR", "DIR.timings.json", f"{name}.csv", "sub"])
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_another_folder_that_a_pattern_would_match_is_left_alone(tmp_path: Path) -> None:
    logs = {"v1": SHOP_LOG, "v[1]": SHOP_LOG.replace("Oslo", "Kyiv")}
    for name, log in logs.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.csv").write_text(log)
        path = tmp_path / name / "log.csv"
        fae.prepare(path, schema=SHOP, hot_budget="1KiB", out=tmp_path / name / "DIR")
    known = [fae.Encoder(tmp_path / name / "DIR").encode([{"city": "Oslo"}]) for name in logs]
    assert [int(frame["city"][0] > 0) for frame in known] == [1, 0]
    assert [log.name for log in find_logs([str(tmp_path / "v[[]1]" / "*.csv")], SHOP)] == [
        "log.csv"
    ]


def test_a_run_and_a_report_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "~v[1]*?{a,b}::c%41"
    Path(name).mkdir()
    (Path(name) / "log.csv").write_text(SHOP_LOG)
    data, run = f"{name}/DIR", f"{name}/RUN"
    prepared = {"schema": SHOP, "hot_budget": "1KiB", "keep_work": True}
    fae.prepare(f"{name}/log.csv", **prepared, out=data)
    day = SHOP_LOG.replace(",10", ",20")
    (Path(name) / "day{2}.csv").write_text(day)
    for command in (
        ["train", data, "--out", run, "--device", "cpu", "--batch-size", "8", "--quiet"],
        ["evaluate", data, "--run", run],
        ["summary", data, "--run", run],
        ["export", data, run, "--out", f"{name}/TABLES"],
        ["report", data, "--out", f"{name}/report[1].html"],
        ["prepare", f"{name}/day{{2}}.csv", "--append", "--out", data],
        ["import", run, "--data", data, "--out", f"{name}/RUN_2"],
        ["train", data, "--out", f"{name}/RUN_2", "--resume", "--device", "cpu", "--quiet"],
    ):
        result = command_line.fae(*command)
        assert result.exit_code == 0, result.output
    assert fae.open_dataset(data).read("train").height == 32
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_whose_name_begins_with_a_tilde_is_absolute() -> None:
    assert Folder.of("~").path == Path.cwd() / "~"
    assert str(Folder.of("a/~")) == "a/~"
