"""The parameters of `fae partition`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from fae.commit.stage_parameters import StageParameters


class PartitionParameters(StageParameters):
    """The seed of the shuffle."""

    stage: ClassVar[str] = "PartitionParameters"

    seed: int = Field(default=0, ge=0, lt=2**63)
