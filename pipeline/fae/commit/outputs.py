"""Build outputs that appear whole or not at all.

A finished folder holds `_SUCCESS`, written last, with the fingerprint of what it was made from.
The fingerprint decides whether a stage has anything to do, and whether an unfinished output can be
resumed. On a disk, an output is built beside its final path and renamed. An object store cannot
rename: there it is built in place, and nothing reads it before `_SUCCESS` exists.
"""

import ctypes
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter

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

#: Arguments of renameat2(2).
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
#: The version of the documents that stages write for each other.
STAGE_VERSION = 7
#: The errors of code that meets a document of an unexpected shape.
_ODD_SHAPES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
#: How many threads wait for the disk at a time.
_DISK_THREADS = 8
#: In an unfinished output: what it is made from, and by which version.
MADE_FROM = "made_from"
#: There while files are removed that the task log vouches for: the next run starts afresh.
_NOTHING_TO_RESUME = "nothing to resume\n"


def compute_fingerprint(parameters: Mapping[str, Any], *inputs: str) -> str:
    """Return a digest of a stage's parameters (plain data) and its inputs' fingerprints."""
    made_of = [VERSION, STAGE_VERSION, dict(parameters), list(inputs)]
    document = json.dumps(made_of, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(document.encode("utf-8")).hexdigest()[:32]


def read_fingerprint(folder: Folder) -> str:
    """Return the fingerprint of a finished output; raises DatasetError where there is none."""
    try:
        return folder.read_text(SUCCESS).partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError):
        raise DatasetError(
            f"{folder} is not a finished output of a stage: it has no {SUCCESS}. "
            "Run the stage that writes it."
        ) from None


