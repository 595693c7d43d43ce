"""The stages as functions, with the names and defaults of the command's options.

Importing this module loads no engine: the command line reads its signatures to show defaults.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from fae.api.conversions import (
    EXECUTION_NAMES,
    Execution,
    MinCount,
    PathLike,
    Paths,
    calibrate_parameters,
    find_all_logs,
    open_chosen_executor,
    profile_parameters,
    to_frequencies,
    to_min_counts,
    to_schema,
    to_staging,
)
from fae.format.errors import ParameterError

if TYPE_CHECKING:
    from fae.api.dataset import Dataset
    from fae.execution.executor import Executor
    from fae.hotset.hot_set import HotSet
    from fae.ingestion.staging import Staging
    from fae.logs.schema import Schema
    from fae.profiling.frequencies import Frequencies


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
    rule: str = "accesses",
    objective: str = "inputs",
    device_profile: PathLike | None = None,
    cold_ids: str = "exact",
    cold_buckets: int = 0,
    seed: int = 0,
    overwrite: bool = False,
    keep_work: bool = False,
    **execution: Unpack[Execution],
) -> Dataset:
    """Prepare a data set from raw logs: ingest, profile, calibrate and partition.

    `logs` are paths, globs or URLs; `schema` is a preset's name, the path of a YAML file, or a
    Schema. Give either `hot_budget`, the bytes for hot rows ("256MiB" or a number), or `hot_share`,
    the share of training samples to make hot. `execution` says where tasks run (see Execution). The
    other parameters are those of `fae prepare --help`. Where `out` is already made from these logs
    and parameters, nothing is done.

    Raises FaeError for what the user can fix: LogError, SchemaError, ParameterError, BudgetError,
    DatasetError where `out` holds something else, StorageError and ClusterError.

    Examples:
        >>> import fae                                                      # doctest: +SKIP
        >>> fae.prepare("logs/*.gz", schema="criteo-kaggle",
        ...             hot_budget="256MiB", out="DIR")                     # doctest: +SKIP
    """
    from fae.api.dataset import Dataset
    from fae.dataset.parameters import PartitionParameters
    from fae.execution.progress import console
    from fae.ingestion.parameters import IngestParameters
    from fae.preparation import PreparationParameters
    from fae.preparation import prepare as run

    parameters = PreparationParameters(
        IngestParameters.of(max_reject_share=max_reject_share),
        profile_parameters(valid, test, min_count, sample, seed),
        calibrate_parameters(
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
    loaded = to_schema(schema)
    files = find_all_logs(logs, valid_logs, test_logs, loaded)
    with open_chosen_executor(**execution) as executor:
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
    **changes: Any,
) -> Dataset:
    """Add `logs` to the data set `out`, as if all logs had been prepared at once.

    The staged rows of the former logs must lie in `OUT.work`, where `prepare(..., keep_work=True)`
    leaves them. `changes` are parameters of `prepare` that are to differ from the data set's own,
    such as `hot_budget`, and where tasks run, such as `threads`. Raises DatasetError where the
    staged rows are absent or `schema` is another, LogError where a log is in the data set already.
    """
    from fae.api.dataset import Dataset
    from fae.appending.append import append as run
    from fae.commit.outputs import damage_reported, read_manifest
    from fae.execution.progress import console
    from fae.format.manifest import MANIFEST_FILE
    from fae.hotset.device_profile import DeviceProfile
    from fae.logs.schema import Schema
    from fae.storage.folder import Folder

    execution = {name: changes.pop(name) for name in EXECUTION_NAMES if name in changes}
    if changes.get("overwrite"):
        raise ParameterError(
            "--append and --overwrite exclude each other: one adds to OUT, the other replaces it."
        )
    if "min_count" in changes:
        changes["min_count"] = to_min_counts(changes["min_count"])
    if changes.get("device_profile") is not None:
        changes["device_profile"] = DeviceProfile.read(Path(changes["device_profile"]))
    if schema is not None:
        loaded = to_schema(schema)
    else:
        with damage_reported(f"{out}/{MANIFEST_FILE}"):
            loaded = Schema.model_validate(read_manifest(Folder.of(os.fspath(out))).schema)
        if loaded.functions:
            raise ParameterError(
                f"the schema of {out} calls {', '.join(loaded.functions)}. If you trust this code, "
                "give the schema again with --schema."
            )
    files = find_all_logs(logs, valid_logs, test_logs, loaded)
    with open_chosen_executor(**execution) as executor:
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
    **execution: Unpack[Execution],
) -> Staging:
    """Parse logs into typed columns, stage 1; malformed lines go to `OUT/rejects`."""
    from fae.ingestion.parameters import IngestParameters
    from fae.ingestion.stage import ingest as run

    parameters = IngestParameters.of(max_reject_share=max_reject_share)
    loaded = to_schema(schema)
    files = find_all_logs(logs, valid_logs, test_logs, loaded)
    with _measuring(out, execution) as executor:
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
    **execution: Unpack[Execution],
) -> Frequencies:
    """Split the rows, and count the accesses to each embedding row in train, stage 2."""
    from fae.profiling.stage import profile as run

    parameters = profile_parameters(valid, test, min_count, sample, seed)
    with _measuring(out, execution) as executor:
        return run(to_staging(staging), os.fspath(out), executor, parameters, overwrite=overwrite)


def calibrate(
    staging: PathLike | Staging,
    frequencies: PathLike | Frequencies,
    *,
    out: PathLike,
    hot_budget: str | int | None = None,
    hot_share: float | None = None,
    dtype: str = "float32",
    optimizer: str = "rowwise_adagrad",
    rule: str = "accesses",
    objective: str = "inputs",
    device_profile: PathLike | None = None,
    cold_ids: str = "exact",
    cold_buckets: int = 0,
    overwrite: bool = False,
    **execution: Unpack[Execution],
) -> HotSet:
    """Choose the hot rows that the byte budget holds, stage 3."""
    from fae.hotset.stage import calibrate as run

    parameters = calibrate_parameters(
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
    with _measuring(out, execution) as executor:
        return run(
            to_staging(staging),
            to_frequencies(frequencies),
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
    **execution: Unpack[Execution],
) -> Dataset:
    """Write the shuffled hot/cold data set with its vocabularies and manifest, stage 4."""
    from fae.api.dataset import Dataset
    from fae.dataset.parameters import PartitionParameters
    from fae.dataset.stage import write_dataset
    from fae.hotset.hot_set import HotSet

    chosen = hot_set if isinstance(hot_set, HotSet) else HotSet.read(os.fspath(hot_set))
    with _measuring(out, execution) as executor:
        manifest = write_dataset(
            to_staging(staging),
            to_frequencies(frequencies),
            chosen,
            os.fspath(out),
            executor,
            PartitionParameters.of(seed=seed),
            overwrite=overwrite,
        )
    return Dataset(out, manifest)


@contextmanager
def _measuring(out: PathLike, execution: Execution) -> Iterator[Executor]:
    """Yield the executor of one stage, and write beside its output where the time went."""
    with open_chosen_executor(**execution) as executor:
        yield executor
        executor.timings.write(os.fspath(out))
