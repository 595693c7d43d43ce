"""The trainer's tests: models so small that a second thread of torch would only wait."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the programs that a test starts one thread of torch too."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
