"""Rejects: what a person reads of one, and `rejects.jsonl`, written and read back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fae.ingestion.rejects import Reject, parse_rejects, write_rejects
from fae.storage.folder import Folder

REJECT = Reject(3, "d", "not a number", "é,日本\u2028\r", file="a.txt")
LINE = '{"file": "a.txt", "line": 3, "column": "d", "reason": "not a number", "text": "x"}'


def test_a_description_says_where_it_is_and_what_was_found() -> None:
    reject = replace(REJECT, text="x")
    assert reject.describe() == "a.txt, line 3, column d: not a number: 'x'"
    assert replace(reject, column=None).describe() == "a.txt, line 3: not a number: 'x'"


def test_rejects_are_written_as_the_log_has_them_and_read_back(tmp_path: Path) -> None:
    rejects = [REJECT, replace(REJECT, column=None, line=4)]
    path = write_rejects(rejects, Folder.of(tmp_path)).path
    assert path == tmp_path / "rejects.jsonl"
    text = path.read_text(encoding="utf-8")
    assert "é,日本" in text
    assert list(parse_rejects(text.removesuffix("\n").split("\n"))) == rejects


@pytest.mark.parametrize(
    "line", ["", "{", "[]", LINE.replace("3", '"x"'), LINE.replace('"file": "a.txt", ', "")]
)
def test_a_damaged_reject_is_an_error(line: str) -> None:
    assert next(parse_rejects([LINE])) == replace(REJECT, text="x")
    with pytest.raises(ValueError, match=r"validation error|names no file"):
        list(parse_rejects([LINE, line]))
