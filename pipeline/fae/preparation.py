"""Run the four stages in one call, from logs to a data set."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Self

from fae.commit import outputs
from fae.commit.lock import lock_output
from fae.dataset.parameters import PartitionParameters
from fae.dataset.stage import write_dataset
from fae.execution.executor import Executor
from fae.format.errors import DatasetError
from fae.format.manifest import Manifest
from fae.hotset.parameters import CalibrateParameters
from fae.hotset.stage import calibrate
from fae.ingestion.parameters import IngestParameters
from fae.ingestion.stage import ingest
from fae.ingestion.staging import fingerprint_logs, write_log_root
from fae.logs.checksums import checksum_logs
from fae.logs.files import Log
from fae.logs.schema import Schema
from fae.profiling.parameters import ProfileParameters
from fae.profiling.stage import profile
from fae.storage.folder import Folder, FolderLike

#: What the stages before the last write into `OUT.work`, in order.
_STAGE_OUTPUTS = ("staging", "frequencies", "hot_set")
#: A file in an `OUT.work` that is to be removed; it has the fingerprint of the data set `OUT`.
_REMOVE_MARKER = "passing"


@dataclass(frozen=True)
class PreparationParameters:
    """The parameters of the four stages."""

    ingest: IngestParameters
    profile: ProfileParameters
    calibrate: CalibrateParameters
    partition: PartitionParameters

    def compute_fingerprints(self, staging: str) -> tuple[str, str, str, str]:
        """Return the fingerprints of the four stages' outputs, given that of the staging."""
        frequencies = self.profile.fingerprint(staging)
        hot_set = self.calibrate.fingerprint(frequencies)
        return staging, frequencies, hot_set, self.partition.fingerprint(hot_set)

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> Self:
        """Return the parameters that a data set was made with.

        Those of ingestion are the defaults: they decide how many malformed lines are allowed, not
        what the rows are. Raises DatasetError where the manifest is damaged.
        """
        with outputs.damage_reported("the manifest's preparation"):
            stages = manifest.preparation["parameters"]
            return cls(
                IngestParameters(),
                ProfileParameters.of(**stages["profile"]),
                CalibrateParameters.of(**stages["calibrate"]),
                PartitionParameters.of(**stages["partition"]),
            )

    def with_changes(self, changes: Mapping[str, object]) -> Self:
        """Return these parameters with some changed, by name, in every stage that has the name.

        A budget replaces a hot share and vice versa; exact cold ids have no buckets. Raises
        ParameterError where a value is out of range.
        """
        if {"hot_budget", "hot_share"} & set(changes):
            changes = {"hot_budget": None, "hot_share": None, **changes}
        if changes.get("cold_ids") == "exact":
            changes = {"cold_buckets": 0, **changes}
        changed = {}
        for field in fields(self):
            stage = getattr(self, field.name)
            values = {name: changes.get(name, value) for name, value in dict(stage).items()}
            changed[field.name] = stage.of(**values)
        return type(self)(**changed)


def prepare(
    logs: Sequence[Log],
    schema: Schema,
    out: FolderLike,
    executor: Executor,
    parameters: PreparationParameters,
    *,
    overwrite: bool = False,
    keep_work: bool = False,
) -> tuple[Manifest, bool]:
    """Make the data set `out` from `logs`; return its manifest, and whether there was work to do.

    The stages write to `OUT.work`, which is removed at the end unless `keep_work`. After an error
    it stays, and the next call resumes after the last finished task. With `keep_work`, logs are
    staged even where the data set exists, so that further logs can be appended. Raises what the
    stages raise.
    """
    out = Folder.of(out)
    checksums = checksum_logs(logs, executor)
    staging_fingerprint = parameters.ingest.fingerprint(*fingerprint_logs(logs, checksums, schema))
    fingerprints = parameters.compute_fingerprints(staging_fingerprint)
    is_made = outputs.is_made(out, fingerprints[-1], overwrite)
    work = out.beside(".work")
    if is_made and not keep_work:
        _finish_removal(out, work, fingerprints[-1])
        return outputs.read_manifest(out), False
    # In an object store outputs are built under their final names, so each fingerprint has a name
    # of its own: a worker that outlives a killed run cannot write into the next run's output.
    first, second, third = (
        work / (f"{name}-{fingerprint[:16]}" if work.remote else name)
        for name, fingerprint in zip(_STAGE_OUTPUTS, fingerprints, strict=False)
    )
    with lock_output(work):
        if keep_work:
            work.remove([_REMOVE_MARKER])
        else:
            work.write_text(_REMOVE_MARKER, fingerprints[-1])
        staging = ingest(
            logs, schema, first, executor, parameters.ingest, checksums=checksums, overwrite=True
        )
        if keep_work:
            write_log_root(staging.directory, logs[0].root)
        if is_made:
            return outputs.read_manifest(out), False
        frequencies = profile(staging, second, executor, parameters.profile, overwrite=True)
        hot_set = calibrate(
            staging, frequencies, third, executor, parameters.calibrate, overwrite=True
        )
        manifest = write_dataset(
            staging,
            frequencies,
            hot_set,
            out,
            executor,
            parameters.partition,
            overwrite=overwrite,
            delete_after=not keep_work,
        )
        executor.timings.begin_stage("tidying up")
        if not keep_work:
            _remove_outputs(work)
    executor.timings.write(out)
    return manifest, True


def _finish_removal(out: Folder, work: Folder, fingerprint: str) -> None:
    """Remove what is left of a run that was killed after it had made `out`, while it cleaned up."""
    marked = work.exists(_REMOVE_MARKER) and work.read_text(_REMOVE_MARKER) == fingerprint
    emptied = not work.remote and work.path.is_dir() and not any(work.path.iterdir())
    if not (marked or emptied):
        return
    # Where the locks are taken, another run is at work and cleans up itself.
    with suppress(DatasetError), lock_output(work), lock_output(out):
        if marked and not out.remote:
            outputs.remove_leftovers(out)
        _remove_outputs(work)


def _remove_outputs(work: Folder) -> None:
    """Remove the stages' outputs in `work`, of earlier runs too, and nothing else."""
    suffix = "-[0-9a-f]{16}" if work.remote else ""
    pattern = re.compile(f"({'|'.join(_STAGE_OUTPUTS)}){suffix}")
    for name in sorted({name.partition("/")[0] for name in work.list_files()}):
        if pattern.fullmatch(name):
            outputs.remove_output(work / name)
    work.remove([_REMOVE_MARKER])
    if not work.remote and not any(work.path.iterdir()):
        work.path.rmdir()
