"""MergedStaging: a staging with further logs, made of parts that are parsed already."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TypeVar

from fae.commit import outputs
from fae.format.errors import LogError
from fae.format.manifest import SPLITS
from fae.ingestion.parameters import IngestParameters
from fae.ingestion.part import ROWS_SUFFIX, VALUES_SUFFIX
from fae.ingestion.rejects import REJECTS_FILE, REJECTS_FOLDER, Reject, parse_rejects, write_rejects
from fae.ingestion.staging import Part, StagedLog, Staging, fingerprint_logs, write_log_root
from fae.logs.files import Log, name_logs
from fae.storage.folder import Folder
from fae.storage.remote import redact_url


@dataclass(frozen=True)
class MergedStaging:
    """A staging of former logs and new ones; `new_parts` are the numbers of the new logs' parts."""

    staging: Staging
    new_parts: frozenset[int]


def check_logs_are_new(
    former: Staging, root: str, logs: Sequence[Log], checksums: Sequence[str]
) -> None:
    """Raise LogError where one of `logs` is staged in `former` already, by its bytes or its URL."""
    bytes_known = {log.xxh3: log.name for log in former.logs}
    urls_known = {root + log.name for log in former.logs}
    for log, xxh3 in zip(logs, checksums, strict=True):
        if xxh3 in bytes_known:
            raise LogError(
                f"{log.name} is in the data set already (as {bytes_known[xxh3]}); its rows would "
                "count twice. Leave it out."
            )
        if redact_url(log.url) in urls_known:
            raise LogError(
                f"{log.name} is in the data set already, with other bytes. If it has grown, its "
                "earlier rows would count twice: give the new lines as a file of their own."
            )


def merge_stagings(
    former: Staging, root: str, new: Staging, new_root: str, out: Folder
) -> MergedStaging:
    """The staging of `former`'s logs and `new`'s, as if they had been ingested together.

    Parts are linked, or copied where the file system has no links. Logs come in the order in which
    a command names them: those to be split, then those of the valid and of the test split.
    """
    urls = [root + log.name for log in former.logs] + [new_root + log.name for log in new.logs]
    names = name_logs(urls)
    count = len(former.logs)
    logs = _ordered(_renamed(former.logs, names[:count]) + _renamed(new.logs, names[count:]))
    moved = {part: replace(part, path=_moved(part, count)) for part in new.parts}
    parts = _ordered([*former.parts, *moved.values()])
    new_parts = frozenset(parts.index(part) for part in moved.values())
    checksums = [log.xxh3 for log in logs]
    made_from = IngestParameters().fingerprint(*fingerprint_logs(logs, checksums, former.schema))
    if outputs.is_made(out, made_from, overwrite=True):
        return MergedStaging(Staging.read(out), new_parts)
    with outputs.build_output(out, made_from) as partial:
        for end in (ROWS_SUFFIX, VALUES_SUFFIX):
            for part in former.parts:
                _link(former.directory, part.path + end, partial, part.path + end)
            for part, there in moved.items():
                _link(new.directory, part.path + end, partial, there.path + end)
        rejects = read_rejects(former, names[:count]) + read_rejects(new, names[count:])
        places = {log.name: place for place, log in enumerate(logs)}
        write_rejects(sorted(rejects, key=lambda one: places[one.file]), partial / REJECTS_FOLDER)
        reasons = Counter(former.reasons) + Counter(new.reasons)
        staged = tuple(parts), tuple(logs), dict(sorted(reasons.items()))
        Staging(partial, former.schema, *staged).write()
        write_log_root(partial, urls[0].removesuffix(names[0]))
    return MergedStaging(Staging.read(out), new_parts)


Split = TypeVar("Split", Part, StagedLog)


def _ordered(given: Sequence[Split]) -> list[Split]:
    """What has no split first, then the valid and the test split's; otherwise as they come."""
    return sorted(given, key=lambda one: SPLITS.index(one.split) if one.split else -1)


def _renamed(logs: Sequence[StagedLog], names: Sequence[str]) -> list[StagedLog]:
    return [replace(log, name=name) for log, name in zip(logs, names, strict=True)]


def _moved(part: Part, logs: int) -> str:
    """A place for a new part beside those of this many logs, which no earlier extension took."""
    return f"parts/{logs:05d}/{PurePosixPath(part.path).name}"


def _link(folder: Folder, name: str, into: Folder, new_name: str) -> None:
    source, target = folder.path / name, into.path / new_name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def read_rejects(staging: Staging, names: Sequence[str]) -> list[Reject]:
    """Return a staging's rejects, with the logs' new names."""
    renamed = dict(zip((log.name for log in staging.logs), names, strict=True))
    with outputs.damage_reported(staging.directory / REJECTS_FILE):
        lines = staging.directory.text(REJECTS_FILE).split("\n")
        rejects = parse_rejects(line for line in lines if line)
        return [replace(reject, file=renamed[reject.file]) for reject in rejects]
