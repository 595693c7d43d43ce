"""Append further logs to a data set, exactly as if all logs had been prepared at once.

Only the new logs are parsed. Their parts join those of the former staging; counting, calibration
and partitioning run over all rows, so no approximate count is ever carried over.
"""

from collections.abc import Mapping, Sequence

from fae.appending.drift import write_drift
from fae.appending.merge_stagings import MergedStaging, check_logs_are_new, merge_stagings
from fae.commit import outputs
from fae.commit.lock import lock_output
from fae.dataset.stage import write_dataset
from fae.execution.executor import Executor
from fae.format.errors import DatasetError
from fae.format.integrity import DataFile
from fae.format.manifest import SUCCESS, Manifest, Table
from fae.hotset.stage import calibrate
from fae.ingestion.stage import ingest
from fae.ingestion.staging import Staging, fingerprint_logs, read_log_root
from fae.logs.checksums import checksum_logs
from fae.logs.files import Log
from fae.logs.schema import Schema
from fae.preparation import PreparationParameters
from fae.profiling.stage import profile
from fae.storage.folder import Folder, FolderLike

#: Folders in `OUT.work`: the staging of the former logs, of the new ones, and of all.
_FORMER_STAGING, _NEW_STAGING, _MERGED_STAGING = "staging", "new", "extended"
_FREQUENCIES, _HOT_SET = "frequencies", "hot_set"


def append(
    logs: Sequence[Log],
    schema: Schema,
    out: FolderLike,
    executor: Executor,
    changes: Mapping[str, object],
    *,
    keep_work: bool = False,
) -> tuple[Manifest, bool]:
    """Add `logs` to the data set `out`; return its manifest, and whether there was work to do.

    `changes` are parameters to change, by name; the others stay those of the data set. The staging
    of the former logs must be in `OUT.work`; that of all logs replaces it once the data set has
    been replaced. After a kill at any time, the same call resumes. Raises DatasetError where the
    staging is absent or `schema` differs from the data set's, and LogError where a log is in the
    data set already.
    """
    out = Folder.of(out)
    if out.remote:
        raise DatasetError(
            f"{out} is in an object store, and --append needs a data set on a local disk. Copy it "
            "and its .work folder to one, or prepare all logs at once."
        )
    manifest, work = outputs.read_manifest(out), out.beside(".work")
    with lock_output(work):
        former_parameters = _read_parameters(manifest, out)
        parameters = former_parameters.with_changes(changes)
        if schema.document() != manifest.schema:
            raise DatasetError(
                f"The schema {schema.name!r} differs from the one that {out} was made with. Omit "
                "--schema to use that one, or prepare all logs at once with --overwrite."
            )
        if _is_staging_of(work / _MERGED_STAGING, manifest, former_parameters):
            # The last call was killed between replacing the data set and replacing its staging.
            _replace_former_staging(work)
        former, former_root = _read_former_staging(out, work, manifest, former_parameters)
        checksums = checksum_logs(logs, executor)
        ingested = parameters.ingest.fingerprint(*fingerprint_logs(logs, checksums, schema))
        folder = work / _NEW_STAGING
        if _is_already_appended(folder, ingested, former, checksums):
            _clean_up(out, work, keep_work)
            return manifest, False
        check_logs_are_new(former, former_root, logs, checksums)
        new = ingest(
            logs, schema, folder, executor, parameters.ingest, checksums=checksums, overwrite=True
        )
        merged = merge_stagings(
            former, former_root, new, logs[0].root, work / _MERGED_STAGING, executor
        )
        manifest = _replace_dataset(merged, out, executor, parameters)
        executor.timings.begin_stage("tidying up")
        _replace_former_staging(work)
        _clean_up(out, work, keep_work)
    executor.timings.write(out)
    return manifest, True


def _replace_dataset(
    merged: MergedStaging, out: Folder, executor: Executor, parameters: PreparationParameters
) -> Manifest:
    """Make the data set `out` anew from all rows, with the drift of its hot set."""
    work, staging = out.beside(".work"), merged.staging
    frequencies = profile(
        staging, work / _FREQUENCIES, executor, parameters.profile, overwrite=True
    )
    hot_set = calibrate(
        staging, frequencies, work / _HOT_SET, executor, parameters.calibrate, overwrite=True
    )

    def record_drift(partial: Folder, tables: tuple[Table, ...]) -> tuple[DataFile, ...]:
        return write_drift(out, merged, frequencies, hot_set, partial, tables, executor)

    return write_dataset(
        staging,
        frequencies,
        hot_set,
        out,
        executor,
        parameters.partition,
        overwrite=True,
        write_extra_files=record_drift,
    )


def _read_parameters(manifest: Manifest, out: Folder) -> PreparationParameters:
    if "parameters" not in manifest.preparation:
        raise DatasetError(
            f"{out} does not record its parameters, since an earlier version wrote it. Prepare it "
            "again with --keep-work."
        )
    return PreparationParameters.from_manifest(manifest)


def _read_former_staging(
    out: Folder, work: Folder, manifest: Manifest, parameters: PreparationParameters
) -> tuple[Staging, str]:
    """Return the staging that the data set `out` was made from, and the root of its logs."""
    folder = work / _FORMER_STAGING
    root = read_log_root(folder)
    if root is None or not _is_staging_of(folder, manifest, parameters):
        raise DatasetError(
            f"{folder} does not contain the staged rows that {out} was made from, which --append "
            "needs. Prepare the data set again from its logs with --keep-work, which only stages "
            "them, or prepare all logs at once with --overwrite."
        )
    return Staging.read(folder), root


def _is_staging_of(folder: Folder, manifest: Manifest, parameters: PreparationParameters) -> bool:
    """Return whether `folder` has a staging that the manifest's data set was made from."""
    if not folder.exists(SUCCESS):
        return False
    fingerprints = parameters.compute_fingerprints(outputs.read_fingerprint(folder))
    return fingerprints[-1] == manifest.fingerprint


def _is_already_appended(
    folder: Folder, fingerprint: str, former: Staging, checksums: Sequence[str]
) -> bool:
    """Return whether a call had added these logs and was killed while it cleaned up.

    Then their own staging is still in `folder`, and the former staging has their checksums.
    """
    is_left = folder.exists(SUCCESS) and outputs.read_fingerprint(folder) == fingerprint
    return is_left and {log.xxh3 for log in former.logs} >= set(checksums)


def _replace_former_staging(work: Folder) -> None:
    """Replace the staging of the former logs by that of all logs."""
    former = work / _FORMER_STAGING
    outputs.remove_output(former)
    (work / _MERGED_STAGING).path.rename(former.path)


def _clean_up(out: Folder, work: Folder, keep_work: bool) -> None:
    """Remove what no later call needs.

    The new logs' own staging goes last, since it marks a call that was killed while cleaning up.
    """
    names = (_MERGED_STAGING, _FREQUENCIES, _HOT_SET, _NEW_STAGING)
    for output in (out, *(work / name for name in names)):
        outputs.remove_leftovers(output)
    if not keep_work:
        outputs.remove_output(work / _FREQUENCIES)
        outputs.remove_output(work / _HOT_SET)
    outputs.remove_output(work / _NEW_STAGING)
