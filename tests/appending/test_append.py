"""Logs added to a data set: the bytes of one preparation of all logs, kill it as you will."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fae.appending.append import append
from fae.execution.executor import Executor
from fae.format.errors import DatasetError, FaeError, LogError
from fae.format.manifest import SPLITS
from fae.hotset.parameters import CalibrateParameters
from fae.ingestion.parameters import IngestParameters
from fae.logs.files import find_logs_by_split
from fae.logs.schema_files import load_schema
from fae.preparation import PreparationParameters, prepare
from fae.profiling.parameters import ProfileParameters
from fae.synthetic.log import write_log
from tests.support.forked import forked
from tests.support.oracle import Options
from tests.support.random_logs import FEW_EXAMPLES, RandomLog, logs
from tests.support.shop_days import (
    SHOP_PARAMETERS,
    added,
    assert_same,
    at_once,
    contents,
    shop_days,
)
from tests.support.small_logs import (
    SHOP,
    SHOP_BUDGET,
    SHOP_LOG,
    digests,
    parameters_of,
    rejects_of,
    written,
)

# ── Exactness ────────────────────────────────────────────────────────────────────────────────────


@FEW_EXAMPLES
@given(log=logs(), data=st.data())
def test_appended_logs_give_the_bytes_of_all_at_once(log: RandomLog, data: st.DataObject) -> None:
    assume(len(log.files) > 1 and len({file.stored for file in log.files}) == len(log.files))
    count = data.draw(st.integers(1, len(log.files) - 1))
    parameters = parameters_of(log.options)
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        found = log.find(place)
        ordered = sorted(found, key=lambda log: SPLITS.index(log.split) if log.split else -1)
        executor = Executor(1)
        out = place / "added"
        try:
            prepare(ordered, log.schema, place / "whole", executor, parameters)
            prepare(found[:count], log.schema, out, executor, parameters, keep_work=True)
            append(found[count:], log.schema, out, executor, {"max_reject_share": 1.0})
        except FaeError:  # nothing to train on, or new logs without one good line
            assume(False)
        assert_same(out, place / "whole")


AVAZU = PreparationParameters(
    IngestParameters.of(max_reject_share=0.01),
    ProfileParameters.of(valid="1d", test="1d", sample=0.5, min_count={"": 2, "site_id": 4}),
    CalibrateParameters.of(hot_budget="64KiB"),
    parameters_of(Options(budget=1)).partition,
)


def test_days_appended_one_by_one_give_the_bytes_of_all_at_once(tmp_path: Path) -> None:
    schema = load_schema("avazu")
    write_log("avazu", 2400, tmp_path / "all", 3)
    header, *lines = (tmp_path / "all").read_text().splitlines(keepends=True)
    lines[1500] = "broken\n"
    days = ["".join([header, *lines[800 * day : 800 * (day + 1)]]) for day in range(3)]
    paths = written(tmp_path, {f"day={n}/log.txt": text for n, text in enumerate(days)})
    at_once(paths, schema, tmp_path / "whole", AVAZU)
    at_once(paths[:1], schema, tmp_path / "added", AVAZU, keep_work=True)
    added(paths[1:2], schema, tmp_path / "added")
    manifest = added(paths[2:], schema, tmp_path / "added")
    assert_same(tmp_path / "added", tmp_path / "whole")
    assert rejects_of(tmp_path / "added" / "rejects")[0]["file"] == "day=1/log.txt"
    assert [log["name"] for log in manifest.preparation["logs"]] == [
        f"day={n}/log.txt" for n in range(3)
    ]
    assert not list((tmp_path / "added.work" / "staging" / "parts").rglob("*.partial"))
    assert sorted(p.name for p in (tmp_path / "added.work").iterdir()) == ["staging"]


def test_parameters_stay_unless_they_are_changed(tmp_path: Path, day: list[str]) -> None:
    changed = {"hot_share": 0.5, "valid": "0.2", "seed": 7, "min_count": {"city": 2}}
    added(day[1:], SHOP, tmp_path / "added", **changed)
    manifest = at_once(day, SHOP, tmp_path / "whole", SHOP_PARAMETERS.with_changes(changed))
    assert manifest.seed == 7
    assert manifest.preparation["parameters"]["profile"]["valid"] == {"share": 0.2, "days": 0}
    assert manifest.preparation["parameters"]["calibrate"]["hot_budget"] is None
    assert_same(tmp_path / "added", tmp_path / "whole")
    expected = SHOP_PARAMETERS.with_changes(changed)
    recorded = PreparationParameters.from_manifest(manifest)
    assert recorded.compute_fingerprints("x") == expected.compute_fingerprints("x")


def test_staged_parts_are_neither_parsed_nor_copied_again(tmp_path: Path, day: list[str]) -> None:
    parts = tmp_path / "added.work" / "staging" / "parts"
    before = {path.name: path.stat().st_ino for path in parts.iterdir()}
    Path(day[0]).unlink()
    added(day[1:], SHOP, tmp_path / "added")
    after = {path.name: path.stat().st_ino for path in parts.iterdir() if path.is_file()}
    assert after == before


def test_parts_may_be_links_into_a_cache(tmp_path: Path, day: list[str]) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    staging = tmp_path / "added.work" / "staging"
    for file in list((staging / "parts").iterdir()):
        file.rename(cache / file.name)
        file.symlink_to(os.path.relpath(cache / file.name, file.parent))
    cached = digests(cache)
    added(day[1:], SHOP, tmp_path / "added")
    at_once(day, SHOP, tmp_path / "whole", SHOP_PARAMETERS)
    assert_same(tmp_path / "added", tmp_path / "whole")
    assert digests(cache) == cached


def test_parts_are_copied_where_the_file_system_has_no_links(
    tmp_path: Path, day: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    added(day[1:], SHOP, tmp_path / "added")
    at_once(day, SHOP, tmp_path / "whole", SHOP_PARAMETERS)
    assert_same(tmp_path / "added", tmp_path / "whole")


def test_worker_processes_write_the_same_bytes(
    tmp_path: Path, day: list[str], workers: Executor
) -> None:
    found = find_logs_by_split(day[1:], [], [], SHOP)
    append(found, SHOP, tmp_path / "added", workers, {})
    at_once(day[:1], SHOP, tmp_path / "other", SHOP_PARAMETERS, keep_work=True)
    added(day[1:], SHOP, tmp_path / "other")
    assert digests(tmp_path / "added") == digests(tmp_path / "other")


# ── What is refused ──────────────────────────────────────────────────────────────────────────────


def test_a_log_that_is_in_the_data_set_is_refused_by_name(tmp_path: Path, day: list[str]) -> None:
    out = tmp_path / "added"
    before = digests(out)
    shutil.copyfile(day[0], tmp_path / "copy.csv")
    with pytest.raises(LogError, match=r"copy\.csv is in the data set already \(as day0\.csv\)"):
        added([day[1], str(tmp_path / "copy.csv")], SHOP, out)
    with Path(day[0]).open("a") as log:
        log.write("z,1,1030,7,Oslo,7,\n")
    with pytest.raises(
        LogError, match=r"day0\.csv is in the data set already, with other contents"
    ):
        added(day[:1], SHOP, out)
    assert digests(out) == before
    added(day[1:], SHOP, out)
    with pytest.raises(LogError, match=r"day1\.csv is in the data set already"):
        added(day[1:], SHOP, out)


def test_appending_needs_the_staging_of_the_data_set(tmp_path: Path, day: list[str]) -> None:
    at_once(day[:1], SHOP, tmp_path / "bare", SHOP_PARAMETERS)
    other = parameters_of(Options(budget=SHOP_BUDGET, seed=5))
    at_once(day[:1], SHOP, tmp_path / "added", other, overwrite=True)
    at_once(day, SHOP, tmp_path / "foreign", SHOP_PARAMETERS, keep_work=True)
    shutil.copytree(tmp_path / "foreign.work", tmp_path / "added.work")
    for name in ("bare", "added"):
        with pytest.raises(DatasetError, match=r"from its logs with --keep-work"):
            added(day[1:], SHOP, tmp_path / name)
    before = digests(tmp_path / "bare")
    at_once(day[:1], SHOP, tmp_path / "bare", SHOP_PARAMETERS, keep_work=True)
    assert digests(tmp_path / "bare") == before
    added(day[1:], SHOP, tmp_path / "bare")
    assert_same(tmp_path / "bare", tmp_path / "foreign")


def test_another_schema_is_refused(tmp_path: Path, day: list[str]) -> None:
    other = SHOP.model_copy(update={"quote": None})
    with pytest.raises(DatasetError, match="differs from the one that"):
        added(day[1:], other, tmp_path / "added")


def test_malformed_new_logs_change_nothing(tmp_path: Path, day: list[str]) -> None:
    before = digests(tmp_path / "added"), digests(tmp_path / "added.work" / "staging")
    (bad,) = written(tmp_path, {"bad.csv": SHOP_LOG + "bad\n"})
    with pytest.raises(LogError, match="are malformed"):
        added([bad], SHOP, tmp_path / "added", max_reject_share=0.01)
    assert (digests(tmp_path / "added"), digests(tmp_path / "added.work" / "staging")) == before
    added(day[1:], SHOP, tmp_path / "added")
    at_once(day, SHOP, tmp_path / "whole", SHOP_PARAMETERS)
    assert_same(tmp_path / "added", tmp_path / "whole")


# ── Kills ────────────────────────────────────────────────────────────────────────────────────────


def append_and_die(path: str, out: Path, number: int, events: Path) -> None:
    """Append a log, and be killed before renaming or removing the folder of this number.

    `events` gets the number of such events where no kill prevents it.
    """
    seen = 0

    def kill(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in ("os.rename", "shutil.rmtree") and Path(str(arguments[0])).is_dir():
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    sys.addaudithook(kill)
    added([path], SHOP, out)
    events.write_text(str(seen))


def test_a_kill_at_a_renaming_leaves_a_whole_data_set_and_the_next_call_resumes(
    tmp_path: Path,
) -> None:
    """Try every event from the replacement of the data set on, and some before it."""
    paths = shop_days(tmp_path)
    at_once(paths[:1], SHOP, tmp_path / "first", SHOP_PARAMETERS, keep_work=True)
    at_once(paths, SHOP, tmp_path / "whole", SHOP_PARAMETERS)
    for stage in ("frequencies", "hot_set"):
        shutil.rmtree(tmp_path / "first.work" / stage)
    old, new = (contents(tmp_path / name) for name in ("first", "whole"))
    events = tmp_path / "events"

    def append_killed(number: int) -> tuple[int, Path]:
        out = tmp_path / f"added{number}"
        for suffix in ("", ".work"):
            shutil.copytree(f"{tmp_path / 'first'}{suffix}", f"{out}{suffix}")
        errors = tmp_path / "errors"
        with forked(append_and_die, paths[1], out, number, events, errors=errors) as process:
            code = process.wait(60)
        assert code in (0, -signal.SIGKILL), process.errors
        return code, out

    assert append_killed(-1)[0] == 0  # none is killed
    total = int(events.read_text())
    seen = []
    for number in [*range(0, total - 8, 6), *range(total - 8, total)]:
        code, out = append_killed(number)
        assert code == -signal.SIGKILL
        found = contents(out)
        assert found in (old, new), number
        seen.append(found == new)
        added(paths[1:], SHOP, out)
        assert contents(out) == new
        assert not list(tmp_path.glob("*.partial"))
        assert sorted(p.name for p in Path(f"{out}.work").iterdir()) == ["staging"]
    assert seen == sorted(seen)
    assert seen.count(False) >= 3
    assert seen.count(True) >= 3
