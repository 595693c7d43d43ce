"""The directory that holds all logs of a staging, kept so that further logs can be named alike."""

from __future__ import annotations

from fae.logs.files import Log
from fae.storage.folder import Folder
from fae.storage.remote import redact_url

#: Beside the staged parts: the URL of the directory that holds all the logs.
_ROOT = "root"


def log_root(log: Log) -> str:
    """The URL of the directory below which `log` has its name."""
    return redact_url(log.url).removesuffix(log.name)


def write_root(staging: Folder, root: str) -> None:
    """Keep the logs' root with their staging, for `extended` to name further logs."""
    staging.write_text(_ROOT, root + "\n")


def read_root(staging: Folder) -> str | None:
    """What `write_root` wrote; None where it did not."""
    return staging.text(_ROOT).strip() if staging.exists(_ROOT) else None
