"""Logs in an object store to a data set in an object store: the same bytes as on a disk."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tenacity

from fae.cli import main
from fae.commit.lock import lock_output
from fae.commit.outputs import read_manifest
from fae.dataset.encoder import Encoder
from fae.dataset.verify import verify
from fae.execution.executor import Executor
from fae.format.errors import BudgetError, DatasetError, LogError, StorageError
from fae.format.manifest import Manifest
from fae.logs.files import find_logs, find_logs_by_split
from fae.preparation import prepare
from fae.storage.folder import Folder
from tests.support.command_line import fae
from tests.support.forked import forked
from tests.support.object_store import (
    KEY,
    KINDS,
    SECRET,
    asked,
    draw_seed,
    forget,
    object_store,
    tell,
)
from tests.support.oracle import Options
from tests.support.quick_workers import quick_workers
from tests.support.small_logs import (
    SHOP,
    SHOP_BUDGET,
    SHOP_LOG,
    Stages,
    digests,
    parameters_of,
    staged,
    written,
)

PARAMETERS = parameters_of(Options(budget=SHOP_BUDGET))
SCHEMA = """\
name: shop
separator: ","
header: true
quote: '"'
embedding: {dim: 4}
columns:
  - {name: id, role: drop}
  - {name: click, role: label}
  - {name: time, role: time}
  - {name: price, role: dense}
  - {name: city, role: sparse}
  - {name: item, role: sparse, encoding: integer}
  - {name: seen, role: sparse, encoding: integer, table: item, multi: {separator: " "}}
"""


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with object_store() as endpoint:
        Folder.of("s3://data/logs").write_text("shop.csv", SHOP_LOG)
        yield endpoint


@pytest.fixture(scope="module")
def left_by_failure(store: str) -> list[str]:
    """Prepare with too small a budget; return what is left beside the data set to be."""
    logs = find_logs(["s3://data/logs/shop.csv"], SHOP)
    with pytest.raises(BudgetError, match="budget"):
        prepare(logs, SHOP, "s3://data/dataset", Executor(1), parameters_of(Options(budget=1)))
    assert Folder.of("s3://data/dataset").list_files() == []
    return Folder.of("s3://data/dataset.work").list_files()


@pytest.fixture(scope="module")
def dataset(left_by_failure: list[str]) -> Folder:
    """The twenty rows' data set, prepared once, after a failure; not to be changed."""
    prepared("s3://data/dataset", Executor(2))
    return Folder.of("s3://data/dataset")


