"""What a run copied to keep two holders of the same rows in step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Traffic:
    """How often all hot rows were copied between host and device, the bytes, and the seconds.

    All are 0 unless the placement is `fae`: elsewhere a row has one owner.
    """

    syncs: int = 0
    sync_bytes: int = 0
    sync_seconds: float = 0.0
