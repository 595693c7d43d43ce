"""Merge two stagings into one, as if their logs had been ingested together, without parsing."""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TypeVar

from fae.commit import outputs
from fae.execution.executor import Executor
from fae.format.errors import LogError
from fae.format.manifest import SPLITS
from fae.ingestion.histories import add_histories
from fae.ingestion.parameters import IngestParameters
from fae.ingestion.part import ROWS_SUFFIX, VALUES_SUFFIX
from fae.ingestion.rejects import REJECTS_FILE, REJECTS_FOLDER, Reject, parse_rejects, write_rejects
from fae.ingestion.staging import Part, StagedLog, Staging, fingerprint_logs, write_log_root
from fae.logs.files import Log, name_logs
from fae.storage.folder import Folder
from fae.storage.remote import redact_url


@dataclass(frozen=True)
class MergedStaging:
    """The staging of former and new logs; `new_parts` are the numbers of the new logs' parts."""

    staging: Staging
    new_parts: frozenset[int]


def check_logs_are_new(
    former: Staging, root: str, logs: Sequence[Log], checksums: Sequence[str]
) -> None:
    """Raise LogError where one of `logs` is in `former` already, by its checksum or its URL."""
    name_by_checksum = {log.xxh3: log.name for log in former.logs}
    former_urls = {root + log.name for log in former.logs}
    for log, checksum in zip(logs, checksums, strict=True):
        if checksum in name_by_checksum:
            raise LogError(
                f"{log.name} is in the data set already (as {name_by_checksum[checksum]}), and its "
                "rows would count twice. Omit it."
            )
        if redact_url(log.url) in former_urls:
            raise LogError(
                f"{log.name} is in the data set already, with other contents. If it has grown, its "
                "earlier rows would count twice: pass the new lines as a file of their own."
            )


def merge_stagings(
    former: Staging, root: str, new: Staging, new_root: str, out: Folder, executor: Executor
) -> MergedStaging:
    """Write the staging of `former`'s and `new`'s logs to `out`.

    It is the one that ingesting all logs together gives: histories are made again from all rows.
    Parts are hard-linked, or copied where the file system has no links. `root` and `new_root`
    complete the logs' names to URLs.
    """
    urls = [root + log.name for log in former.logs] + [new_root + log.name for log in new.logs]
    names = name_logs(urls)
    former_names, new_names = names[: len(former.logs)], names[len(former.logs) :]
    logs = _sort_by_split(_rename(former.logs, former_names) + _rename(new.logs, new_names))
    new_paths = {part: _new_path(part, len(former.logs)) for part in new.parts}
    moved = [replace(part, path=path) for part, path in new_paths.items()]
    parts = _sort_by_split([*former.parts, *moved])
    new_parts = frozenset(parts.index(part) for part in moved)
    checksums = [log.xxh3 for log in logs]
    made_from = IngestParameters().fingerprint(*fingerprint_logs(logs, checksums, former.schema))
    if outputs.is_made(out, made_from, overwrite=True):
        return MergedStaging(Staging.read(out), new_parts)
    with outputs.build_output(out, made_from) as partial:
        for suffix in (ROWS_SUFFIX, VALUES_SUFFIX):
            for part in former.parts:
                _link_file(former.directory, part.path + suffix, partial, part.path + suffix)
            for part, path in new_paths.items():
                _link_file(new.directory, part.path + suffix, partial, path + suffix)
        rejects = read_rejects(former, former_names) + read_rejects(new, new_names)
        position = {log.name: index for index, log in enumerate(logs)}
        rejects.sort(key=lambda reject: position[reject.file])
        write_rejects(rejects, partial / REJECTS_FOLDER)
        reasons = dict(sorted((Counter(former.reasons) + Counter(new.reasons)).items()))
        staging = Staging(partial, former.schema, tuple(parts), tuple(logs), reasons)
        add_histories(staging, executor).write()
        write_log_root(partial, urls[0].removesuffix(names[0]))
    return MergedStaging(Staging.read(out), new_parts)


HasSplit = TypeVar("HasSplit", Part, StagedLog)


def _sort_by_split(items: Sequence[HasSplit]) -> list[HasSplit]:
    """Return logs to be split first, then those of the valid and of the test split.

    This is the order in which a command names them; within a split the order is kept.
    """
    return sorted(items, key=lambda item: SPLITS.index(item.split) if item.split else -1)


def _rename(logs: Sequence[StagedLog], names: Sequence[str]) -> list[StagedLog]:
    return [replace(log, name=name) for log, name in zip(logs, names, strict=True)]


def _new_path(part: Part, former_logs: int) -> str:
    """Return a new part's path, in a folder that no earlier merge used: logs only ever grow."""
    return f"parts/{former_logs:05d}/{PurePosixPath(part.path).name}"


def _link_file(folder: Folder, name: str, target_folder: Folder, target_name: str) -> None:
    source, target = folder.path / name, target_folder.path / target_name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def read_rejects(staging: Staging, names: Sequence[str]) -> list[Reject]:
    """Return a staging's rejects, with the logs' new names.

    Raises DatasetError where the file is damaged.
    """
    new_name = dict(zip((log.name for log in staging.logs), names, strict=True))
    with outputs.damage_reported(staging.directory / REJECTS_FILE):
        lines = staging.directory.read_text(REJECTS_FILE).split("\n")
        rejects = parse_rejects(line for line in lines if line)
        return [replace(reject, file=new_name[reject.file]) for reject in rejects]
