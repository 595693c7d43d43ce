"""Leftovers of killed runs are cleaned up, and never stop a later run."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from fae import preparation
from tests.support.project import PYTHONPATH
from tests.support.shop_days import SHOP_PARAMETERS, at_once, shop_days
from tests.support.small_logs import SHOP, digests


@pytest.fixture
def logs(tmp_path: Path) -> list[str]:
    return shop_days(tmp_path / "logs")


def test_the_next_run_finishes_the_cleaning_up_of_a_killed_one(
    tmp_path: Path, logs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as context:
        context.setattr(preparation, "_remove_outputs", killed)
        with pytest.raises(KeyboardInterrupt):
            at_once(logs, SHOP, out, SHOP_PARAMETERS)
    (tmp_path / "out.old.partial").mkdir()
    assert (tmp_path / "out.work").exists()
    made = digests(out)
    at_once(logs, SHOP, out, SHOP_PARAMETERS)
    assert digests(out) == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["logs", "out"]


def test_a_work_folder_that_a_killed_run_has_emptied_goes_too(
    tmp_path: Path, logs: list[str]
) -> None:
    at_once(logs, SHOP, tmp_path / "out", SHOP_PARAMETERS)
    (tmp_path / "out.work").mkdir()
    at_once(logs, SHOP, tmp_path / "out", SHOP_PARAMETERS)
    assert not (tmp_path / "out.work").exists()


def test_kept_work_stays_where_there_is_nothing_to_do(tmp_path: Path, logs: list[str]) -> None:
    at_once(logs, SHOP, tmp_path / "out", SHOP_PARAMETERS, keep_work=True)
    kept = digests(tmp_path / "out.work")
    at_once(logs, SHOP, tmp_path / "out", SHOP_PARAMETERS)
    assert digests(tmp_path / "out.work") == kept


def test_a_lock_that_cannot_be_written_is_not_left_empty(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom fae.format.errors import FaeError\n"
        "from fae.commit.lock import lock_output\n"
        "try:\n    with lock_output(sys.argv[1]): pass\nexcept FaeError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "out"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "cannot write beside" in done.stdout
    assert list(tmp_path.iterdir()) == []
