"""Outputs that appear whole or not at all.

A finished folder holds `_SUCCESS`, written last, with the fingerprint of what it was made from.
The fingerprint decides whether a stage has anything to do, and whether an unfinished output is one
to go on from. On a disk, an output is built beside its place and renamed into it. An object store
cannot rename: there it is built in its place, which nothing reads before `_SUCCESS` is there.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from fae.commit import task_log
from fae.commit.lock import lock_output
from fae.format.atomic_files import flush
from fae.format.errors import ClusterError, DatasetError, FaeError, StorageError
from fae.format.manifest import (
    MANIFEST_FILE,
    SUCCESS,
    VERSION,
    Manifest,
    format_success,
    unfinished_error,
)
from fae.format.version import __version__
from fae.storage.folder import Folder

#: Of renameat2(2): AT_FDCWD and RENAME_EXCHANGE.
_HERE, _EXCHANGE = -100, 2
#: The version of what stages write for each other.
STAGE_VERSION = 7
#: What taking a document apart raises where its shape is another.
_MISSHAPEN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
#: In an unfinished output: what it is made from, and by which version.
MADE_FROM = "made_from"


def compute_fingerprint(parameters: Mapping[str, Any], *inputs: str) -> str:
    """A digest of a stage's parameters (plain data) and its inputs' fingerprints, in order."""
    made_of = [VERSION, STAGE_VERSION, dict(parameters), list(inputs)]
    document = json.dumps(made_of, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(document.encode("utf-8")).hexdigest()[:32]


def read_fingerprint(folder: Folder) -> str:
    """The fingerprint of a finished stage's output; DatasetError where there is none."""
    try:
        return folder.read_text(SUCCESS).partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError):
        raise DatasetError(
            f"{folder} is not a finished output of a stage: it has no {SUCCESS}. "
            "Run the stage that makes it."
        ) from None


