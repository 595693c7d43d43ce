"""What each local worker process loads at its start, by Dask's preload."""

from __future__ import annotations

import logging
from typing import Any


def dask_setup(_worker: Any) -> None:
    """Keep quiet about a heartbeat that the end of the run has cut off.

    The scheduler lives in the process that started this one, so when it is gone, so is the run.
    """
    logging.getLogger("distributed.worker").addFilter(_is_no_lost_heartbeat)


def _is_no_lost_heartbeat(record: logging.LogRecord) -> bool:
    return "communicate with scheduler during heartbeat" not in record.getMessage()
