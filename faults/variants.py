"""Variants: ways to prepare a case that must not change the bytes of the data set."""

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
from fae.logs.schema_files import load_schema
from fae.preparation import PreparationParameters
from fae.profiling.stage import profile
from fae.storage.folder import Folder
from faults.preparations import Case, Digests
from faults.programs import FAE, Launch, run_program
from tests.support.killed_runs import dask_scheduler, dask_worker
from tests.support.small_logs import digests

Variant = Callable[[Case, Path], Digests]
#: What only an append writes.
_ADDITION = ("mapping/", "drift.json")
#: Files that hold the names and bytes of the logs.
_OF_LOGS = ("manifest.json", "_SUCCESS", "rejects/rejects.jsonl")


def options(text: str) -> Variant:
    """Return the variant with further options."""
    return lambda case, place: case.prepare(place, *text.split())


def environment(**changed: str) -> Variant:
    """Return the variant with other environment variables."""
    return lambda case, place: case.prepare(place, "--threads", "2", launch=Launch(place, changed))


def other_hash_seed(case: Case, place: Path) -> Digests:
    """Change the seed of Python's hashes, in the workers too."""
    changed = {"PYTHONHASHSEED": str(random.randrange(2**32))}
    return case.prepare(place, "--workers", "2", launch=Launch(place, changed))


def one_core(case: Case, place: Path) -> Digests:
    """Use one core, so that every library uses one thread."""
    core = str(min(os.sched_getaffinity(0)))
    return case.prepare(place, launch=Launch(place, prefix=("taskset", "-c", core)))


def optimised(case: Case, place: Path) -> Digests:
    """Run Python without assertions and docstrings."""
    return case.prepare(place, launch=Launch(place, options=("-OO",)))


def scheduler(case: Case, place: Path) -> Digests:
    """Use a Dask cluster of two workers."""
    with dask_scheduler(place) as (address, _), ExitStack() as workers:
        for _ in range(2):
            workers.enter_context(dask_worker(address, place))
        return case.prepare(place, "--scheduler", address)


def blocks(count: int, threads: int, memory: int | None = None) -> Variant:
    """Return the variant that calls the stages and reads logs in about `count` blocks."""

    def variant(case: Case, place: Path) -> Digests:
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

    return variant


def stage_by_stage(case: Case, place: Path) -> Digests:
    """Run the four commands one by one, each with its options."""
    given = dict(zip(case.options[::2], case.options[1::2], strict=True))

    def some(*names: str) -> list[str]:
        return [word for name in names if name in given for word in (name, given[name])]

    launch, profiled = Launch(place), some("--valid", "--test", "--min-count", "--sample", "--seed")
    chosen = some("--hot-budget", "--hot-share", "--rule", "--cold-ids", "--cold-buckets")
    for words in (
        ["ingest", *case.logs, "--schema", case.schema, "--out", "s", "--workers", "1"],
        ["profile", "s", "--out", "f", *profiled],
        ["calibrate", "s", "f", "--out", "h", *chosen],
        ["partition", "s", "f", "h", "--out", "out", *some("--seed"), "--workers", "2"],
    ):
        run_program(FAE, *words, launch=launch)
    made: Digests = digests(place / "out")
    return made


def globbed(case: Case, place: Path) -> Digests:
    """Use a glob of copies of the logs, written in another order, and another output name."""
    folder = place / "logs of ümläut's"
    folder.mkdir()
    for log in reversed(case.logs):
        shutil.copyfile(log, folder / log.name)
        os.utime(folder / log.name, (0, random.randrange(2**31)))
    return case.prepare(place, logs=(folder / "day_*",), out="other name")


def relative(case: Case, place: Path) -> Digests:
    """Use relative paths of logs and output, with dots and a final slash."""
    logs = tuple(os.path.relpath(log, place) for log in case.logs)
    (place / "deep").mkdir()
    return case.prepare(place, logs=logs, out="deep/../out/")


