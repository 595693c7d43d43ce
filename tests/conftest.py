"""Fixtures that several tests share, and one Hypothesis profile for all."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from fae.execution.executor import Executor
from tests.support.quick_workers import quick_workers
from tests.support.shop_days import SHOP_PARAMETERS, at_once, shop_days
from tests.support.small_logs import SHOP, Stages, shop_stages

# Models of tests are so small that a second thread of torch would only wait, and beside other work
# for long.
os.environ["OMP_NUM_THREADS"] = "1"

# Hundreds of thousands of objects of imported libraries and collected tests live to the end: no
# collection of garbage need look at them.
gc.disable()


def pytest_collection_finish() -> None:
    """Begin to collect garbage, of what tests make alone."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Let all be garbage again, as some libraries complain of what outlives the interpreter."""
    gc.unfreeze()


# A shell's background ignores Ctrl-C, nohup a hangup: so would all programs that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Triton reads this as it is imported. Its interpreter runs the device's kernels on the CPU.
if not Path("/proc/driver/nvidia").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

#: The same few examples each time, and no minutes of shrinking when one fails. To search further
#: and to shrink what is found: pytest --hypothesis-profile=deep
settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    max_examples=30,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "deep",
    deadline=None,
    max_examples=500,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """Prepare the twenty rows once; tests must not change them."""
    return shop_stages(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")  # idle workers take time of other tests
def workers() -> Iterator[Executor]:
    """Start two worker processes, while another process has the port of Dask's dashboard."""
    with socket.socket() as taken:
        with suppress(OSError):  # another process has it indeed
            taken.bind(("", 8787))
            taken.listen()
        with quick_workers(2) as executor:
            yield executor


@pytest.fixture
def shop_copy(shop: Stages, tmp_path: Path) -> Path:
    """Copy the twenty rows' data set, so that a test can damage it."""
    return Path(shutil.copytree(shop.dataset, tmp_path / "dataset"))


@pytest.fixture(params=[pytest.param("cuda", marks=pytest.mark.gpu)])
def cuda(request: pytest.FixtureRequest) -> str:
    """Return the device that a test needs, or skip the test where there is none."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return str(request.param)


@pytest.fixture
def day(tmp_path: Path) -> list[str]:
    """Two days of the shop, the first of which is prepared as `added`."""
    paths = shop_days(tmp_path)
    at_once(paths[:1], SHOP, tmp_path / "added", SHOP_PARAMETERS, keep_work=True)
    return paths