@pytest.fixture(scope="module")
def stages(store: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Run the commands of all stages below s3://data/stages; return what they print."""
    (schema,) = written(tmp_path_factory.mktemp("schema"), {"shop.yaml": SCHEMA})
    base, budget = "s3://data/stages", ["--hot-budget", "120", "--rule", "accesses"]
    texts = []
    for arguments in (
        ["ingest", "s3://data/logs/shop.csv", "--schema", schema, "--out", f"{base}/s"],
        ["profile", f"{base}/s", "--out", f"{base}/f"],
        ["calibrate", f"{base}/s", f"{base}/f", *budget, "--out", f"{base}/h"],
        ["partition", f"{base}/s", f"{base}/f", f"{base}/h", "--out", f"{base}/d"],
        ["verify", f"{base}/d"],
        ["summary", f"{base}/d"],
    ):
        done = fae(*arguments)
        assert done.exit_code == 0, done.output
        assert base in done.output
        texts.append(done.output)
    return "".join(texts)


@pytest.fixture
def dataset_copy(dataset: Folder, tmp_path: Path) -> Folder:
    """That data set, to be changed."""
    copy = Folder.of(f"s3://data/{tmp_path.name}")
    for name in dataset.list_files():
        with dataset.read(name) as path, copy.write(name) as other:
            shutil.copyfile(path, other)
    return copy


def prepared(out: str, here: Executor) -> Manifest:
    logs = find_logs(["s3://data/logs/*.csv"], SHOP)
    manifest, worked = prepare(logs, SHOP, out, here, PARAMETERS)
    assert worked
    return manifest


# ── The same bytes ───────────────────────────────────────────────────────────────────────────────


def test_threads_write_the_bytes_of_a_local_run(dataset: Folder, shop: Stages) -> None:
    assert read_manifest(dataset) == shop.manifest
    assert digests(dataset) == digests(shop.dataset)
    assert dataset.beside(".work").list_files() == []
    found = verify(dataset, Executor(2))
    assert (found.rows, found.faults) == (20, ())


def test_worker_processes_write_the_bytes_of_a_local_run(store: str, shop: Stages) -> None:
    environment = {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
    with quick_workers(2, **environment) as here:
        prepared("s3://data/workers", here)
    assert digests("s3://data/workers") == digests(shop.dataset)


def test_a_store_that_fails_at_random_gives_the_same_bytes(shop: Stages) -> None:
    with object_store(share=0.15, seed=draw_seed(0.15, KINDS, 200, 11)) as endpoint:
        Folder.of("s3://data/logs").write_text("shop.csv", SHOP_LOG)
        prepared("s3://data/out", Executor(2))
        assert digests(Folder.of("s3://data/out")) == digests(shop.dataset)
        counts = asked(endpoint, "/faults")
    assert sum(counts.values()) - counts["answered"] > 10, counts


def test_a_remote_log_can_go_to_a_disk(store: str, shop: Stages, tmp_path: Path) -> None:
    prepared(str(tmp_path / "down"), Executor(1))
    assert digests(tmp_path / "down") == digests(shop.dataset)


def test_compressed_and_split_logs_are_read(store: str, tmp_path: Path) -> None:
    lines = SHOP_LOG.splitlines(keepends=True)
    with Folder.of("s3://data/days").write("1/log.csv.gz") as path:
        path.write_bytes(gzip.compress("".join(lines[:17]).encode()))
    Folder.of("s3://data/days").write_text("2/log.csv", "".join([lines[0], *lines[17:]]))
    logs = find_logs_by_split(["s3://data/days/1/*"], ["s3://data/days/2/log.csv"], [], SHOP)
    assert [log.name for log in logs] == ["1/log.csv.gz", "2/log.csv"]
    staging = staged(logs, SHOP, tmp_path / "staging")
    assert [log.rows for log in staging.logs] == [16, 4]


# ── Whole or not at all ──────────────────────────────────────────────────────────────────────────


def test_a_killed_run_leaves_no_data_set_and_the_next_goes_on(
    store: str, shop: Stages, tmp_path: Path
) -> None:
    (schema,) = written(tmp_path, {"shop.yaml": SCHEMA})
    command = ["prepare", "s3://data/logs/shop.csv"]
    command += ["--schema", schema, "--hot-budget", "120", "--rule", "accesses"]
    command += ["--out", "s3://data/killed"]
    out = Folder.of("s3://data/killed")
    tell(store, "/hold/data/killed/manifest.json")
    with forked(main, command, errors=tmp_path / "errors") as run:
        tell(store, "/waiting")
        run.kill()
    tell(store, "/release")
    assert run.poll() == -9
    assert any(name.endswith(".parquet") for name in out.list_files())
    assert not out.exists("_SUCCESS")
    with pytest.raises(DatasetError, match=r"s3://data/killed is not a finished data set"):
        read_manifest(out)
    for use in ("verify", "summary"):
        done = fae(use, str(out))
        code, printed = done.exit_code, done.output
        assert (code, printed.count("error:")) == (1, 1)
        assert f"{out} is not a finished data set" in printed
    prepared(str(out), Executor(2))
    assert digests(out) == digests(shop.dataset)
    beside = [name for name in Folder.of("s3://data").list_files() if name.startswith("killed.")]
    assert beside == ["killed.timings.json"]
    again = {path for path, count in asked(store, "/writes").items() if count > 1}
    written_twice = {path.partition("/killed/")[2] for path in again if "/killed/" in path}
    assert written_twice == {"made_from", "curve.csv", "rejects/rejects.jsonl"}


def test_one_run_at_a_time_makes_a_data_set(store: str) -> None:
    with (
        lock_output("s3://data/busy.work"),
        pytest.raises(DatasetError, match=r"another run is writing s3://data/busy\.work .* remove"),
    ):
        prepared("s3://data/busy", Executor(1))
    with lock_output("s3://data/busy.work"):
        pass


def test_what_was_there_goes_only_when_asked(dataset_copy: Folder, shop: Stages) -> None:
    out = dataset_copy
    other = parameters_of(Options(budget=3 * SHOP_BUDGET))
    logs = find_logs(["s3://data/logs/shop.csv"], SHOP)
    assert not prepare(logs, SHOP, out, Executor(1), PARAMETERS)[1]
    with pytest.raises(DatasetError, match=r"other inputs or parameters.*--overwrite"):
        prepare(logs, SHOP, out, Executor(1), other)
    out.write_text("left-over", "")
    changed, _ = prepare(logs, SHOP, out, Executor(1), other, overwrite=True)
    assert changed == read_manifest(out) != shop.manifest
    assert not out.exists("left-over")
    assert verify(out, Executor(1)).faults == ()


def test_what_no_stage_made_is_never_replaced(store: str) -> None:
    out = Folder.of("s3://data/mine")
    out.write_text("notes.txt", "mine")
    with pytest.raises(DatasetError, match=r"holds files but no _SUCCESS, so it is not replaced"):
        prepare(find_logs(["s3://data/logs/shop.csv"], SHOP), SHOP, out, Executor(1), PARAMETERS)
    assert out.list_files() == ["notes.txt"]


@pytest.mark.parametrize("failing", [1, 2])
def test_no_log_is_left_out_where_a_listing_fails_for_a_moment(
    store: str, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    from s3fs import S3FileSystem

    for day in ("day=1", "day=2", "other"):
        Folder.of(f"s3://data/days/{day}").write_text("shop.csv", SHOP_LOG)
    real, calls = S3FileSystem._lsdir, []

    async def shaky(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == failing:
            raise OSError("by design")
        return await real(self, *arguments, **options)

    monkeypatch.setattr(S3FileSystem, "_lsdir", shaky)
    logs = find_logs(["s3://data/days/day=*/*.csv"], SHOP)
    assert [log.url for log in logs] == [f"s3://data/days/day={n}/shop.csv" for n in (1, 2)]
    with pytest.raises(LogError, match="is a directory"):
        find_logs(["s3://data/days/day=*"], SHOP)


def test_a_run_that_fails_leaves_its_finished_stages_alone(
    left_by_failure: list[str], dataset: Folder
) -> None:
    stages = {name.split("/")[0] for name in left_by_failure}
    stages.remove("passing")  # says what the work is for, so that a rerun tidies up
    assert sorted(name.rpartition("-")[0] for name in stages) == ["frequencies", "staging"]
    assert dataset.beside(".work").list_files() == []


def test_a_file_that_is_gone_or_changed_is_a_fault(dataset_copy: Folder) -> None:
    out, manifest = dataset_copy, read_manifest(dataset_copy)
    first, second = manifest.splits["train"]["hot"].files[0], manifest.tables[0].vocabulary
    out.remove([first.path])
    out.write_text(second.path, "x")
    found = verify(out, Executor(1)).faults
    assert f"{first.path}: missing" in found
    assert any(fault.startswith(f"{second.path}: 1 bytes") for fault in found)


# ── Uses of a remote data set ────────────────────────────────────────────────────────────────────


def test_the_commands_take_urls(stages: str, shop: Stages) -> None:
    assert digests(Folder.of("s3://data/stages/d")) == digests(shop.dataset)


def test_rows_are_encoded_by_a_remote_data_set(dataset: Folder, shop: Stages) -> None:
    rows = [{"price": 3, "city": "Oslo", "item": 7, "seen": "7 5"}]
    assert Encoder(dataset).encode(rows).equals(Encoder(shop.dataset).encode(rows))


def test_a_report_needs_a_local_disk_and_says_so(tmp_path: Path) -> None:
    done = fae("report", "s3://data/out", "--out", str(tmp_path / "out"))
    assert done.exit_code == 1
    assert "s3://data/out is" in done.output
    assert "aws s3 sync" in done.output


# ── Mistakes and secrets ─────────────────────────────────────────────────────────────────────────


def test_missing_places_are_one_clear_line(store: str, tmp_path: Path) -> None:
    (schema,) = written(tmp_path, {"shop.yaml": SCHEMA})
    common = ["--schema", schema, "--hot-budget", "120"]
    log, out = "s3://data/logs/shop.csv", ["--out", "s3://data/none"]
    for arguments, words in (
        (["prepare", log, *common, "--out", "s3://missing/out"], "cannot write to s3://missing"),
        (["prepare", "s3://missing/shop.csv", *common, *out], "no log found at s3://missing"),
        (
            ["prepare", "s3://data/logs/*.tsv", *common, *out],
            "no log found at s3://data/logs/*.tsv",
        ),
        (["profile", "s3://data/no/staging", *out], "s3://data/no/staging is not a finished"),
    ):
        done = fae(*arguments)
        code, printed = done.exit_code, done.output
        *_, line = printed.splitlines()
        assert (code, line.startswith("error:"), printed.count("error")) == (1, True, 1)
        assert words in line


def test_no_secret_is_shown_or_stored(stages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "wrong")
        forget()
        refused = fae(
            "ingest", "s3://data/logs/shop.csv", "--schema", "avazu", "--out", "s3://data/x"
        )
    forget()
    assert refused.exit_code == 1
    assert "Check the credentials" in refused.output
    texts, folder = [stages, refused.output], Folder.of("s3://data/stages")
    assert folder.list_files()
    for name in folder.list_files():
        with folder.read(name) as path:
            texts.append(path.read_bytes().decode("latin-1"))
    for text in texts:
        assert SECRET not in text
        assert KEY not in text


def test_a_dead_endpoint_is_told_after_some_tries(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("fae.storage.remote._RETRY.stop", tenacity.stop_after_attempt(3))
    forget()
    with pytest.raises(StorageError, match=r"Could not connect.*Try again later"):
        find_logs(["s3://data/logs/shop.csv"], SHOP)
    forget()