def write_document(folder: Folder, name: str, document: Mapping[str, Any]) -> None:
    """Write the JSON document of a stage's output, for `read_document` to read."""
    versioned = {"stage_version": STAGE_VERSION, **document}
    text = json.dumps(versioned, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    folder.write_text(name, text)


def read_document(folder: Folder, name: str) -> dict[str, Any]:
    """The JSON document `name` of a finished stage's output; DatasetError where there is none."""
    read_fingerprint(folder)
    try:
        document = json.loads(folder.read_text(name))
    except (OSError, ValueError, RecursionError):
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


T = TypeVar("T")


def read_dataclass(kind: Callable[..., T], folder: Folder, name: str) -> T:
    """Return a stage's document as the dataclass `kind`, whose `directory` is the folder.

    A process parses a document once for as long as it stays unchanged. Raises DatasetError as
    `read_document`, and where an entry is absent or of another type.
    """
    parsed: T = _parse(
        kind, folder.absolute(), name, read_fingerprint(folder), folder.read_state(name)
    )
    return parsed


# Not by `fae.format.json_codec`, as a stage's document holds pydantic's models (the schema), which
# the format's readers must not need.
@lru_cache(maxsize=8)  # every task of a stage reads the documents of the former stages
def _parse(kind: Any, folder: Folder, name: str, *_state: object) -> Any:
    document = read_document(folder, name)
    with damage_reported(folder / name):
        return _adapter(kind).validate_python({**document, "directory": folder})


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


@contextmanager
def damage_reported(place: object) -> Iterator[None]:
    """Raise DatasetError where the block meets a document at `place` that is not as it was made."""
    try:
        yield
    except _MISSHAPEN as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise DatasetError(f"{place} is damaged ({what:.200}). Make it again.") from None


def read_manifest(folder: Folder) -> Manifest:
    """The manifest of a finished data set; DatasetError where there is none, as `Manifest.read`."""
    if not folder.remote:
        return Manifest.read(folder.path)
    try:
        success, text = folder.read_bytes(SUCCESS), folder.read_bytes(MANIFEST_FILE)
    except FileNotFoundError:
        raise unfinished_error(str(folder)) from None
    return Manifest.parse(text, str(folder / MANIFEST_FILE), success)


def is_made(folder: Folder, expected: str, overwrite: bool) -> bool:
    """Whether `folder` already holds the output of just these inputs and parameters.

    Raises DatasetError where it holds something else and `overwrite` is not given, and always
    where what it holds was not made by a stage: that is never deleted.
    """
    if not folder.remote and folder.path.exists() and not folder.path.is_dir():
        raise DatasetError(f"{folder} is a file. Choose another output directory.")
    if not folder.exists(SUCCESS):
        if _is_empty(folder) or (folder.remote and folder.exists(MADE_FROM)):
            return False
        raise DatasetError(
            f"{folder} holds files but no {SUCCESS}, so it is not replaced. "
            "Remove it yourself, or choose another output directory."
        )
    if read_fingerprint(folder) == expected:
        return True
    if not overwrite:
        raise DatasetError(
            f"{folder} was made from other inputs or parameters. "
            "Choose another output directory, or replace it with --overwrite."
        )
    return False


def _is_empty(folder: Folder) -> bool:
    if folder.remote:
        return not folder.list_files()
    return not folder.path.exists() or not any(folder.path.iterdir())


@contextmanager
def build_output(out: Folder, made_from: str) -> Iterator[Folder]:
    """A folder to write to, which is `out`, finished, once the block ends well.

    On a disk, whatever is at `out` stays as it is until then; a link is followed. In an object
    store, what was there is removed before the block begins. A FaeError, the user's mistake,
    removes the unfinished output. After any other end it stays: the next run from the same inputs
    and parameters is given it to go on from (see `journal`), and one from others begins anew. Files
    and folders whose names end in .partial are gone at the end. One run at a time.
    """
    build = _building_in_place if out.remote else _building_beside
    out = out if out.remote else Folder.of(out.path.resolve())
    with lock_output(out), build(out, made_from, f"{made_from} by fae {__version__}\n") as partial:
        yield partial


@contextmanager
def _kept_unless_mistaken(partial: Folder) -> Iterator[None]:
    """Remove an unfinished output after a FaeError that a rerun would meet again."""
    try:
        yield
    except (ClusterError, StorageError):
        raise
    except FaeError:
        remove_output(partial)
        raise


@contextmanager
def _building_in_place(out: Folder, made_from: str, identity: str) -> Iterator[Folder]:
    """Write under the final names: `_SUCCESS` is removed first, and written last."""
    if not out.exists(MADE_FROM) or out.read_text(MADE_FROM) != identity:
        out.write_text(MADE_FROM, "nothing yet\n")
        _empty(out)
        out.write_text(MADE_FROM, identity)
    with _kept_unless_mistaken(out):
        yield out
    scratch = [name for name in out.list_files() if _is_scratch(name)]
    told = [name for name in scratch if name.startswith(f"{task_log.FOLDER}/")]
    out.remove(told)  # first, or after a kill here the journal would tell of files that are gone
    out.remove(name for name in scratch if name not in set(told))
    out.write_text(SUCCESS, _success(out, made_from))
    out.remove([MADE_FROM])


@contextmanager
def _building_beside(out: Folder, made_from: str, identity: str) -> Iterator[Folder]:
    """Write to `OUT.partial`, and rename it."""
    partial = out.beside(".partial")
    _begin(partial, identity)
    with _kept_unless_mistaken(partial):
        yield partial
    _remove(partial.path / task_log.FOLDER)  # first, as in a store
    for path in partial.path.rglob("*.partial"):
        _remove(path)
    partial.remove([MADE_FROM])
    for path in [*partial.path.rglob("*"), partial.path]:
        if not path.is_symlink():
            flush(path)
    partial.write_text(SUCCESS, _success(partial, made_from))
    _replace(partial.path, out.path)


def _success(folder: Folder, made_from: str) -> str:
    """What `_SUCCESS` holds: the fingerprint, and in a data set the manifest's checksum."""
    if not folder.exists(MANIFEST_FILE):
        return made_from + "\n"
    return format_success(made_from, folder.read_bytes(MANIFEST_FILE))


def _begin(partial: Folder, identity: str) -> None:
    """Make the unfinished output, or clear what is there of all but what a run may go on from."""
    if partial.exists(MADE_FROM) and partial.read_text(MADE_FROM) == identity:
        for path in partial.path.rglob("*.partial"):
            if path.is_file():
                path.unlink(missing_ok=True)
        return
    try:
        _remove(partial.path)
        partial.write_text(MADE_FROM, identity)
    except OSError as error:
        raise DatasetError(f"cannot write {partial}: {error.strerror}.") from None


def _is_scratch(name: str) -> bool:
    return any(part.endswith(".partial") for part in name.split("/"))


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
        if _exchanged(partial, directory):
            partial.rename(old)
        else:
            directory.rename(old)
            partial.rename(directory)
        flush(directory.parent)
        shutil.rmtree(old)
    else:
        partial.rename(directory)
    flush(directory.parent)


def _exchanged(one: Path, two: Path) -> bool:
    """Swap two directories in one step of the kernel's, so that a kill never finds neither there.

    False, and nothing done, where the system or the file system has no such step.
    """
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    return call is not None and call(_HERE, bytes(one), _HERE, bytes(two), _EXCHANGE) == 0


def remove_leftovers(out: Folder) -> None:
    """Remove what `build_output` left beside the local `out` where it was killed."""
    out = Folder.of(out.path.resolve())
    for end in (".partial", ".old.partial"):
        _remove(out.beside(end).path)


def remove_output(folder: Folder) -> None:
    """Remove an output with all that it holds."""
    if folder.remote:
        _empty(folder)
        folder.remove(name for name in folder.list_files() if name == MADE_FROM)
    else:
        _remove(folder.path)


def _empty(folder: Folder) -> None:
    """Remove all files of a remote output but the mark that it is one; `_SUCCESS` goes first."""
    names = folder.list_files()
    folder.remove(name for name in names if name == SUCCESS)
    folder.remove(name for name in names if name not in (SUCCESS, MADE_FROM))
