"""What can go wrong through no fault of the program.

FaeError                 every mistake that a user can mend; printed without a traceback
├── LogError             a log cannot be read, or has too many malformed lines
├── SchemaError          a schema file or a preset's name is wrong
├── ParameterError       an option or a parameter is out of range
├── BudgetError          the byte budget cannot hold even the rows that must be hot
├── MissingExtraError    an optional library is not installed
├── StorageError         a folder or an object store cannot be reached, read or written
├── DatasetError         a data set or a stage's output is absent, unfinished or damaged
└── ClusterError         the machines that do the work are gone; what they finished is kept

What the operating system refuses (disk, memory, open files) is `explain_error` in one sentence.
"""

import errno
import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

_DISK = {
    errno.ENOSPC: "Free space on its disk, or give a place on another",
    errno.EDQUOT: "Free some of your quota, or give a place on another disk",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "Give a place on a disk that can be written",
    errno.EIO: "Check the disk",
}
_OTHERS = {
    errno.EACCES: "Get the right to it, or give another place",
    errno.EPERM: "Get the right to it, or give another place",
    errno.EMFILE: "Raise the limit on open files (ulimit -n), or use fewer --threads or --workers",
    errno.ENFILE: "Close other programs, or raise the machine's limit on open files",
}
_MEMORY = "Give less --memory or fewer --threads, or use a machine with more of it"
_THREADS = "Raise the limits on processes and memory (ulimit -u, -v), or use fewer --threads"


class FaeError(Exception):
    """A mistake that the user can mend; the message says where, what was found and the remedy."""


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
    """What a disk would not do, and what helps; None for an error of another kind."""
    code = _code(error)
    return f"{os.strerror(code)}. {_DISK[code]}, and run again" if code in _DISK else None


@contextmanager
def disk_errors_reported(place: object) -> Iterator[None]:
    """Raise StorageError in the block where the disk is full or broken, and `place` not written."""
    try:
        yield
    except OSError as error:
        if trouble := explain_disk_error(error):
            raise StorageError(f"cannot write {place}: {trouble}.") from None
        raise


def explain_error(error: BaseException) -> str | None:
    """One sentence on what the operating system refused, with the remedy; None for other errors."""
    text = str(error).partition("\n")[0]
    if isinstance(error, OSError) and _code(error) != errno.ENOMEM:
        place = f": {error.filename}" if error.filename else ""
        remedy = (_DISK | _OTHERS).get(_code(error))
        after = f". {remedy}, and run again." if remedy else ""
        reason = os.strerror(_code(error)) if remedy else error.strerror or text
        return f"{reason}{place}{after}"
    if re.search("start new thread|launch worker thread|WouldBlock", text):
        return f"no further thread could be started ({text}). {_THREADS}, and run again."
    if isinstance(error, (MemoryError, OSError)) or re.search("allocate memory|map segment", text):
        return f"memory ran out ({text or 'no more of it'}). {_MEMORY}, and run again."
    return None


def _code(error: OSError) -> int:
    """The error's number, which some libraries only put into its text; 0 where there is none."""
    found = re.search(r"(?:errno|os error) (\d+)", str(error))
    return error.errno or (int(found[1]) if found else 0)
