"""Outputs that appear whole or not at all: built beside their place, renamed into it when done.

A finished directory holds `_SUCCESS`, written last, with the fingerprint of what it was made from.
The fingerprint decides whether a stage has anything to do.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import DatasetError
from pipeline.manifest import SUCCESS, VERSION

#: Of renameat2(2): AT_FDCWD and RENAME_EXCHANGE.
_HERE, _EXCHANGE = -100, 2
#: The version of what stages write for each other.
STAGE_VERSION = 4


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
    """An empty directory beside `directory`, which takes its place when the block ends well.

    On an error it is removed, and whatever was at `directory` stays as it was. A link is followed.
    """
    directory = directory.resolve()
    partial = directory.with_name(f"{directory.name}.partial")
    if partial.exists():
        shutil.rmtree(partial)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise DatasetError(f"cannot write beside {directory}: {error.strerror}.") from None
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    for path in [*partial.rglob("*"), partial]:
        if not path.is_symlink():
            _flush(path)
    (partial / SUCCESS).write_text(made_from + "\n", encoding="utf-8")
    _flush(partial / SUCCESS)
    _replace(partial, directory)


def _replace(partial: Path, directory: Path) -> None:
    """Rename `partial` to `directory`, moving aside and then removing what was there."""
    if directory.exists():
        old = directory.with_name(f"{directory.name}.old.partial")
        if old.exists():
            shutil.rmtree(old)
        if _exchanged(partial, directory):
            partial.rename(old)
        else:
            directory.rename(old)
            partial.rename(directory)
        _flush(directory.parent)
        shutil.rmtree(old)
    else:
        partial.rename(directory)
    _flush(directory.parent)


def _exchanged(one: Path, two: Path) -> bool:
    """Swap two directories in one step of the kernel's, so that a kill never finds neither there.

    False, and nothing done, where the system or the file system has no such step.
    """
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    return call is not None and call(_HERE, bytes(one), _HERE, bytes(two), _EXCHANGE) == 0


def remove_remains(directory: Path) -> None:
    """Remove what `building` left beside `directory` where it was killed."""
    directory = directory.resolve()
    for kind in ("partial", "old.partial"):
        shutil.rmtree(directory.with_name(f"{directory.name}.{kind}"), ignore_errors=True)


def _flush(path: Path) -> None:
    """Have the operating system write a file, or a folder's own entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, text: str) -> None:
    """Write a text file so that no reader ever sees a part of it."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    _flush(partial)
    partial.replace(path)
