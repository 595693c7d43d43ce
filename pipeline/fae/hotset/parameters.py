"""The parameters of `fae calibrate`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from fae.commit.stage_parameters import StageParameters, one_of
from fae.format.budget import DTYPE_BYTES, OPTIMIZER_STATE, Embedding
from fae.format.memory import parse_bytes
from fae.hotset.device_profile import DeviceProfile
from fae.hotset.problem import Objective
from fae.hotset.rules import RULES, check_rule

#: What the ids of cold rows can be.
COLD_IDS = ("exact", "hashed")
#: The objectives by their names for `--objective`; `time` takes its weights from a device profile.
OBJECTIVES = {
    "inputs": Objective(1, 0),
    "future": Objective(1, 0, future=True),
    "accesses": Objective(0, 1),
    "time": Objective(1, 0),
}


class CalibrateParameters(StageParameters):
    """The byte budget or the hot share to reach, the cost of a row, and the rule that chooses.

    `objective` is what the rule `inputs` maximises: hot samples of train, hot samples to come,
    accesses to hot rows, or the time saved on the device that `device_profile` describes.
    With hashed `cold_ids`, the cold values of a table share at most `cold_buckets` rows; with exact
    ones, `cold_buckets` is 0.
    """

    stage: ClassVar[str] = "CalibrateParameters"

    hot_budget: Annotated[int, Field(gt=0, lt=2**63), BeforeValidator(parse_bytes)] | None = None
    hot_share: Annotated[float, Field(gt=0, le=1)] | None = None
    dtype: Annotated[str, one_of(list(DTYPE_BYTES))] = "float32"
    optimizer: Annotated[str, one_of(list(OPTIMIZER_STATE))] = "rowwise_adagrad"
    rule: Annotated[str, AfterValidator(check_rule)] = "accesses"
    objective: Annotated[str, one_of(list(OBJECTIVES))] = "inputs"
    device_profile: DeviceProfile | None = None
    cold_ids: Annotated[str, one_of(COLD_IDS)] = "exact"
    cold_buckets: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.hot_budget is None) == (self.hot_share is None):
            raise ValueError(
                "use either --hot-budget (in bytes) or --hot-share (of the train samples)"
            )
        if self.objective != "inputs" and self.rule in RULES and self.rule != "inputs":
            raise ValueError(
                f"--objective {self.objective} is what --rule inputs maximizes; --rule {self.rule} "
                "has no objective. Use both, or none"
            )
        if self.objective == "time" and self.device_profile is None:
            raise ValueError(
                "--objective time needs --device-profile; fae bench-device creates this file"
            )
        if self.cold_ids == "hashed" and not self.cold_buckets:
            raise ValueError(
                "--cold-ids hashed needs --cold-buckets, the maximum number of cold rows per table"
            )
        if self.cold_ids == "exact" and self.cold_buckets:
            raise ValueError("--cold-buckets applies only to --cold-ids hashed")
        return self

    @property
    def embedding(self) -> Embedding:
        """The dtype and optimiser of a row, which give its cost."""
        return Embedding(self.dtype, self.optimizer)

    @property
    def weights(self) -> Objective:
        """The objective that the rule maximises."""
        if self.objective == "time" and self.device_profile is not None:
            return self.device_profile.objective
        return OBJECTIVES[self.objective]
