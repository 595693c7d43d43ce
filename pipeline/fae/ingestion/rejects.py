"""Rejects: the malformed lines that were set aside, and `rejects.jsonl`, which lists them."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from pydantic import TypeAdapter

from fae.storage.folder import Folder

REJECTS_FOLDER = "rejects"
_FILE_NAME = "rejects.jsonl"
#: Where a staging and a data set list their rejects.
REJECTS_FILE = f"{REJECTS_FOLDER}/{_FILE_NAME}"


@dataclass(frozen=True)
class Reject:
    """A line that was set aside: where it is, the faulty column if one is, why, and its text.

    In `rejects.jsonl`, `file` is the log's name and `line` counts from 1. While a block is parsed,
    `file` is still empty and `line` counts from 0 within the block.
    """

    file: str = field(default="", kw_only=True)
    line: int
    column: str | None
    reason: str
    text: str

    def describe(self) -> str:
        """Return one line for a person: file, line, column, the reason and what was found."""
        column = f", column {self.column}" if self.column else ""
        return f"{self.file}, line {self.line}{column}: {self.reason}: {self.text!r}"


_ADAPTER = TypeAdapter(Reject)
_PREVIEW_CHARACTERS = 80


def preview(line: bytes) -> str:
    """Return the beginning of a line or value, for a person to read."""
    text = line[: 4 * _PREVIEW_CHARACTERS].decode("utf-8", "backslashreplace")
    return text if len(text) <= _PREVIEW_CHARACTERS else text[:_PREVIEW_CHARACTERS] + "…"


def preview_value(value: object) -> str:
    """Return the beginning of a value, for a person to read; nothing for null."""
    return "" if value is None else preview(str(value).encode("utf-8", "replace"))


def write_rejects(rejects: Sequence[Reject], folder: Folder) -> Folder:
    """Write `rejects.jsonl` into `folder`, one JSON object per line, and return its path."""
    lines = [json.dumps(asdict(reject), ensure_ascii=False) + "\n" for reject in rejects]
    folder.write_text(_FILE_NAME, "".join(lines))
    return folder / _FILE_NAME


def remove_rejects(folder: Folder) -> None:
    """Remove what `write_rejects` wrote into `folder`, and the folder unless it holds more."""
    folder.remove([_FILE_NAME])
    if folder.remote or folder.path.is_symlink():
        return
    if folder.path.is_dir() and not any(folder.path.iterdir()):
        folder.path.rmdir()


def parse_rejects(lines: Iterable[str]) -> Iterator[Reject]:
    """Yield the rejects in lines of `rejects.jsonl`; raises ValueError where one is damaged."""
    for line in lines:
        reject = _ADAPTER.validate_json(line)
        if not reject.file:
            raise ValueError("a reject names no file")
        yield reject
