"""The parameters of calibration."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, Field, model_validator

from fae.commit.stage_parameters import StageParameters, one_of
from fae.format.manifest import DTYPE_BYTES, OPTIMIZER_STATE, Embedding
from fae.format.units import parse_bytes
from fae.hotset.device_profile import DeviceProfile
from fae.hotset.rules import RULES
from fae.hotset.rules.problem import Objective

#: What the ids of cold rows can be.
COLD_IDS = ("exact", "hashed")
#: The objectives by the names that `--objective` knows; `time` takes its weights from a device.
OBJECTIVES = {"inputs": Objective(1, 0), "accesses": Objective(0, 1), "time": Objective(1, 0)}


class CalibrateParameters(StageParameters):
    """The byte budget or the hot share to reach, what a row costs, and the rule that chooses.

    `objective` is what the rule `inputs` maximises: wholly hot inputs, accesses to hot rows, or the
    time saved by the profile of a device, which `device` names as a file. With `cold_ids` hashed, a
    table's cold values share at most `cold_buckets` rows; 0 of them where ids are exact.
    """

    stage: ClassVar[str] = "CalibrateParameters"

    hot_budget: Annotated[int, Field(gt=0, lt=2**63), BeforeValidator(parse_bytes)] | None = None
    hot_share: Annotated[float, Field(gt=0, le=1)] | None = None
    dtype: Annotated[str, one_of(list(DTYPE_BYTES))] = "float32"
    optimizer: Annotated[str, one_of(list(OPTIMIZER_STATE))] = "rowwise_adagrad"
    rule: Annotated[str, one_of(list(RULES))] = "inputs"
    objective: Annotated[str, one_of(list(OBJECTIVES))] = "inputs"
    device_profile: DeviceProfile | None = None
    cold_ids: Annotated[str, one_of(COLD_IDS)] = "exact"
    cold_buckets: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.hot_budget is None) == (self.hot_share is None):
            raise ValueError("give either --hot-budget (bytes) or --hot-share (of the inputs)")
        if self.objective == "time" and self.device_profile is None:
            raise ValueError(
                "--objective time needs --device-profile; fae bench-device makes such a file"
            )
        if self.cold_ids == "hashed" and not self.cold_buckets:
            raise ValueError(
                "--cold-ids hashed needs --cold-buckets, the most rows that a table's cold values "
                "share"
            )
        if self.cold_ids == "exact" and self.cold_buckets:
            raise ValueError("--cold-buckets is for --cold-ids hashed; exact ids have none")
        return self

    @property
    def embedding(self) -> Embedding:
        """What a row costs."""
        return Embedding(self.dtype, self.optimizer)

    @property
    def weights(self) -> Objective:
        """The objective as the rule has it."""
        if self.objective == "time" and self.device_profile is not None:
            return self.device_profile.objective
        return OBJECTIVES[self.objective]
