"""Preparation: the four stages in one call, from logs to a data set."""

from __future__ import annotations

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

_STAGES = ("staging", "frequencies", "hot_set")
#: In `OUT.work`, where it is to be removed: the fingerprint of the data set that it is for.
_PASSING = "passing"


@dataclass(frozen=True)
class PreparationParameters:
    """The parameters of the four stages."""

    ingest: IngestParameters
    profile: ProfileParameters
    calibrate: CalibrateParameters
    partition: PartitionParameters

    def compute_fingerprints(self, staging: str) -> tuple[str, str, str, str]:
        """The fingerprints of the four outputs made from logs whose staging has this one."""
        frequencies = self.profile.fingerprint(staging)
        hot_set = self.calibrate.fingerprint(frequencies)
        return staging, frequencies, hot_set, self.partition.fingerprint(hot_set)

    @classmethod
    def from_manifest(cls, manifest: Manifest) -> Self:
        """The parameters that a data set was made with; what ingestion bears is the default."""
        with outputs.damage_reported("the manifest's preparation"):
            stages = manifest.preparation["parameters"]
            return cls(
                IngestParameters(),
                ProfileParameters.of(**stages["profile"]),
                CalibrateParameters.of(**stages["calibrate"]),
                PartitionParameters.of(**stages["partition"]),
            )

    def with_changes(self, given: Mapping[str, object]) -> Self:
        """These parameters but for those `given`, by their names; a name counts in every stage.

        A budget replaces a hot share, and the other way round; exact cold ids have no buckets.
        """
        if {"hot_budget", "hot_share"} & set(given):
            given = {"hot_budget": None, "hot_share": None, **given}
        if given.get("cold_ids") == "exact":
            given = {"cold_buckets": 0, **given}
        stages = {field.name: getattr(self, field.name) for field in fields(self)}
        return type(self)(
            **{
                name: stage.of(**{key: given.get(key, value) for key, value in dict(stage).items()})
                for name, stage in stages.items()
            }
        )


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
    it stays, and the next call goes on from the last finished task. With `keep_work`, logs are
    staged even where the data set is there, for further ones to be added. Errors are the stages'.
    """
    out = Folder.of(out)
    checksums = checksum_logs(logs, executor)
    staged = parameters.ingest.fingerprint(*fingerprint_logs(logs, checksums, schema))
    made_from = parameters.compute_fingerprints(staged)
    made = outputs.is_made(out, made_from[-1], overwrite)
    work = out.beside(".work")
    if made and not keep_work:
        _tidy(out, work, made_from[-1])
        return outputs.read_manifest(out), False
    names = [_stage(work, name, one) for name, one in zip(_STAGES, made_from, strict=False)]
    with lock_output(work):
        if keep_work:
            work.remove([_PASSING])
        else:
            work.write_text(_PASSING, made_from[-1])
        staging = ingest(
            logs,
            schema,
            work / names[0],
            executor,
            parameters.ingest,
            checksums=checksums,
            overwrite=True,
        )
        if keep_work:
            write_log_root(staging.directory, logs[0].root)
        if made:
            return outputs.read_manifest(out), False
        frequencies = profile(
            staging, work / names[1], executor, parameters.profile, overwrite=True
        )
        hot_set = calibrate(
            staging, frequencies, work / names[2], executor, parameters.calibrate, overwrite=True
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
        if not keep_work:
            _clear(work)
    return manifest, True


def _stage(work: Folder, stage: str, fingerprint: str) -> str:
    """The name of a stage's output in `work`.

    In an object store it is the fingerprint's own: a worker that outlives a killed run cannot write
    into the output of the next, which is built under its final name.
    """
    return f"{stage}-{fingerprint[:16]}" if work.remote else stage


def _tidy(out: Folder, work: Folder, made_from: str) -> None:
    """Remove what a run left that was killed when it had made `out` and had only to tidy up."""
    if not work.exists(_PASSING) or work.text(_PASSING) != made_from:
        return
    with (
        suppress(DatasetError),
        lock_output(work),
        lock_output(out),
    ):  # a run at work tidies up itself
        if not out.remote:
            outputs.remove_leftovers(out)
        _clear(work)


def _clear(work: Folder) -> None:
    """Remove the stages' outputs in `work`, of former runs too, and nothing else."""
    found = {name.partition("/")[0] for name in work.names()}
    for name in sorted(found):
        if re.fullmatch(rf"({'|'.join(_STAGES)}){'-[0-9a-f]{16}' if work.remote else ''}", name):
            outputs.remove_output(work / name)
    work.remove([_PASSING])
    if not work.remote and not any(work.path.iterdir()):
        work.path.rmdir()
