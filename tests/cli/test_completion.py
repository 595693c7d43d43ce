"""Completion: a shell takes the script, and offers commands, options, choices and paths."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from fae.cli.completion import SHELLS
from tests.support.command_line import assert_mistake, fae

pytest.importorskip("shtab")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("fae cali", {"calibrate"}),
        ("fae train --sched", {"--schedule"}),
        ("fae train DIR --schedule inter", {"interleaved"}),
        ("fae verify data", {"dataset"}),
    ],
)
def test_bash_completes(tmp_path: Path, line: str, offered: set[str]) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "script").write_text(fae("completion", "bash").stdout)
    words = line.split()
    asked = (
        f"source ./script; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMPREPLY=(); "
        '_shtab_fae 2>/dev/null; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        [shutil.which("bash") or "bash", "-c", asked],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert set(done.stdout.split()) == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_has_a_script(shell: str) -> None:
    result = fae("completion", shell)
    assert result.exit_code == 0
    assert "bench-device" in result.stdout


def test_a_missing_library_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert_mistake(fae("completion", "bash"), "pip install 'fae-recsys[completion]'")
