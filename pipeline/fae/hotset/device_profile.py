"""Device profiles: what a hot sample, a cold sample and a cold access cost on a machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fae.format.errors import ParameterError
from fae.hotset.loads import Floats
from fae.hotset.problem import Objective


class DeviceProfile(BaseModel):
    """The training seconds for each hot sample, each cold sample, and each cold access.

    Of the time of cold accesses, `seconds_hidden_per_input` are hidden behind each sample: a device
    that reads cold rows itself does so while it computes. `fae bench-device` measures and writes
    them; `device` and `batch_size` say where and how.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str
    batch_size: int = Field(gt=0)
    seconds_per_hot_input: float = Field(gt=0, allow_inf_nan=False)
    seconds_per_cold_input: float = Field(gt=0, allow_inf_nan=False)
    seconds_per_cold_access: float = Field(ge=0, allow_inf_nan=False)
    seconds_hidden_per_input: float = Field(default=0, ge=0, allow_inf_nan=False)

    @classmethod
    def read(cls, path: Path) -> DeviceProfile:
        """Read a profile from a JSON file; raises ParameterError where it is not one."""
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ParameterError(
                f"{path} is not a device profile ({error}). "
                f"Create one: fae bench-device --out {path}"
            ) from None

    @property
    def objective(self) -> Objective:
        """The time that a hot set saves, in units of the larger of its two savings.

        Where cold samples cost no more than hot ones, and all accesses are hidden, accesses decide:
        they are what would show first.
        """
        per_sample = max(self.seconds_per_cold_input - self.seconds_per_hot_input, 0.0)
        unit = max(per_sample, self.seconds_per_cold_access)
        if not unit:
            return Objective(per_sample=0, per_access=1)
        return Objective(per_sample / unit, self.seconds_per_cold_access / unit)

    def estimate_seconds(self, samples: int, hot_samples: Floats, cold_accesses: Floats) -> Floats:
        """Return the expected time of an epoch of `samples`, of which `hot_samples` are hot."""
        cold_samples = samples - hot_samples
        accesses = cold_accesses * self.seconds_per_cold_access
        exposed = np.maximum(accesses - samples * self.seconds_hidden_per_input, 0.0)
        return (
            hot_samples * self.seconds_per_hot_input
            + cold_samples * self.seconds_per_cold_input
            + exposed
        )
