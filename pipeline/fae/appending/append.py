"""Increment: further logs for a data set, exactly as if all had been prepared at once.

Only the new logs are parsed. Their parts join those of the former staging, and counting,
calibration and partitioning run over all rows, so no count is ever carried along inexactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fae.appending.drift import write_drift
from fae.appending.merge_stagings import check_logs_are_new, merge_stagings
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


def append(
    logs: Sequence[Log],
    schema: Schema,
    out: FolderLike,
    executor: Executor,
    given: Mapping[str, object],
    *,
    keep_work: bool = False,
) -> tuple[Manifest, bool]:
    """Add `logs` to the data set `out`; return its manifest, and whether there was work to do.

    `given` are parameters to change, by name; the others stay those of the data set. The staging
    of the former logs must lie in `OUT.work`, where that of all logs takes its place once the data
    set has been replaced; after a kill at any time the same call goes on. Raises DatasetError
    where the staging is absent or `schema` is another, LogError where a log is there already.
    """
    out = Folder.of(out)
    if out.remote:
        raise DatasetError(
            f"{out} is in an object store, and --append adds to data sets on a local disk. Copy it "
            "and its .work folder to one, or prepare all logs at once."
        )
    manifest = outputs.read_manifest(out)
    work = out.beside(".work")
    with lock_output(work):
        return _append(logs, schema, out, work, manifest, executor, given, keep_work)


def _append(
    logs: Sequence[Log],
    schema: Schema,
    out: Folder,
    work: Folder,
    manifest: Manifest,
    executor: Executor,
    given: Mapping[str, object],
    keep_work: bool,
) -> tuple[Manifest, bool]:
    """`append`, while no other run works on the data set `out`."""
    former_parameters = _parameters(manifest, out)
    parameters = former_parameters.with_changes(given)
    if schema.document() != manifest.schema:
        raise DatasetError(
            f"{out} was made with another schema ({manifest.schema.get('name')!r}) than "
            f"{schema.name!r}, so its rows have other columns. Prepare all logs anew with one "
            "schema, or leave --schema out."
        )
    staging, joined, fresh = work / "staging", work / "extended", work / "new"
    if _is_of(joined, manifest, former_parameters):
        _settle(staging, joined)
    root = read_log_root(staging)
    if root is None or not _is_of(staging, manifest, former_parameters):
        raise DatasetError(
            f"{staging} does not hold the staged rows that {out} was made from, and --append adds "
            "to these. Prepare it once more from its logs with --keep-work, which stages them and "
            "makes nothing else anew; or prepare all logs at once with --overwrite."
        )
    former = Staging.read(staging)
    checksums = checksum_logs(logs, executor)
    if _is_done(logs, checksums, schema, parameters, fresh, former):
        _clean(out, work, keep_work)
        return manifest, False
    check_logs_are_new(former, root, logs, checksums)
    new = ingest(
        logs, schema, fresh, executor, parameters.ingest, checksums=checksums, overwrite=True
    )
    extension = merge_stagings(former, root, new, logs[0].root, joined)
    frequencies = profile(
        extension.staging, work / "frequencies", executor, parameters.profile, overwrite=True
    )
    hot_set = calibrate(
        extension.staging,
        frequencies,
        work / "hot_set",
        executor,
        parameters.calibrate,
        overwrite=True,
    )

    def drift(partial: Folder, tables: tuple[Table, ...]) -> tuple[DataFile, ...]:
        return write_drift(out, extension, frequencies, hot_set, partial, tables, executor)

    manifest = write_dataset(
        extension.staging,
        frequencies,
        hot_set,
        out,
        executor,
        parameters.partition,
        overwrite=True,
        write_extra_files=drift,
    )
    _settle(staging, joined)
    _clean(out, work, keep_work)
    return manifest, True


def _parameters(manifest: Manifest, out: Folder) -> PreparationParameters:
    if "parameters" not in manifest.preparation:
        raise DatasetError(
            f"{out} does not say with which parameters it was made; an earlier version wrote it. "
            "Prepare it again with --keep-work."
        )
    return PreparationParameters.from_manifest(manifest)


def _is_of(staging: Folder, manifest: Manifest, parameters: PreparationParameters) -> bool:
    """Whether a data set was made from the staging in a directory, if there is one."""
    if not _is_finished(staging):
        return False
    return (
        parameters.compute_fingerprints(outputs.read_fingerprint(staging))[-1]
        == manifest.fingerprint
    )


def _is_done(
    logs: Sequence[Log],
    checksums: Sequence[str],
    schema: Schema,
    parameters: PreparationParameters,
    fresh: Folder,
    former: Staging,
) -> bool:
    """Whether a call was killed when it had added just these logs and had only to tidy up."""
    made_from = parameters.ingest.fingerprint(*fingerprint_logs(logs, checksums, schema))
    known = {log.xxh3 for log in former.logs}
    left_over = _is_finished(fresh) and outputs.read_fingerprint(fresh) == made_from
    return left_over and known >= set(checksums)


def _is_finished(folder: Folder) -> bool:
    return folder.exists(SUCCESS)


def _settle(staging: Folder, joined: Folder) -> None:
    """Put the staging of all logs in the former one's place."""
    outputs.remove_output(staging)
    joined.path.rename(staging.path)


def _clean(out: Folder, work: Folder, keep_work: bool) -> None:
    """Remove what no further call needs; the new logs' own staging last, the mark of a cut call."""
    for built in (out, *(work / name for name in ("extended", "frequencies", "hot_set", "new"))):
        outputs.remove_leftovers(built)
    for name in ["frequencies", "hot_set"] * (not keep_work) + ["new"]:
        outputs.remove_output(work / name)
