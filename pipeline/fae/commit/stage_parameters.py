"""Check a stage's parameters before any work starts, and fingerprint them."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from fae.commit import outputs
from fae.format.errors import ParameterError


class StageParameters(BaseModel):
    """The parameters of one stage, which together with its inputs decide its output."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: The stage's name in fingerprints; a change would invalidate all existing outputs.
    stage: ClassVar[str]

    @classmethod
    def of(cls, **values: object) -> Self:
        """Return the parameters; raises ParameterError, which names the option and the remedy."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            message = first["msg"].removeprefix("Value error, ")
            if not first["loc"]:
                raise ParameterError(f"{message}.") from None
            option = "--" + str(first["loc"][0]).replace("_", "-")
            raise ParameterError(f"{option} {first['input']!r}: {message}.") from None

    def fingerprint(self, *inputs: str) -> str:
        """Return the fingerprint of the stage's output from inputs with these fingerprints."""
        document = {"stage": self.stage, **self.model_dump(mode="json")}
        return outputs.compute_fingerprint(document, *inputs)


def one_of(known: Sequence[str]) -> Any:
    """Return the validator of a value that must be one of `known`."""

    def check(value: Any) -> Any:
        if value not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return value

    return BeforeValidator(check)
