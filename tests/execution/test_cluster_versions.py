"""Machines with other packages than this one are told before any task goes to them."""

from __future__ import annotations

import copy

import pytest

import fae.format.version
from fae.execution.cluster_versions import check_versions, find_differences
from fae.execution.executor import Executor
from fae.format.errors import ClusterError
from fae.format.version import __version__

OWN = {"packages": {"python": "3.11.7.final.0", "fae": "1.2", "dask": "2026.1", "distributed": "2"}}

NAMES = {"python": "Python", "fae": "fae-recsys", "dask": "Dask", "distributed": "distributed"}


@pytest.mark.parametrize(
    ("package", "version", "told"),
    [
        ("fae", None, "lacks fae-recsys, and this machine has fae-recsys 1.2"),
        ("fae", "1.1", "has fae-recsys 1.1, and this machine has fae-recsys 1.2"),
        ("dask", "2025.1", "has Dask 2025.1, and this machine has Dask 2026.1"),
        ("python", "3.12.1.final.0", "has Python 3.12, and this machine has Python 3.11"),
    ],
)
def test_what_differs_is_named_with_both_versions(
    package: str, version: str | None, told: str
) -> None:
    other = copy.deepcopy(OWN)
    other["packages"][package] = version
    worker = {"client": OWN, "scheduler": OWN, "workers": {"tcp://a:1": OWN, "tcp://b:2": other}}
    assert list(find_differences(worker, NAMES)) == [f"the worker tcp://b:2 {told}"]
    scheduler = {"client": OWN, "scheduler": other, "workers": {}}
    assert list(find_differences(scheduler, NAMES)) == [f"the scheduler {told}"]


def test_patches_of_python_fit_together() -> None:
    other = {"packages": {**OWN["packages"], "python": "3.11.1.final.0"}}
    assert not list(find_differences({"client": OWN, "scheduler": other, "workers": {}}, NAMES))


def set_version(version: str) -> None:
    fae.format.version.__version__ = version


def test_a_worker_of_another_version_gets_no_task(workers: Executor) -> None:
    address = next(iter(workers.client.scheduler_info()["workers"]))
    workers.client.run(set_version, "0.0.9", workers=[address])
    try:
        with pytest.raises(ClusterError, match=f"0.0.9, and this machine has .* {__version__}"):
            workers.run("test", abs, [1])
    finally:
        workers.client.run(set_version, __version__, workers=[address])
    check_versions(workers.client)
    assert workers.run("test", abs, [-1]) == [1]
