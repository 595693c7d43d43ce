"""The parameters of ingestion."""

from typing import ClassVar

from pydantic import Field

from fae.commit import outputs
from fae.commit.stage_parameters import StageParameters


class IngestParameters(StageParameters):
    """The allowed share of malformed lines, which does not change what is staged."""

    stage: ClassVar[str] = "IngestParameters"

    max_reject_share: float = Field(default=0.001, ge=0, le=1)

    def fingerprint(self, *inputs: str) -> str:
        """Return the fingerprint of a staging, from those of its schema and logs."""
        return outputs.compute_fingerprint({"stage": "ingest"}, *inputs)
