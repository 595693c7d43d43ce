"""A device's times: what a hot input, a cold input and a cold row cost on the user's machine."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from fae.format.errors import ParameterError
from fae.hotset.rules.problem import Floats, Objective


class DeviceProfile(BaseModel):
    """Seconds a training step takes for each hot input, each cold input, and each cold access.

    `fae bench-device` measures and writes them. `device` and `batch_size` say where and how.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str
    batch_size: int = Field(gt=0)
    seconds_per_hot_input: float = Field(gt=0, allow_inf_nan=False)
    seconds_per_cold_input: float = Field(gt=0, allow_inf_nan=False)
    seconds_per_cold_access: float = Field(ge=0, allow_inf_nan=False)

    @classmethod
    def read(cls, path: Path) -> DeviceProfile:
        """The profile in a JSON file; ParameterError where it is none."""
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ParameterError(
                f"{path} is no device profile ({error}). Make one: fae bench-device --out {path}"
            ) from None

    @property
    def objective(self) -> Objective:
        """The time that a hot set saves, in units of the larger of its two savings."""
        saved = max(self.seconds_per_cold_input - self.seconds_per_hot_input, 0.0)
        unit = max(saved, self.seconds_per_cold_access)
        return Objective(saved / unit, self.seconds_per_cold_access / unit) if unit else Objective()

    def seconds(self, inputs: int, hot_inputs: Floats, cold_accesses: Floats) -> Floats:
        """The expected time of an epoch of `inputs`, of which `hot_inputs` are hot."""
        cold_inputs = inputs - hot_inputs
        return (
            hot_inputs * self.seconds_per_hot_input
            + cold_inputs * self.seconds_per_cold_input
            + cold_accesses * self.seconds_per_cold_access
        )