def urls(case: Case, place: Path) -> Digests:
    """Use file:// URLs of logs and output."""
    ours = tuple(f"file://{log}" for log in case.logs)
    case.prepare(place, logs=ours, out=f"file://{place}/out")
    made: Digests = digests(place / "out")
    return made


def linked(case: Case, place: Path) -> Digests:
    """Reach logs and output through linked folders."""
    (place / "logs").symlink_to(case.logs[0].parent)
    (place / "there").mkdir()
    (place / "here").symlink_to(place / "there")
    return case.prepare(place, logs=(place / "logs" / "*",), out="here/out")


def overwritten(case: Case, place: Path) -> Digests:
    """Overwrite another data set whose work folder is still there."""
    (place / "out").mkdir()
    for name in ("out", "out.work"):
        shutil.copytree(case.plain / name, place / name, dirs_exist_ok=True)
    case.prepare(place, "--overwrite", "--keep-work", "--dtype", "float16")
    return case.prepare(place, "--overwrite")


def repacked(case: Case, place: Path) -> Digests:
    """Compress the same lines otherwise, under other names."""
    paths = []
    for number, log in enumerate(case.logs):
        packed = log.read_bytes()
        text = gzip.decompress(packed) if log.suffix == ".gz" else packed
        end, compare_in_store = random.choice(
            [("", text), (".gz", gzip.compress(text, 1)), (".zst", pa.compress(text, "zstd", True))]
        )
        paths.append(place / f"{9 - number}{end}")
        paths[-1].write_bytes(compare_in_store)
    found = case.prepare(place, logs=tuple(paths))
    return {file: digest for file, digest in found.items() if file not in _OF_LOGS}


def added(case: Case, place: Path) -> Digests:
    """Prepare the first log and append the others one by one; ignore what only an append writes."""
    first, *others = case.logs
    case.prepare(place, "--keep-work", logs=(first,))
    for log in others:
        run_program(
            FAE, "prepare", log, "--append", "--keep-work", "--out", "out", launch=Launch(place)
        )
    manifest = place / "out" / "manifest.json"
    document = json.loads(manifest.read_text(encoding="utf-8"))
    records = [one for one in document["records"] if not one["path"].startswith(_ADDITION)]
    if records == document["records"]:
        raise AssertionError("an append has written no mapping")
    plain = json.loads((case.plain / "out" / "manifest.json").read_text(encoding="utf-8"))
    found = {f: d for f, d in digests(place / "out").items() if not f.startswith(_ADDITION)}
    if document | {"records": records} == plain:
        found |= {name: case.digests[name] for name in ("manifest.json", "_SUCCESS")}
    return found


def in_store(at: str, *more: str) -> Variant:
    """Return the variant with the logs ("in"), the data set ("out") or both in an object store."""

    def variant(case: Case, place: Path) -> Digests:
        store = f"s3://data/{place.parent.name}-{place.name}".replace(" ", "_")
        logs: tuple[Path | str, ...] = case.logs
        if "in" in at.split():
            for log in case.logs:
                with Folder.of(f"{store}-logs").write(log.name) as path:
                    shutil.copyfile(log, path)
            logs = (f"{store}-logs/*",)
        out = f"{store}-out" if "out" in at.split() else "out"
        return case.prepare(place, *more, logs=logs, out=out)

    return variant


#: Variants without an object store, by name.
LOCAL_VARIANTS: dict[str, Variant] = {
    "hash seed": other_hash_seed,
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
    "other compression": repacked,
    "appending": added,
}
#: Variants with an object store.
STORE_VARIANTS: dict[str, Variant] = {
    "logs in a store": in_store("in"),
    "data set in a store": in_store("out"),
    "all in a store": in_store("in out", "--workers", "2"),
}
#: Variants for cases that differ from others only in their options.
FEW_VARIANTS = (
    "hash seed",
    "61 blocks",
    "one core",
    "stage by stage",
    "appending",
    "more threads of Polars",
)
