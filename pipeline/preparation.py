"""Preparation: the four stages in one call, from logs to a data set."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import artefact
from pipeline.calibration import calibrate
from pipeline.cluster import Cluster
from pipeline.dataset import write_dataset
from pipeline.frequencies import profile
from pipeline.lock import locked
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

    def fingerprint(self, *logs: str) -> str:
        """The fingerprint of the data set from logs with these fingerprints."""
        staging = self.ingest.fingerprint(*logs)
        frequencies = self.profile.fingerprint(staging)
        return self.partition.fingerprint(self.calibrate.fingerprint(frequencies))


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
    it stays, and the next call goes on from the last finished task. Errors are the stages' own.
    """
    digests = cluster.run("checksum", digest, logs)
    made_from = parameters.fingerprint(*log_fingerprints(logs, digests, schema))
    if artefact.is_made(out, made_from, overwrite):
        return Manifest.read(out), False
    work = out.with_name(f"{out.name}.work")
    with locked(work):
        staging = ingest(
            logs,
            schema,
            work / "staging",
            cluster,
            parameters.ingest,
            digests=digests,
            overwrite=True,
        )
        frequencies = profile(
            staging, work / "frequencies", cluster, parameters.profile, overwrite=True
        )
        calibration = calibrate(
            staging, frequencies, work / "hot_set", cluster, parameters.calibrate, overwrite=True
        )
        manifest = write_dataset(
            staging,
            frequencies,
            calibration,
            out,
            cluster,
            parameters.partition,
            overwrite=overwrite,
        )
        if not keep_work:
            for stage in (staging, frequencies, calibration):
                shutil.rmtree(stage.directory)
            if not any(work.iterdir()):
                work.rmdir()
    return manifest, True
