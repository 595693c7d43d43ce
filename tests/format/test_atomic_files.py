"""Files are replaced whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from fae.format import atomic_files
from fae.format.atomic_files import flushes_deferred, replace_file, write_json, write_text


@pytest.mark.parametrize("shared", [False, True])
def test_a_block_that_fails_leaves_the_former_file_alone(tmp_path: Path, shared: bool) -> None:
    path = tmp_path / "file"
    write_text(path, "former")

    def fail() -> None:
        with replace_file(path, shared=shared) as partial:
            partial.write_text("new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file.partial").write_text("half")
    write_json(tmp_path / "file", {"a": 1})
    assert (tmp_path / "file").read_text() == '{\n "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_number_that_is_not_finite_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "file", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_on_the_disk_before_it_replaces_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []
    monkeypatch.setattr(atomic_files, "flush", lambda path: flushed.append(path.name))
    write_text(tmp_path / "now", "x")
    with flushes_deferred() as files:
        write_text(tmp_path / "later", "x")
    assert flushed == ["now.partial"]
    assert files == [tmp_path / "later"]
