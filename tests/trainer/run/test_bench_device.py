"""A device profile explains the seconds that were measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from fae.hotset.device_profile import DeviceProfile
from fae.hotset.problem import Objective
from fae_trainer.run import bench_device
from fae_trainer.run.bench_device import KINDS, fit_profile, measure_device


def seconds(hot: float, cold: float, access: float, hidden: float) -> dict[int, float]:
    """Return a sample's seconds by its number of cold features."""
    return {k: hot + (cold if k else 0) + max(access * k - hidden, 0) for k in KINDS}


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ((10, 3, 1, 0), (10, 13, 1, 0)),  # the host reads cold rows: a batch waits for them
        ((10, 0, 1, 5), (10, 10, 1, 5)),  # the device reads them beside the network
        ((10, 0, 2, 1), (10, 10, 2, 1)),  # of few, a part shows
        ((10, 0, 0.1, 9), (10, 10, 0, 0)),  # all are hidden
    ],
)
def test_the_profile_is_what_made_the_times(
    costs: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    assert tuple(fit_profile(seconds(*costs)).values()) == pytest.approx(expected)


def test_a_measured_profile_can_be_calibrated_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WARM_UP_ROUNDS", 0), ("ROUNDS", 1), ("TABLE_ROWS", 2000)):
        monkeypatch.setattr(bench_device, name, value)
    monkeypatch.setattr(bench_device, "HOT_ROWS", 200)
    measured = measure_device({"device": "cpu", "batch_size": 64})
    profile = DeviceProfile(**measured)
    assert (profile.device, profile.batch_size) == ("cpu", 64)
    assert profile.seconds_per_cold_input >= profile.seconds_per_hot_input


def test_where_all_is_hidden_accesses_decide() -> None:
    measured = {"device": "a GPU", "batch_size": 1, **fit_profile(seconds(10, 0, 0.1, 9))}
    assert DeviceProfile(**measured).objective == Objective(per_sample=0, per_access=1)
