"""The progress that a run shows."""

from __future__ import annotations

from typing import Any

import pytest

from fae.execution.progress import StageProgress


class ShownProgress:
    """All stages that are shown from now on, with the steps that each announced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stages: list[tuple[StageProgress, int]] = []
        make = StageProgress.__init__

        def record(stage: StageProgress, name: str, total: int, *args: Any) -> None:
            make(stage, name, total, *args)
            self._stages.append((stage, total))

        monkeypatch.setattr(StageProgress, "__init__", record)

    def steps(self) -> dict[str, int]:
        """Return how many steps each stage took, in order; each took as many as announced."""
        for stage, announced in self._stages:
            assert stage.done == announced, stage.name
        return {stage.name: stage.done for stage, _ in self._stages}
