"""Each stage's parameters, as `params.yaml` holds them, checked before any work begins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from fae.commit import outputs
from fae.format.errors import ParameterError
from fae.format.manifest import DTYPE_BYTES, OPTIMIZER_STATE, Embedding
from fae.hotset.device_profile import DeviceProfile
from fae.hotset.rules import RULES
from fae.hotset.rules.problem import Objective
from fae.profiling.splits import HeldOut

#: What the ids of cold rows can be.
COLD_IDS = ("exact", "hashed")
#: The objectives by the names that `--objective` knows; `time` takes its weights from a device.
OBJECTIVES = {"inputs": Objective(1, 0), "accesses": Objective(0, 1), "time": Objective(1, 0)}
_SIZES = "a number with a unit: 512KiB, 256MiB, 2GiB, or 256MB for millions of bytes"


def _one_of(known: Sequence[str]) -> Any:
    def checked(value: Any) -> Any:
        if value not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return value

    return BeforeValidator(checked)


def _whole_size(value: Any) -> Any:
    """`value`, unless it is text that ByteSize would read in part only, such as `1,5GiB`."""
    if isinstance(value, str) and not re.fullmatch(r"\s*\d+(\.\d+)?\s*[A-Za-z]*\s*", value):
        raise ValueError(f"no size in bytes. Write {_SIZES}")
    return value


def size_of(text: str, option: str) -> int:
    """The bytes that an option such as 8GiB means; ParameterError where it means none."""
    try:
        size = int(TypeAdapter(ByteSize).validate_python(_whole_size(text)))
    except ValueError:
        size = 0
    if size < 1:
        raise ParameterError(f"{option}: {text!r} is no size in bytes. Write {_SIZES}.")
    return size


def _held_out(value: Any) -> Any:
    return value if isinstance(value, HeldOut | dict) else HeldOut.parse(str(value))


class StageParameters(BaseModel):
    """The parameters of one stage, which together with its inputs decide its output."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: The stage's name in fingerprints, which must not change: existing outputs would be remade.
    stage: ClassVar[str]

    @classmethod
    def of(cls, **values: object) -> Self:
        """The parameters; ParameterError names the option that is out of range and its remedy."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            message = first["msg"].removeprefix("Value error, ")
            if not first["loc"]:
                raise ParameterError(f"{message}.") from None
            option = "--" + str(first["loc"][0]).replace("_", "-")
            if first["type"].startswith("byte_size"):
                message = f"no size in bytes. Write {_SIZES}"
            raise ParameterError(f"{option} {first['input']!r}: {message}.") from None

    def fingerprint(self, *inputs: str) -> str:
        """The fingerprint of what the stage makes from inputs with these fingerprints."""
        document = {"stage": self.stage, **self.model_dump(mode="json")}
        return outputs.fingerprint(document, *inputs)


class IngestParameters(StageParameters):
    """The share of malformed lines that is borne; it does not change what is staged."""

    stage: ClassVar[str] = "IngestParameters"

    max_reject_share: float = Field(default=0.001, ge=0, le=1)

    def fingerprint(self, *inputs: str) -> str:
        """The fingerprint of the staging of logs and a schema with these fingerprints."""
        return outputs.fingerprint({"stage": "ingest"}, *inputs)


class ProfileParameters(StageParameters):
    """What is held out, which ids are folded into out-of-vocabulary, and the sample.

    `min_count` maps tables to the fewest accesses that earn a row; "" stands for every other table.
    """

    stage: ClassVar[str] = "ProfileParameters"

    valid: Annotated[HeldOut, BeforeValidator(_held_out)] = HeldOut(share=0.1)
    test: Annotated[HeldOut, BeforeValidator(_held_out)] = HeldOut(share=0.1)
    min_count: dict[str, Annotated[int, Field(ge=1, lt=2**63)]] = Field(default_factory=dict)
    sample: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0, lt=2**63)

    def fewest(self, table: str) -> int:
        """The fewest accesses that earn an id of `table` a row of its own."""
        return self.min_count.get(table, self.min_count.get("", 1))


class CalibrateParameters(StageParameters):
    """The byte budget or the hot share to reach, what a row costs, and the rule that chooses.

    `objective` is what the rule `inputs` maximises: wholly hot inputs, accesses to hot rows, or the
    time saved by the profile of a device, which `device` names as a file. With `cold_ids` hashed, a
    table's cold values share at most `cold_buckets` rows; 0 of them where ids are exact.
    """

    stage: ClassVar[str] = "CalibrateParameters"

    hot_budget: Annotated[ByteSize, Field(gt=0, lt=2**63), BeforeValidator(_whole_size)] | None = (
        None
    )
    hot_share: Annotated[float, Field(gt=0, le=1)] | None = None
    dtype: Annotated[str, _one_of(list(DTYPE_BYTES))] = "float32"
    optimizer: Annotated[str, _one_of(list(OPTIMIZER_STATE))] = "rowwise_adagrad"
    rule: Annotated[str, _one_of(list(RULES))] = "inputs"
    objective: Annotated[str, _one_of(list(OBJECTIVES))] = "inputs"
    device_profile: DeviceProfile | None = None
    cold_ids: Annotated[str, _one_of(COLD_IDS)] = "exact"
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


class PartitionParameters(StageParameters):
    """The seed of the shuffle."""

    stage: ClassVar[str] = "PartitionParameters"

    seed: int = Field(default=0, ge=0, lt=2**63)


def min_counts(texts: Sequence[str]) -> dict[str, int]:
    """Fewest accesses by table, from `10` (every table, under "") and `C3=20` (one)."""
    counts: dict[str, int] = {}
    for text in texts:
        table, _, number = text.rpartition("=")
        if not re.fullmatch("[0-9]{1,18}", number) or int(number) < 1:
            raise ParameterError(
                f"--min-count {text!r}: write a number of 1 or more for every table, or TABLE=N."
            )
        if table in counts:
            raise ParameterError(f"--min-count is given twice for {table or 'every table'}.")
        counts[table] = int(number)
    return counts
