"""The stages as functions, with the names and defaults of the command's options.

Importing this module loads no engine: the command line reads its signatures to show defaults.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fae.format.errors import ParameterError

if TYPE_CHECKING:
    from fae.api.dataset import Dataset
    from fae.execution.executor import Executor
    from fae.hotset.hot_set import HotSet
    from fae.hotset.parameters import CalibrateParameters
    from fae.ingestion.staging import Staging
    from fae.logs.files import Log
    from fae.logs.schema import Schema
    from fae.profiling.frequencies import Frequencies
    from fae.profiling.parameters import ProfileParameters

#: A path or URL.
PathLike = str | os.PathLike[str]
#: One path, glob or URL, or several.
Paths = PathLike | Sequence[PathLike]
#: Accesses that earn a row: for every table, by table ("" stands for the others), or as written
#: on the command line ("10", "C3=20").
MinCount = int | Mapping[str, int] | Sequence[str]


def prepare(
    logs: Paths,
    *,
    schema: PathLike | Schema,
    out: PathLike,
    hot_budget: str | int | None = None,
    hot_share: float | None = None,
    valid_logs: Paths = (),
    test_logs: Paths = (),
    max_reject_share: float = 0.001,
    valid: str | float = "0.1",
    test: str | float = "0.1",
    min_count: MinCount = (),
    sample: float = 1.0,
    dtype: str = "float32",
    optimizer: str = "rowwise_adagrad",
    rule: str = "inputs",
    objective: str = "inputs",
    device_profile: PathLike | None = None,
    cold_ids: str = "exact",
    cold_buckets: int = 0,
    seed: int = 0,
    overwrite: bool = False,
    keep_work: bool = False,
    threads: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    scheduler_file: PathLike | None = None,
    memory: str | None = None,
) -> Dataset:
    """Prepare a data set from raw logs: ingest, profile, calibrate and partition.

    `logs` are paths, globs or URLs; `schema` is a preset's name, the path of a YAML file, or a
    Schema. Give either `hot_budget`, the bytes for hot rows ("256MiB" or a number), or `hot_share`,
    the share of training samples to make hot. The other parameters are those of `fae prepare
    --help`. Where `out` is already made from these logs and parameters, nothing is done.

    >>> import fae                                                          # doctest: +SKIP
    >>> fae.prepare("logs/*.gz", schema="criteo-kaggle",
    ...             hot_budget="256MiB", out="DIR")                         # doctest: +SKIP

    Raises FaeError for what the user can fix: LogError, SchemaError, ParameterError, BudgetError,
    DatasetError where `out` holds something else, StorageError and ClusterError.
    """
    from fae.api.dataset import Dataset
    from fae.dataset.parameters import PartitionParameters
    from fae.execution.progress import console
    from fae.ingestion.parameters import IngestParameters
    from fae.preparation import PreparationParameters
    from fae.preparation import prepare as run

    parameters = PreparationParameters(
        IngestParameters.of(max_reject_share=max_reject_share),
        _profile_parameters(valid, test, min_count, sample, seed),
        _calibrate_parameters(
            device_profile,
            hot_budget=hot_budget,
            hot_share=hot_share,
            dtype=dtype,
            optimizer=optimizer,
            rule=rule,
            objective=objective,
            cold_ids=cold_ids,
            cold_buckets=cold_buckets,
        ),
        PartitionParameters.of(seed=seed),
    )
    loaded = _schema(schema)
    files = _find_logs(logs, valid_logs, test_logs, loaded)
    with _executor(threads, workers, scheduler, scheduler_file, memory) as executor:
        manifest, worked = run(
            files,
            loaded,
            os.fspath(out),
            executor,
            parameters,
            overwrite=overwrite,
            keep_work=keep_work,
        )
    if not worked:
        console.print(f"{out} is already made from these logs and parameters; nothing to do.")
    return Dataset(out, manifest)


def append(
    logs: Paths,
    *,
    out: PathLike,
    schema: PathLike | Schema | None = None,
    valid_logs: Paths = (),
    test_logs: Paths = (),
    keep_work: bool = False,
    threads: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    scheduler_file: PathLike | None = None,
    memory: str | None = None,
    **changes: Any,
) -> Dataset:
    """Add `logs` to the data set `out`, as if all logs had been prepared at once.

    The staged rows of the former logs must lie in `OUT.work`, where `prepare(..., keep_work=True)`
    leaves them. `changes` are parameters of `prepare` that are to differ from the data set's own,
    such as `hot_budget`. Raises DatasetError where the staged rows are absent or `schema` is
    another, LogError where a log is in the data set already.
    """
    from fae.api.dataset import Dataset
    from fae.appending.append import append as run
    from fae.commit.outputs import damage_reported, read_manifest
    from fae.execution.progress import console
    from fae.format.manifest import MANIFEST_FILE
    from fae.hotset.device_profile import DeviceProfile
    from fae.logs.schema import Schema
    from fae.storage.folder import Folder

    if changes.get("overwrite"):
        raise ParameterError(
            "--append and --overwrite exclude each other: one adds to OUT, the other replaces it."
        )
    if "min_count" in changes:
        changes["min_count"] = _min_counts(changes["min_count"])
    if changes.get("device_profile") is not None:
        changes["device_profile"] = DeviceProfile.read(Path(changes["device_profile"]))
    if schema is not None:
        loaded = _schema(schema)
    else:
        with damage_reported(f"{out}/{MANIFEST_FILE}"):
            loaded = Schema.model_validate(read_manifest(Folder.of(os.fspath(out))).schema)
    files = _find_logs(logs, valid_logs, test_logs, loaded)
    with _executor(threads, workers, scheduler, scheduler_file, memory) as executor:
        manifest, worked = run(
            files, loaded, os.fspath(out), executor, changes, keep_work=keep_work
        )
    if not worked:
        console.print(f"{out} has these logs from an earlier, interrupted run; nothing to do.")
    return Dataset(out, manifest)


def ingest(
    logs: Paths,
    *,
    schema: PathLike | Schema,
    out: PathLike,
    valid_logs: Paths = (),
    test_logs: Paths = (),
    max_reject_share: float = 0.001,
    overwrite: bool = False,
    threads: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    scheduler_file: PathLike | None = None,
    memory: str | None = None,
) -> Staging:
    """Parse logs into typed columns, stage 1; malformed lines go to `OUT/rejects`."""
    from fae.ingestion.parameters import IngestParameters
    from fae.ingestion.stage import ingest as run

    parameters = IngestParameters.of(max_reject_share=max_reject_share)
    loaded = _schema(schema)
    files = _find_logs(logs, valid_logs, test_logs, loaded)
    with _executor(threads, workers, scheduler, scheduler_file, memory) as executor:
        return run(files, loaded, os.fspath(out), executor, parameters, overwrite=overwrite)


def profile(
    staging: PathLike | Staging,
    *,
    out: PathLike,
    valid: str | float = "0.1",
    test: str | float = "0.1",
    min_count: MinCount = (),
    sample: float = 1.0,
    seed: int = 0,
    overwrite: bool = False,
    threads: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    scheduler_file: PathLike | None = None,
    memory: str | None = None,
) -> Frequencies:
    """Split the rows, and count the accesses to each embedding row in train, stage 2."""
    from fae.profiling.stage import profile as run

    parameters = _profile_parameters(valid, test, min_count, sample, seed)
    with _executor(threads, workers, scheduler, scheduler_file, memory) as executor:
        return run(_staging(staging), os.fspath(out), executor, parameters, overwrite=overwrite)


def calibrate(
    staging: PathLike | Staging,
    frequencies: PathLike | Frequencies,
    *,
    out: PathLike,
    hot_budget: str | int | None = None,
    hot_share: float | None = None,
    dtype: str = "float32",
    optimizer: str = "rowwise_adagrad",
    rule: str = "inputs",
    objective: str = "inputs",
    device_profile: PathLike | None = None,
    cold_ids: str = "exact",
    cold_buckets: int = 0,
    overwrite: bool = False,
    threads: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    scheduler_file: PathLike | None = None,
    memory: str | None = None,
) -> HotSet:
    """Choose the hot rows that the byte budget holds, stage 3."""
    from fae.hotset.stage import calibrate as run

    parameters = _calibrate_parameters(
        device_profile,
        hot_budget=hot_budget,
        hot_share=hot_share,
        dtype=dtype,
        optimizer=optimizer,
        rule=rule,
        objective=objective,
        cold_ids=cold_ids,
        cold_buckets=cold_buckets,
    )
    with _executor(threads, workers, scheduler, scheduler_file, memory) as executor:
        return run(
            _staging(staging),
            _frequencies(frequencies),
            os.fspath(out),
            executor,
            parameters,
            overwrite=overwrite,
        )


def partition(
    staging: PathLike | Staging,
    frequencies: PathLike | Frequencies,
    hot_set: PathLike | HotSet,
    *,
    out: PathLike,
    seed: int = 0,
    overwrite: bool = False,
    threads: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    scheduler_file: PathLike | None = None,
    memory: str | None = None,
) -> Dataset:
    """Write the shuffled hot/cold data set with its vocabularies and manifest, stage 4."""
    from fae.api.dataset import Dataset
    from fae.dataset.parameters import PartitionParameters
    from fae.dataset.stage import write_dataset
    from fae.hotset.hot_set import HotSet

    chosen = hot_set if isinstance(hot_set, HotSet) else HotSet.read(os.fspath(hot_set))
    with _executor(threads, workers, scheduler, scheduler_file, memory) as executor:
        manifest = write_dataset(
            _staging(staging),
            _frequencies(frequencies),
            chosen,
            os.fspath(out),
            executor,
            PartitionParameters.of(seed=seed),
            overwrite=overwrite,
        )
    return Dataset(out, manifest)


def _schema(schema: PathLike | Schema) -> Schema:
    from fae.logs.schema import Schema, load_schema

    return schema if isinstance(schema, Schema) else load_schema(os.fspath(schema))


def _staging(staging: PathLike | Staging) -> Staging:
    from fae.ingestion.staging import Staging

    return staging if isinstance(staging, Staging) else Staging.read(os.fspath(staging))


def _frequencies(frequencies: PathLike | Frequencies) -> Frequencies:
    from fae.profiling.frequencies import Frequencies

    if isinstance(frequencies, Frequencies):
        return frequencies
    return Frequencies.read(os.fspath(frequencies))


def _profile_parameters(
    valid: str | float, test: str | float, min_count: MinCount, sample: float, seed: int
) -> ProfileParameters:
    from fae.profiling.parameters import ProfileParameters

    counts = _min_counts(min_count)
    return ProfileParameters.of(
        valid=str(valid), test=str(test), min_count=counts, sample=sample, seed=seed
    )


def _min_counts(min_count: MinCount) -> dict[str, int]:
    """Return the fewest accesses that earn a row, by table; "" stands for the other tables."""
    from fae.profiling.parameters import parse_min_counts

    if isinstance(min_count, int):
        return {"": min_count}
    return dict(min_count) if isinstance(min_count, Mapping) else parse_min_counts(min_count)


def _calibrate_parameters(
    device_profile: PathLike | None, **parameters: object
) -> CalibrateParameters:
    from fae.hotset.device_profile import DeviceProfile
    from fae.hotset.parameters import CalibrateParameters

    measured = None if device_profile is None else DeviceProfile.read(Path(device_profile))
    return CalibrateParameters.of(device_profile=measured, **parameters)


def _find_logs(logs: Paths, valid_logs: Paths, test_logs: Paths, schema: Schema) -> list[Log]:
    from fae.logs.files import find_logs_by_split

    return find_logs_by_split(_texts(logs), _texts(valid_logs), _texts(test_logs), schema)


def _texts(paths: Paths) -> list[str]:
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    return [os.fspath(path) for path in given]


@contextmanager
def _executor(
    threads: int | None,
    workers: int | None,
    scheduler: str | None,
    scheduler_file: PathLike | None,
    memory: str | None,
) -> Iterator[Executor]:
    from fae.execution.executor import open_executor

    file = None if scheduler_file is None else Path(scheduler_file)
    with open_executor(threads, workers, scheduler, file, memory) as executor:
        yield executor
