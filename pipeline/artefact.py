"""Outputs that appear whole or not at all: built beside their place, renamed into it when done.

A finished directory holds `_SUCCESS`, written last, with the fingerprint of what it was made from.
The fingerprint decides whether a stage has anything to do, and whether an unfinished output is one
to go on from.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.errors import ClusterError, DatasetError, FaeError
from pipeline.lock import locked
from pipeline.manifest import SUCCESS, VERSION

#: The version of what stages write for each other.
STAGE_VERSION = 3
#: In an unfinished output: what it is made from, and by which version.
_MADE_FROM = "made_from"


def fingerprint(parameters: Mapping[str, Any], *inputs: str) -> str:
    """A digest of a stage's parameters (plain data) and its inputs' fingerprints, in order."""
    made_of = [VERSION, STAGE_VERSION, dict(parameters), list(inputs)]
    document = json.dumps(made_of, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(document.encode("utf-8")).hexdigest()[:32]


def fingerprint_of(directory: Path) -> str:
    """The fingerprint of a finished stage's output; DatasetError where there is none."""
    try:
        return (directory / SUCCESS).read_text(encoding="utf-8").strip()
    except OSError:
        raise DatasetError(
            f"{directory} is not a finished output of a stage: it has no {SUCCESS}. "
            "Run the stage that makes it."
        ) from None


def write_document(directory: Path, name: str, document: Mapping[str, Any]) -> None:
    """Write the JSON document of a stage's output, for `document_of` to read."""
    versioned = {"stage_version": STAGE_VERSION, **document}
    text = json.dumps(versioned, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    (directory / name).write_text(text, encoding="utf-8")


def document_of(directory: Path, name: str) -> dict[str, Any]:
    """The JSON document `name` of a finished stage's output; DatasetError where there is none."""
    fingerprint_of(directory)
    try:
        document = json.loads((directory / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict):
        raise DatasetError(
            f"{directory} has no readable {name}: it is the output of another stage, or damaged."
        )
    version = document.pop("stage_version", None)
    if version != STAGE_VERSION:
        raise DatasetError(
            f"{directory / name} has version {version!r}, and this program reads version "
            f"{STAGE_VERSION}. Run the stage again."
        )
    return document


def is_made(directory: Path, expected: str, overwrite: bool) -> bool:
    """Whether `directory` already holds the output of just these inputs and parameters.

    Raises DatasetError where it holds something else and `overwrite` is not given, and always
    where what it holds was not made by a stage: that is never deleted.
    """
    if not directory.exists():
        return False
    if not directory.is_dir():
        raise DatasetError(f"{directory} is a file. Choose another output directory.")
    if not any(directory.iterdir()):
        return False
    if not (directory / SUCCESS).is_file():
        raise DatasetError(
            f"{directory} holds files but no {SUCCESS}, so it is not replaced. "
            "Remove it yourself, or choose another output directory."
        )
    if fingerprint_of(directory) == expected:
        return True
    if not overwrite:
        raise DatasetError(
            f"{directory} was made from other inputs or parameters. "
            "Choose another output directory, or replace it with --overwrite."
        )
    return False


@contextmanager
def building(directory: Path, made_from: str) -> Iterator[Path]:
    """A directory beside `directory`, which takes its place when the block ends well.

    Whatever is at `directory` stays as it is until then. A FaeError, the user's mistake, removes
    the unfinished output. After any other end it stays: the next run from the same inputs and
    parameters is given it to go on from (see `journal`), and one from others begins anew. Files
    whose names end in .partial are gone at the end. One run at a time; a link is followed.
    """
    directory = directory.resolve()
    partial = directory.with_name(f"{directory.name}.partial")
    with locked(directory):
        _begin(partial, f"{made_from} by fae {__version__}\n")
        try:
            yield partial
        except ClusterError:
            raise
        except FaeError:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        for path in partial.rglob("*.partial"):
            _remove(path)
        (partial / _MADE_FROM).unlink()
        for path in [*partial.rglob("*"), partial]:
            if not path.is_symlink():
                _flush(path)
        (partial / SUCCESS).write_text(made_from + "\n", encoding="utf-8")
        _flush(partial / SUCCESS)
        _replace(partial, directory)


def _begin(partial: Path, made_from: str) -> None:
    """Make the unfinished output, or clear what is there of all but what a run may go on from."""
    identity = partial / _MADE_FROM
    if identity.is_file() and identity.read_text(encoding="utf-8") == made_from:
        for path in partial.rglob("*.partial"):
            if path.is_file():
                path.unlink(missing_ok=True)
        return
    try:
        _remove(partial)
        partial.mkdir()
        write_whole(identity, made_from)
    except OSError as error:
        raise DatasetError(f"cannot write {partial}: {error.strerror}.") from None


def _remove(path: Path) -> None:
    """Remove a file or a directory with all that is in it; nothing to do where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
    _flush(directory.parent)


def _flush(path: Path) -> None:
    """Have the operating system write a file, or a folder's own entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def whole(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A path to write to; what is written appears at `path` when the block ends well, else nowhere.

    Several processes may write one file at a time: each has its own until it is whole. `durable`
    has the contents on the disk before the name, so that not even a power cut shows a part of them.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}.partial")
    try:
        yield partial
        if durable:
            _flush(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_whole(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a text file so that no reader ever sees a part of it."""
    with whole(path, durable=durable) as partial:
        partial.write_text(text, encoding="utf-8")
