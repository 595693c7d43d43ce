"""What docs/cluster.md says works: its laptop recipe and its DVC stage are run as they stand."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fae.format.manifest import Manifest
from tests.support.killed_runs import process, until
from tests.support.project import PYTHONPATH, ROOT
from tests.support.small_logs import digests

PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent


def code(language: str, holds: str) -> str:
    """The page's block of `language` with `holds` in it."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(next(block for block in blocks if holds in block))


@pytest.fixture(scope="module")
def port() -> str:
    """A free port in place of the usual one."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("cluster")
    shutil.copytree(ROOT / "data", place / "data")
    return place


@pytest.fixture(scope="module")
def laptop(place: Path, port: str) -> Iterator[None]:
    """The first terminal: a scheduler and two workers."""
    script = code("sh", "dask scheduler").replace("8786", port)
    with process(["sh", "-c", with_path(script)], place):
        until(lambda: listens(int(port)))
        yield


def with_path(script: str) -> str:
    """The script, with the programs of this environment and this checkout's code."""
    settings = (
        f"unset DASK_DISTRIBUTED__WORKER__PRELOAD\nexport PATH={BIN}:$PATH PYTHONPATH={PYTHONPATH}"
    )
    return f"{settings}\n{script}"


def listens(port: int) -> bool:
    with socket.socket() as found:
        return found.connect_ex(("127.0.0.1", port)) == 0


def run(script: str, place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-ec", with_path(script)], cwd=place, capture_output=True, text=True, check=True
    )


@pytest.fixture(scope="module")
def second(laptop: None, place: Path, port: str) -> subprocess.CompletedProcess[str]:
    """What was said in the second terminal."""
    return run(code("sh", "--scheduler tcp://127").replace("8786", port), place)


def test_the_second_terminal_makes_a_data_set(
    second: subprocess.CompletedProcess[str], place: Path
) -> None:
    assert "dashboard: http://127.0.0.1:" in second.stderr
    assert "data set in datasets/sample" in second.stdout
    assert Manifest.read(place / "datasets" / "sample").preparation["logs"][0]["rows"] == 2000


def test_a_dvc_stage_runs_on_the_cluster_and_gives_the_same_bytes(
    second: subprocess.CompletedProcess[str], place: Path, port: str
) -> None:
    (place / "dvc.yaml").write_text(code("yaml", "# dvc.yaml"))
    repro = code("sh", "dvc repro").replace("8786", port)
    done = run(f"dvc init --quiet --no-scm\n{repro}", place)
    assert "dashboard: http://127.0.0.1:" in done.stderr
    assert digests(place / "ds") == digests(place / "datasets" / "sample")
    again = run(repro.replace(port, "1"), place)
    assert "didn't change, skipping" in again.stdout + again.stderr


def test_the_resource_of_kubernetes_is_yaml() -> None:
    resource = yaml.safe_load(code("yaml", "DaskCluster"))
    assert set(resource["spec"]) == {"worker", "scheduler"}


def test_the_program_for_slurm_is_python() -> None:
    compile(code("python", "SLURMCluster"), "docs/cluster.md", "exec")


def test_every_environment_variable_and_option_is_known() -> None:
    from fae.execution.dask_backend import worker_timeout

    assert "`10 minutes`" in PAGE
    assert worker_timeout() == 600
    help_text = subprocess.run(
        [sys.executable, "-m", "fae", "prepare", "--help"],
        env={**os.environ, "PYTHONPATH": PYTHONPATH, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    options = re.findall(r"\| .*?`(--[\w-]+)", PAGE)
    assert len(options) == 4
    assert all(option in help_text for option in options)
