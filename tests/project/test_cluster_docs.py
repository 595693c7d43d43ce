"""The recipes of docs/cluster.md work: the laptop's and DVC's are run as they are written."""

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


def code_block(language: str, text: str) -> str:
    """Return the page's block in `language` that contains `text`."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(next(block for block in blocks if text in block))


@pytest.fixture(scope="module")
def port() -> str:
    """Return a free port, to use instead of Dask's usual one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("cluster")
    shutil.copytree(ROOT / "data", place / "data")
    return place


@pytest.fixture(scope="module")
def laptop(place: Path, port: str) -> Iterator[None]:
    """Run the first terminal: a scheduler and two workers."""
    script = code_block("sh", "dask scheduler").replace("8786", port)
    with process(["sh", "-c", with_path(script)], place):
        until(lambda: listens(int(port)))
        yield


def with_path(script: str) -> str:
    """Return the script with this environment's programs and this checkout's code on the paths."""
    settings = (
        f"unset DASK_DISTRIBUTED__WORKER__PRELOAD\nexport PATH={BIN}:$PATH PYTHONPATH={PYTHONPATH}"
    )
    return f"{settings}\n{script}"


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def run(script: str, place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-ec", with_path(script)], cwd=place, capture_output=True, text=True, check=True
    )


@pytest.fixture(scope="module")
def second(laptop: None, place: Path, port: str) -> subprocess.CompletedProcess[str]:
    """Run the second terminal and return its output."""
    return run(code_block("sh", "--scheduler tcp://127").replace("8786", port), place)


def test_the_laptop_recipe_makes_a_data_set(
    second: subprocess.CompletedProcess[str], place: Path
) -> None:
    assert "dashboard: http://127.0.0.1:" in second.stderr
    assert "data set in datasets/sample" in second.stdout
    assert Manifest.read(place / "datasets" / "sample").preparation["logs"][0]["rows"] == 2000


def test_a_dvc_stage_runs_on_the_cluster_and_gives_the_same_bytes(
    second: subprocess.CompletedProcess[str], place: Path, port: str
) -> None:
    (place / "dvc.yaml").write_text(code_block("yaml", "# dvc.yaml"))
    repro = code_block("sh", "dvc repro").replace("8786", port)
    done = run(f"dvc init --quiet --no-scm\n{repro}", place)
    assert "dashboard: http://127.0.0.1:" in done.stderr
    assert digests(place / "ds") == digests(place / "datasets" / "sample")
    again = run(repro.replace(port, "1"), place)
    assert "didn't change, skipping" in again.stdout + again.stderr


def test_the_kubernetes_resource_is_yaml() -> None:
    resource = yaml.safe_load(code_block("yaml", "DaskCluster"))
    assert set(resource["spec"]) == {"worker", "scheduler"}


def test_the_slurm_program_is_python() -> None:
    compile(code_block("python", "SLURMCluster"), "docs/cluster.md", "exec")


def test_the_timeout_and_the_options_exist() -> None:
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
