"""Outputs that appear whole or not at all.

A finished folder holds `_SUCCESS`, written last, with the fingerprint of what it was made from.
The fingerprint decides whether a stage has anything to do. On a disk, an output is built beside its
place and renamed into it. An object store cannot rename: there `_PARTIAL` marks an output that is
being built in its place, which nothing reads before `_SUCCESS` is there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.errors import DatasetError, StorageError
from pipeline.manifest import FILE_NAME, SUCCESS, VERSION, Manifest, unfinished
from pipeline.storage import UNFINISHED, Folder, flush

#: The version of what stages write for each other.
STAGE_VERSION = 3
#: In an object store: the fingerprint of the output that is being built here.
PARTIAL = "_PARTIAL"


def fingerprint(parameters: Mapping[str, Any], *inputs: str) -> str:
    """A digest of a stage's parameters (plain data) and its inputs' fingerprints, in order."""
    made_of = [VERSION, STAGE_VERSION, dict(parameters), list(inputs)]
    document = json.dumps(made_of, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(document.encode("utf-8")).hexdigest()[:32]


def fingerprint_of(folder: Folder) -> str:
    """The fingerprint of a finished stage's output; DatasetError where there is none."""
    try:
        return folder.text(SUCCESS).strip()
    except OSError:
        raise DatasetError(
            f"{folder} is not a finished output of a stage: it has no {SUCCESS}. "
            "Run the stage that makes it."
        ) from None


def write_document(folder: Folder, name: str, document: Mapping[str, Any]) -> None:
    """Write the JSON document of a stage's output, for `document_of` to read."""
    versioned = {"stage_version": STAGE_VERSION, **document}
    text = json.dumps(versioned, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    folder.write_text(name, text)


def document_of(folder: Folder, name: str) -> dict[str, Any]:
    """The JSON document `name` of a finished stage's output; DatasetError where there is none."""
    fingerprint_of(folder)
    try:
        document = json.loads(folder.text(name))
    except StorageError:
        raise
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict):
        raise DatasetError(
            f"{folder} has no readable {name}: it is the output of another stage, or damaged."
        )
    version = document.pop("stage_version", None)
    if version != STAGE_VERSION:
        raise DatasetError(
            f"{folder / name} has version {version!r}, and this program reads version "
            f"{STAGE_VERSION}. Run the stage again."
        )
    return document


def manifest_of(folder: Folder) -> Manifest:
    """The manifest of a finished data set; DatasetError where there is none, as `Manifest.read`."""
    if not folder.remote:
        return Manifest.read(folder.path)
    try:
        folder.text(SUCCESS)
        text = folder.text(FILE_NAME)
    except FileNotFoundError:
        raise unfinished(str(folder)) from None
    return Manifest.parse(text, str(folder / FILE_NAME))


def is_made(folder: Folder, expected: str, overwrite: bool) -> bool:
    """Whether `folder` already holds the output of just these inputs and parameters.

    Raises DatasetError where it holds something else and `overwrite` is not given, and always
    where what it holds was not made by a stage: that is never deleted.
    """
    if not folder.remote and folder.path.exists() and not folder.path.is_dir():
        raise DatasetError(f"{folder} is a file. Choose another output directory.")
    if not folder.exists(SUCCESS):
        if _is_empty(folder) or folder.exists(PARTIAL):
            return False
        raise DatasetError(
            f"{folder} holds files but no {SUCCESS}, so it is not replaced. "
            "Remove it yourself, or choose another output directory."
        )
    if fingerprint_of(folder) == expected:
        return True
    if not overwrite:
        raise DatasetError(
            f"{folder} was made from other inputs or parameters. "
            "Choose another output directory, or replace it with --overwrite."
        )
    return False


def _is_empty(folder: Folder) -> bool:
    if folder.remote:
        return not folder.names()
    return not folder.path.exists() or not any(folder.path.iterdir())


@contextmanager
def building(out: Folder, made_from: str) -> Iterator[Folder]:
    """An empty folder to write to, which is `out`, finished, once the block ends well.

    On an error it is removed. On a disk, whatever was at `out` then stays as it was, and a link is
    followed; in an object store, what was there is removed before the block begins.
    """
    build = _building_in_place if out.remote else _building_beside
    with build(out, made_from) as partial:
        yield partial


@contextmanager
def _building_in_place(out: Folder, made_from: str) -> Iterator[Folder]:
    """Write under the final names: `_PARTIAL` first, `_SUCCESS` last."""
    out.write_text(PARTIAL, made_from + "\n")
    former = out.names()
    out.remove(name for name in former if name == SUCCESS)
    out.remove(name for name in former if name not in (SUCCESS, PARTIAL))
    try:
        yield out
    except BaseException:
        with suppress(StorageError):
            remove(out)
        raise
    out.write_text(SUCCESS, made_from + "\n")
    out.remove([PARTIAL])


@contextmanager
def _building_beside(out: Folder, made_from: str) -> Iterator[Folder]:
    """Write to `OUT.partial`, and rename it."""
    directory = out.path.resolve()
    partial = directory.with_name(f"{directory.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise DatasetError(f"cannot write beside {directory}: {error.strerror}.") from None
    try:
        yield Folder.of(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    for path in partial.rglob(f"{UNFINISHED}*"):  # of a worker that was killed
        path.unlink()
    for path in [*partial.rglob("*"), partial]:
        if not path.is_symlink():
            flush(path)
    (partial / SUCCESS).write_text(made_from + "\n", encoding="utf-8")
    flush(partial / SUCCESS)
    _replace(partial, directory)


def _replace(partial: Path, directory: Path) -> None:
    """Rename `partial` to `directory`, moving aside and then removing what was there."""
    if directory.exists():
        old = directory.with_name(f"{directory.name}.old.partial")
        if old.exists():
            shutil.rmtree(old)
        directory.rename(old)
        partial.rename(directory)
        shutil.rmtree(old)
    else:
        partial.rename(directory)
    flush(directory.parent)


def remove(folder: Folder) -> None:
    """Remove an output with all it holds; `_SUCCESS` goes first, and `_PARTIAL` last."""
    if folder.remote:
        names = folder.names()
        folder.remove(name for name in names if name == SUCCESS)
        folder.remove(name for name in names if name not in (SUCCESS, PARTIAL))
        folder.remove(name for name in names if name == PARTIAL)
    elif folder.path.exists():
        shutil.rmtree(folder.path)
