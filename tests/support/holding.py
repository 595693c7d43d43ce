"""Loaded into a process that does tasks: it holds a stage's tasks until a test lets them go.

The folder that HOLD names has a file for each stage to hold, which says "all" or, to let the first
of its tasks pass, "rest". A task that waits writes STAGE.PID. What is done is written down, so a
test sees whether anything was done twice.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from fae.commit import task_log
from fae.execution import executor

FOLDER = Path(os.environ["HOLD"])
perform_step = task_log.perform_step


def read_order(stage: str) -> str:
    """Return what the file of a stage says, or nothing."""
    try:
        return (FOLDER / stage).read_text()
    except FileNotFoundError:
        return ""


def hold_and_perform(step: Any, later: Any = None) -> Any:
    """Wait as long as the step's stage is held, then perform it."""
    del later  # an entry is there when its task is done
    if step.entry is None:
        return perform_step(step)
    entry = Path(step.entry)
    stage = entry.parent.name
    held = {"all", "rest"} if any(entry.parent.glob("*.json")) else {"all"}
    while read_order(stage) in held:
        (FOLDER / f"{stage}.{os.getpid()}").touch()
        time.sleep(0.01)
    new = not entry.exists()
    result = perform_step(step)
    if new:
        with (FOLDER / "done").open("a") as file:
            file.write(f"{stage} {entry.name}\n")
    return result


task_log.perform_step = hold_and_perform
executor.perform_step = hold_and_perform  # type: ignore[attr-defined]
