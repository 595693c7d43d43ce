"""What callers may pass to the stages, turned into what the stages take. Loads no engine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from fae.execution.executor import Executor
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


class Execution(TypedDict, total=False):
    """Where tasks run: in `threads` of this process by default, or on Dask.

    `workers` starts a local cluster of so many processes, `scheduler` is the address of a cluster
    ("tcp://host:8786") and `scheduler_file` a file that its scheduler wrote; give one of these.
    `memory` ("8GiB") bounds what this process and its local workers use.
    """

    threads: int | None
    workers: int | None
    scheduler: str | None
    scheduler_file: PathLike | None
    memory: str | None


EXECUTION_NAMES = tuple(Execution.__annotations__)


def to_schema(schema: PathLike | Schema) -> Schema:
    """Return a schema itself, or load the preset or YAML file that is named."""
    from fae.logs.schema import Schema
    from fae.logs.schema_files import load_schema

    return schema if isinstance(schema, Schema) else load_schema(os.fspath(schema))


def to_staging(staging: PathLike | Staging) -> Staging:
    """Return a staging itself, or read the one in a directory or at a URL."""
    from fae.ingestion.staging import Staging

    return staging if isinstance(staging, Staging) else Staging.read(os.fspath(staging))


def to_frequencies(frequencies: PathLike | Frequencies) -> Frequencies:
    """Return frequencies themselves, or read those in a directory or at a URL."""
    from fae.profiling.frequencies import Frequencies

    if isinstance(frequencies, Frequencies):
        return frequencies
    return Frequencies.read(os.fspath(frequencies))


def profile_parameters(
    valid: str | float, test: str | float, min_count: MinCount, sample: float, seed: int
) -> ProfileParameters:
    """Return the parameters of profiling; ParameterError names the one that is out of range."""
    from fae.profiling.parameters import ProfileParameters

    counts = to_min_counts(min_count)
    return ProfileParameters.of(
        valid=str(valid), test=str(test), min_count=counts, sample=sample, seed=seed
    )


def to_min_counts(min_count: MinCount) -> dict[str, int]:
    """Return the fewest accesses that earn a row, by table; "" stands for the other tables."""
    from fae.profiling.parameters import parse_min_counts

    if isinstance(min_count, int):
        return {"": min_count}
    return dict(min_count) if isinstance(min_count, Mapping) else parse_min_counts(min_count)


def calibrate_parameters(
    device_profile: PathLike | None, **parameters: object
) -> CalibrateParameters:
    """Return the parameters of calibration, the device profile read from its file."""
    from fae.hotset.device_profile import DeviceProfile
    from fae.hotset.parameters import CalibrateParameters

    measured = None if device_profile is None else DeviceProfile.read(Path(device_profile))
    return CalibrateParameters.of(device_profile=measured, **parameters)


def find_all_logs(logs: Paths, valid_logs: Paths, test_logs: Paths, schema: Schema) -> list[Log]:
    """Find the logs of all splits; LogError where one is absent, unreadable or named twice."""
    from fae.logs.files import find_logs_by_split

    return find_logs_by_split(to_texts(logs), to_texts(valid_logs), to_texts(test_logs), schema)


def to_texts(paths: Paths) -> list[str]:
    """Return one path, glob or URL, or several, as a list of texts."""
    given = [paths] if isinstance(paths, str | os.PathLike) else paths
    return [os.fspath(path) for path in given]


@contextmanager
def open_chosen_executor(
    threads: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    scheduler_file: PathLike | None = None,
    memory: str | None = None,
) -> Iterator[Executor]:
    """Open the executor that the options choose: threads, local workers or a Dask cluster."""
    from fae.execution.executor import open_executor

    file = None if scheduler_file is None else Path(scheduler_file)
    with open_executor(threads, workers, scheduler, file, memory) as executor:
        yield executor
