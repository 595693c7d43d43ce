"""Ways to prepare a case that must not show in the bytes of the data set."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa

from fae.commit.outputs import read_manifest
from fae.dataset.stage import write_dataset
from fae.execution.executor import Executor
from fae.hotset.stage import calibrate
from fae.ingestion.stage import ingest
from fae.logs.files import find_logs_by_split
from fae.logs.schema import load_schema
from fae.preparation import PreparationParameters
from fae.profiling.stage import profile
from fae.storage.folder import Folder
from faults.preparations import Case, Digests
from faults.programs import FAE, Way, ran
from tests.support.killed_runs import dask_scheduler, dask_worker
from tests.support.small_logs import digests

Cell = Callable[[Case, Path], Digests]
#: What an addition alone writes.
_ADDITION = ("mapping/", "drift.json")
#: What tells of the logs' names and bytes.
_OF_LOGS = ("manifest.json", "_SUCCESS", "rejects/rejects.jsonl")


def options(text: str) -> Cell:
    """`fae prepare` with further options."""
    return lambda case, place: case.prepare(place, *text.split())


def environment(**changed: str) -> Cell:
    """`fae prepare` in another environment."""
    return lambda case, place: case.prepare(place, "--threads", "2", way=Way(place, changed))


def hashed_anew(case: Case, place: Path) -> Digests:
    """Python's hashes and the workers' are others."""
    changed = {"PYTHONHASHSEED": str(random.randrange(2**32))}
    return case.prepare(place, "--workers", "2", way=Way(place, changed))


def one_core(case: Case, place: Path) -> Digests:
    """The system gives one core, so every library takes one thread."""
    core = str(min(os.sched_getaffinity(0)))
    return case.prepare(place, way=Way(place, prefix=("taskset", "-c", core)))


def optimised(case: Case, place: Path) -> Digests:
    """Python without assertions and docstrings."""
    return case.prepare(place, way=Way(place, options=("-OO",)))


def scheduler(case: Case, place: Path) -> Digests:
    """A Dask cluster of two workers."""
    with dask_scheduler(place) as (address, _), ExitStack() as workers:
        for _ in range(2):
            workers.enter_context(dask_worker(address, place))
        return case.prepare(place, "--scheduler", address)


def blocks(count: int, threads: int, memory: int | None = None) -> Cell:
    """The stages' functions, which read logs in `count` blocks or so."""

    def cell(case: Case, place: Path) -> Digests:
        schema = load_schema(case.schema)
        logs = find_logs_by_split([str(log) for log in case.logs], [], [], schema)
        size = max(sum(log.bytes for log in logs) // count, 1)
        here = Executor(threads, memory=memory)
        chosen = PreparationParameters.from_manifest(read_manifest(Folder.of(case.plain / "out")))
        staging = ingest(logs, schema, place / "s", here, chosen.ingest, block_bytes=size)
        frequencies = profile(staging, place / "f", here, chosen.profile)
        hot_set = calibrate(staging, frequencies, place / "h", here, chosen.calibrate)
        parts = (staging, frequencies, hot_set)
        write_dataset(*parts, place / "out", here, chosen.partition)
        made: Digests = digests(place / "out")
        return made

    return cell


def stage_by_stage(case: Case, place: Path) -> Digests:
    """The four commands, with their own parts of the options."""
    given = dict(zip(case.options[::2], case.options[1::2], strict=True))

    def some(*names: str) -> list[str]:
        return [word for name in names if name in given for word in (name, given[name])]

    way, profiled = Way(place), some("--valid", "--test", "--min-count", "--sample", "--seed")
    chosen = some("--hot-budget", "--hot-share", "--rule", "--cold-ids", "--cold-buckets")
    for words in (
        ["ingest", *case.logs, "--schema", case.schema, "--out", "s", "--workers", "1"],
        ["profile", "s", "--out", "f", *profiled],
        ["calibrate", "s", "f", "--out", "h", *chosen],
        ["partition", "s", "f", "h", "--out", "out", *some("--seed"), "--workers", "2"],
    ):
        ran(FAE, *words, way=way)
    made: Digests = digests(place / "out")
    return made


def globbed(case: Case, place: Path) -> Digests:
    """A glob of logs that came to be in another order, in a folder with another name."""
    folder = place / "logs of ümläut's"
    folder.mkdir()
    for log in reversed(case.logs):
        shutil.copyfile(log, folder / log.name)
        os.utime(folder / log.name, (0, random.randrange(2**31)))
    return case.prepare(place, logs=(folder / "day_*",), out="other name")


def relative(case: Case, place: Path) -> Digests:
    """Relative paths of logs and output, with dots and a final slash."""
    logs = tuple(os.path.relpath(log, place) for log in case.logs)
    (place / "deep").mkdir()
    return case.prepare(place, logs=logs, out="deep/../out/")


def urls(case: Case, place: Path) -> Digests:
    """Logs by file:// URLs; the output too."""
    ours = tuple(f"file://{log}" for log in case.logs)
    case.prepare(place, logs=ours, out=f"file://{place}/out")
    made: Digests = digests(place / "out")
    return made


def linked(case: Case, place: Path) -> Digests:
    """Logs and output through linked folders."""
    (place / "logs").symlink_to(case.logs[0].parent)
    (place / "there").mkdir()
    (place / "here").symlink_to(place / "there")
    return case.prepare(place, logs=(place / "logs" / "*",), out="here/out")


def overwritten(case: Case, place: Path) -> Digests:
    """In the place of another data set, whose work lies there still."""
    (place / "out").mkdir()
    for name in ("out", "out.work"):
        shutil.copytree(case.plain / name, place / name, dirs_exist_ok=True)
    case.prepare(place, "--overwrite", "--keep-work", "--dtype", "float16")
    return case.prepare(place, "--overwrite")


def repacked(case: Case, place: Path) -> Digests:
    """The same lines in other packings, under other names."""
    paths = []
    for number, log in enumerate(case.logs):
        packed = log.read_bytes()
        text = gzip.decompress(packed) if log.suffix == ".gz" else packed
        end, stored = random.choice(
            [("", text), (".gz", gzip.compress(text, 1)), (".zst", pa.compress(text, "zstd", True))]
        )
        paths.append(place / f"{9 - number}{end}")
        paths[-1].write_bytes(stored)
    found = case.prepare(place, logs=tuple(paths))
    return {file: digest for file, digest in found.items() if file not in _OF_LOGS}


def added(case: Case, place: Path) -> Digests:
    """The first log alone, and the others one by one, which is the same but for what it adds."""
    first, *others = case.logs
    case.prepare(place, "--keep-work", logs=(first,))
    for log in others:
        ran(FAE, "prepare", log, "--append", "--keep-work", "--out", "out", way=Way(place))
    manifest = place / "out" / "manifest.json"
    document = json.loads(manifest.read_text(encoding="utf-8"))
    records = [one for one in document["records"] if not one["path"].startswith(_ADDITION)]
    if records == document["records"]:
        raise AssertionError("an addition has no mapping of its own")
    plain = json.loads((case.plain / "out" / "manifest.json").read_text(encoding="utf-8"))
    found = {f: d for f, d in digests(place / "out").items() if not f.startswith(_ADDITION)}
    if document | {"records": records} == plain:
        found |= {name: case.digests[name] for name in ("manifest.json", "_SUCCESS")}
    return found


def in_store(at: str, *more: str) -> Cell:
    """`at` an object store: the logs (in), the data set (out), or both (in out)."""

    def cell(case: Case, place: Path) -> Digests:
        store = f"s3://data/{place.parent.name}-{place.name}".replace(" ", "_")
        logs: tuple[Path | str, ...] = case.logs
        if "in" in at.split():
            for log in case.logs:
                with Folder.of(f"{store}-logs").write(log.name) as path:
                    shutil.copyfile(log, path)
            logs = (f"{store}-logs/*",)
        out = f"{store}-out" if "out" in at.split() else "out"
        return case.prepare(place, *more, logs=logs, out=out)

    return cell


#: Ways that need no object store, by name.
LOCAL: dict[str, Cell] = {
    "hash seed": hashed_anew,
    "2 threads": options("--threads 2"),
    "1 worker": options("--workers 1"),
    "3 workers": options("--workers 3"),
    "scheduler": scheduler,
    "4 blocks": blocks(4, 2),
    "61 blocks": blocks(61, 2),
    "200 blocks": blocks(200, 1),
    "61 blocks, memory": blocks(61, 2, 2 << 30),
    "memory": options("--memory 2GiB --threads 4"),
    "memory of workers": options("--memory 3GiB --workers 2"),
    "one core": one_core,
    "threads of Polars": environment(POLARS_MAX_THREADS="1"),
    "more threads of Polars": environment(POLARS_MAX_THREADS="7"),
    "threads of others": environment(OMP_NUM_THREADS="3", NUMBA_NUM_THREADS="1"),
    "allocator": environment(ARROW_DEFAULT_MEMORY_POOL="system", MALLOC_PERTURB_="165"),
    "time zone": environment(TZ="Pacific/Kiritimati"),
    "locale": environment(LC_ALL="C", LANG="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
    "no assertions": optimised,
    "stage by stage": stage_by_stage,
    "glob": globbed,
    "relative paths": relative,
    "file URLs": urls,
    "links": linked,
    "overwriting": overwritten,
    "other packings": repacked,
    "appending": added,
}
#: Ways with an object store.
STORED: dict[str, Cell] = {
    "logs in a store": in_store("in"),
    "data set in a store": in_store("out"),
    "all in a store": in_store("in out", "--workers", "2"),
}
#: A few of the local ways, for cases that differ in their options alone.
FEW = (
    "hash seed",
    "61 blocks",
    "one core",
    "stage by stage",
    "appending",
    "more threads of Polars",
)
