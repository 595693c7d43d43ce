"""The errors that users can fix, and words for what the operating system refuses.

FaeError                 base of all that a user can fix; printed without a traceback
├── LogError             a log cannot be read, or has too many malformed lines
├── SchemaError          a schema file or a preset's name is wrong
├── ParameterError       an option or a parameter is out of range
├── BudgetError          the byte budget cannot hold even the rows that must be hot
├── MissingExtraError    an optional library is not installed
├── StorageError         a folder or an object store cannot be reached, read or written
├── DatasetError         a data set or a stage's output is absent, unfinished or damaged
└── ClusterError         the machines that do the work are gone; what they finished is kept
"""

import errno
import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

#: Remedies by the system's error number: of disks, and others.
_DISK_REMEDIES = {
    errno.ENOSPC: "Free space on the disk, or choose a path on another",
    errno.EDQUOT: "Free some of your quota, or choose a path on another disk",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "Choose a path on a writable disk",
    errno.EIO: "Check the disk",
}
_OTHER_REMEDIES = {
    errno.EACCES: "Get the permission, or choose another path",
    errno.EPERM: "Get the permission, or choose another path",
    errno.EMFILE: "Raise the limit on open files (ulimit -n), or use fewer --threads or --workers",
    errno.ENFILE: "Close other programs, or raise the machine's limit on open files",
}
_MEMORY_REMEDY = "Set a lower --memory or fewer --threads, or use a machine with more memory"
_THREADS_REMEDY = "Raise the limits on processes and memory (ulimit -u, -v), or use fewer --threads"


class FaeError(Exception):
    """An error that the user can fix; the message says where, what was found and the remedy."""


class LogError(FaeError):
    """A log cannot be read, or has too many malformed lines."""


class SchemaError(FaeError):
    """A schema file or a preset's name is wrong."""


class ParameterError(FaeError):
    """An option or a parameter is out of range."""


class BudgetError(FaeError):
    """The byte budget cannot hold even the rows that must be hot."""


class MissingExtraError(FaeError):
    """An optional library is not installed; the message names the extra that brings it."""


class StorageError(FaeError):
    """A folder or an object store cannot be reached, read or written."""


class DatasetError(FaeError):
    """A data set or a stage's output is absent, unfinished or damaged."""


class ClusterError(FaeError):
    """The machines that do the work are gone; what they finished is kept for the next run."""


def require(module: str, extra: str, purpose: str) -> None:
    """Raise MissingExtraError where `module`, which `purpose` needs, is not installed."""
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(
            f"{purpose} needs {module}, which is not installed. "
            f"Install it: pip install 'fae-recsys[{extra}]'"
        )


def explain_disk_error(error: OSError) -> str | None:
    """Return what a disk refuses, with the remedy; None for an error of another kind."""
    code = _code(error)
    if code not in _DISK_REMEDIES:
        return None
    return f"{os.strerror(code)}. {_DISK_REMEDIES[code]}, and run again"


@contextmanager
def disk_errors_reported(path: object) -> Iterator[None]:
    """Turn the error of a full or broken disk, while `path` is written, into a StorageError."""
    try:
        yield
    except OSError as error:
        if reason := explain_disk_error(error):
            raise StorageError(f"cannot write {path}: {reason}.") from None
        raise


def explain_error(error: BaseException) -> str | None:
    """Return what the operating system refused, with the remedy; None for other errors."""
    text = str(error).partition("\n")[0]
    if isinstance(error, OSError) and _code(error) != errno.ENOMEM:
        path = f": {error.filename}" if error.filename else ""
        remedy = (_DISK_REMEDIES | _OTHER_REMEDIES).get(_code(error))
        ending = f". {remedy}, and run again." if remedy else ""
        reason = os.strerror(_code(error)) if remedy else error.strerror or text
        return f"{reason}{path}{ending}"
    if re.search("start new thread|launch worker thread|WouldBlock", text):
        return f"cannot start another thread ({text}). {_THREADS_REMEDY}, and run again."
    if isinstance(error, (MemoryError, OSError)) or re.search("allocate memory|map segment", text):
        reason = f" ({text})" if text else ""
        return f"out of memory{reason}. {_MEMORY_REMEDY}, and run again."
    return None


def _code(error: OSError) -> int:
    """Return the error's number, or the one in its text, or 0: not all libraries set `errno`."""
    match = re.search(r"(?:errno|os error) (\d+)", str(error))
    return error.errno or (int(match[1]) if match else 0)
