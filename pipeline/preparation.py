"""Preparation: the four stages in one call, from logs to a data set."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from pipeline import artefact
from pipeline.calibration import calibrate
from pipeline.cluster import Cluster
from pipeline.dataset import write_dataset
from pipeline.extension import log_root, write_root
from pipeline.frequencies import profile
from pipeline.logs import Log, digest
from pipeline.manifest import Manifest
from pipeline.parameters import (
    CalibrateParameters,
    IngestParameters,
    PartitionParameters,
    ProfileParameters,
)
from pipeline.schema import Schema
from pipeline.staging import ingest, log_fingerprints


@dataclass(frozen=True)
class Preparation:
    """The parameters of the four stages."""

    ingest: IngestParameters
    profile: ProfileParameters
    calibrate: CalibrateParameters
    partition: PartitionParameters

    def fingerprint(self, staging: str) -> str:
        """The fingerprint of the data set from a staging with this fingerprint."""
        frequencies = self.profile.fingerprint(staging)
        return self.partition.fingerprint(self.calibrate.fingerprint(frequencies))

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """The parameters that a data set was made with; what ingestion bears is the default."""
        stages = manifest.preparation["parameters"]
        return cls(
            IngestParameters(),
            ProfileParameters.of(**stages["profile"]),
            CalibrateParameters.of(**stages["calibrate"]),
            PartitionParameters.of(**stages["partition"]),
        )

    def changed(self, given: Mapping[str, object]) -> Self:
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
    out: Path,
    cluster: Cluster,
    parameters: Preparation,
    *,
    overwrite: bool = False,
    keep_work: bool = False,
) -> tuple[Manifest, bool]:
    """Make the data set `out` from `logs`; return its manifest, and whether there was work to do.

    The stages write to `OUT.work`, which is removed at the end unless `keep_work`. After an error
    it stays, and the next call goes on from the last finished stage. With `keep_work`, logs are
    staged even where the data set is there, for further ones to be added. Errors are the stages'.
    """
    digests = cluster.run("checksum", digest, logs)
    staged = parameters.ingest.fingerprint(*log_fingerprints(logs, digests, schema))
    made_from = parameters.fingerprint(staged)
    made = artefact.is_made(out, made_from, overwrite)
    if made and not keep_work:
        return Manifest.read(out), False
    work = out.with_name(f"{out.name}.work")
    staging = ingest(
        logs,
        schema,
        work / "staging",
        cluster,
        parameters.ingest,
        digests=digests,
        overwrite=True,
    )
    if keep_work:
        write_root(staging.directory, log_root(logs[0]))
    if made:
        return Manifest.read(out), False
    frequencies = profile(
        staging, work / "frequencies", cluster, parameters.profile, overwrite=True
    )
    calibration = calibrate(
        staging, frequencies, work / "hot_set", cluster, parameters.calibrate, overwrite=True
    )
    manifest = write_dataset(
        staging, frequencies, calibration, out, cluster, parameters.partition, overwrite=overwrite
    )
    if not keep_work:
        for stage in (staging, frequencies, calibration):
            shutil.rmtree(stage.directory)
        if not any(work.iterdir()):
            work.rmdir()
    return manifest, True