def write_document(
    folder: Folder, name: str, document: Mapping[str, Any], *, long_list: str = ""
) -> None:
    """Write the JSON document of a stage's output, for `read_document` to read.

    Each entry of the list `long_list` is a line, as Python's encoder is ten times as fast where it
    does not indent.
    """
    entries = []
    for key, value in {"stage_version": STAGE_VERSION, **document}.items():
        if key == long_list:
            text = "[\n  " + ",\n  ".join(map(_encode, value)) + "\n ]"
        else:
            indented = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
            text = indented.replace("\n", "\n ")
        entries.append(f" {_encode(key)}: {text}")
    folder.write_text(name, "{\n" + ",\n".join(entries) + "\n}\n")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def read_document(folder: Folder, name: str) -> dict[str, Any]:
    """Return the JSON document `name` of a finished output.

    Raises DatasetError where there is none, or one of another version.
    """
    read_fingerprint(folder)
    try:
        document = json.loads(folder.read_text(name))
    except (OSError, ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise DatasetError(
            f"{folder} has no readable {name}. It is the output of another stage, or damaged."
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
        (parsed,) = _adapter(kind).validate_python([{**document, "directory": folder}])
        return parsed


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what checks a list of documents of this kind, each with its fields' keys alone.

    Dataclasses take the setting from what they are in; pydantic refuses it for one by itself.
    """
    return TypeAdapter(list[kind], config=ConfigDict(extra="forbid"))


@contextmanager
def damage_reported(path: object) -> Iterator[None]:
    """Raise DatasetError where the block fails on the unexpected shape of a document at `path`."""
    try:
        yield
    except _ODD_SHAPES as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise DatasetError(f"{path} is damaged ({reason:.200}). Write it again.") from None


def read_manifest(folder: Folder) -> Manifest:
    """Return the manifest of a finished data set; raises DatasetError as `Manifest.read`."""
    if not folder.remote:
        return Manifest.read(folder.path)
    try:
        success, text = folder.read_bytes(SUCCESS), folder.read_bytes(MANIFEST_FILE)
    except FileNotFoundError:
        raise unfinished_error(str(folder)) from None
    return Manifest.parse(text, str(folder / MANIFEST_FILE), success)


def is_made(folder: Folder, expected: str, overwrite: bool) -> bool:
    """Return whether `folder` already holds the output with the `expected` fingerprint.

    Raises DatasetError where it holds another output and `overwrite` is False, and always where it
    holds files that no stage wrote: those are never deleted.
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
    """Yield a folder to write to; it becomes `out`, finished, when the block ends well.

    On a disk, whatever is at `out` stays until then; a link is followed. In an object store, what
    was there is removed before the block starts. A FaeError, which a rerun would meet again,
    removes the unfinished output. After any other end it stays: a run from the same inputs and
    parameters resumes it (see `task_log`), another one starts afresh. Files and folders whose
    names end in .partial are removed at the end.

    Raises DatasetError where another run is writing the output.
    """
    build = _build_in_place if out.remote else _build_beside
    out = out if out.remote else Folder.of(out.path.resolve())
    with lock_output(out), build(out, made_from, f"{made_from} by fae {__version__}\n") as partial:
        yield partial


@contextmanager
def _kept_for_resuming(partial: Folder) -> Iterator[None]:
    """Keep an unfinished output unless the block ends in a FaeError that a rerun would meet."""
    try:
        yield
    except (ClusterError, StorageError):
        raise
    except FaeError:
        remove_output(partial)
        raise


@contextmanager
def _build_in_place(out: Folder, made_from: str, identity: str) -> Iterator[Folder]:
    """Write under the final names: `_SUCCESS` is removed first, and written last."""
    if not out.exists(MADE_FROM) or out.read_text(MADE_FROM) != identity:
        out.write_text(MADE_FROM, _NOTHING_TO_RESUME)
        _empty(out)
        out.write_text(MADE_FROM, identity)
    with _kept_for_resuming(out):
        yield out
    out.write_text(MADE_FROM, _NOTHING_TO_RESUME)
    out.remove(name for name in out.list_files() if ".partial/" in f"{name}/")
    out.write_text(SUCCESS, _format_success(out, made_from))
    out.remove([MADE_FROM])


@contextmanager
def _build_beside(out: Folder, made_from: str, identity: str) -> Iterator[Folder]:
    """Write to `OUT.partial`, and rename it."""
    partial = out.beside(".partial")
    _begin(partial, identity)
    with _kept_for_resuming(partial):
        yield partial
    partial.write_text(MADE_FROM, _NOTHING_TO_RESUME)
    for path in partial.path.rglob("*.partial"):
        _remove(path)
    partial.remove([MADE_FROM])
    paths = [path for path in partial.path.rglob("*") if not path.is_symlink()]
    with ThreadPoolExecutor(_DISK_THREADS, "flush") as pool:
        for flushed in [pool.submit(flush, path) for path in [*paths, partial.path]]:
            flushed.result()
    partial.write_text(SUCCESS, _format_success(partial, made_from))
    _replace(partial.path, out.path)


def _format_success(folder: Folder, made_from: str) -> str:
    """Return the text of `_SUCCESS`: the fingerprint and a data set's manifest's checksum."""
    if not folder.exists(MANIFEST_FILE):
        return made_from + "\n"
    return format_success(made_from, folder.read_bytes(MANIFEST_FILE))


def _begin(partial: Folder, identity: str) -> None:
    """Create the unfinished output, or remove from it all that a run cannot resume."""
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


def _remove(path: Path) -> None:
    """Remove a file or a directory with all that is in it, if there is one.

    Threads remove the files of its folders: the system takes a while to free what is in its cache.
    Those at the top go last, as what they mark must hold until then: a kill may come at any time.
    """
    if path.is_dir() and not path.is_symlink():
        below = (child for child in path.rglob("*") if child.parent != path)
        files = [child for child in below if child.is_symlink() or not child.is_dir()]
        with ThreadPoolExecutor(_DISK_THREADS, "remove") as pool:
            for removed in [pool.submit(file.unlink, missing_ok=True) for file in files]:
                removed.result()
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _replace(partial: Path, directory: Path) -> None:
    """Rename `partial` to `directory`, moving aside and then removing what was there."""
    if directory.exists():
        old = directory.with_name(f"{directory.name}.old.partial")
        _remove(old)
        if _exchange(partial, directory):
            partial.rename(old)
        else:
            directory.rename(old)
            partial.rename(directory)
        flush(directory.parent)
        shutil.rmtree(old)
    else:
        partial.rename(directory)
    flush(directory.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two directories in one step, so that at no moment a path is without its directory.

    Returns False, having done nothing, where the system or the file system cannot.
    """
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    paths = _AT_FDCWD, bytes(first), _AT_FDCWD, bytes(second)
    return call is not None and call(*paths, _RENAME_EXCHANGE) == 0


def remove_leftovers(out: Folder) -> None:
    """Remove what a killed `build_output` left beside the local `out`."""
    out = Folder.of(out.path.resolve())
    for suffix in (".partial", ".old.partial"):
        _remove(out.beside(suffix).path)


def remove_output(folder: Folder) -> None:
    """Remove an output with all that it holds."""
    if folder.remote:
        _empty(folder)
        folder.remove(name for name in folder.list_files() if name == MADE_FROM)
    else:
        _remove(folder.path)


def _empty(folder: Folder) -> None:
    """Remove the files of a remote output, `_SUCCESS` first, but MADE_FROM, which marks it."""
    names = folder.list_files()
    folder.remove(name for name in names if name == SUCCESS)
    folder.remove(name for name in names if name not in (SUCCESS, MADE_FROM))
