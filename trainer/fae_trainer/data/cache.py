"""Decoded inputs kept in memory from epoch to epoch, and where they fit."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import torch

from fae.format.errors import ParameterError
from fae.format.manifest import Manifest
from fae_trainer.data.batches import Batch
from fae_trainer.data.decoding import id_type
from fae_trainer.parameters import CACHES

#: The part of a memory's free bytes that a cache chosen by size may take.
SHARE = 1 / 4


class Cache:
    """Blocks of inputs by key. Each process has its own: a copy sent to another is empty.

    `kind` is one of "none", which keeps nothing, "host", and "device", which keeps labels and dense
    features on `device` and ids on the host, where lookups are planned.
    """

    def __init__(self, kind: str, device: torch.device) -> None:
        """An empty cache."""
        self.kind = kind
        self.device = device
        self._blocks: dict[Hashable, Batch] = {}

    @property
    def keeps(self) -> bool:
        """Whether blocks are kept at all."""
        return self.kind != "none"

    def get_or_make(self, key: Hashable, make: Callable[[], Batch]) -> Batch:
        """The block kept under `key`, or else the one that `make` gives, kept from now on."""
        if key not in self._blocks:
            block = make()
            if self.kind == "device":
                label, dense = block.label.to(self.device), block.dense.to(self.device)
                block = Batch(label, dense, block.ids, block.offsets, block.hot)
            self._blocks[key] = block
        return self._blocks[key]

    def __getstate__(self) -> dict[str, Any]:
        return {"kind": self.kind, "device": self.device, "_blocks": {}}


def choose_cache(asked: str, manifest: Manifest, split: str, device: torch.device) -> str:
    """The kind of cache for a split: `asked`, or by size where that is "auto".

    Then it is "device" if there is a GPU with room for labels and dense features and the host has
    room for all, "host" if the host has, else "none"; room is a quarter of the free bytes.
    """
    if asked not in CACHES:
        raise ParameterError(f"--cache is {asked}; it must be one of {', '.join(CACHES)}.")
    if asked != "auto":
        return asked
    on_device, in_all = estimate_decoded_bytes(manifest, split)
    if in_all > SHARE * read_free_host_bytes():
        return "none"
    if device.type == "cuda" and on_device <= SHARE * torch.cuda.mem_get_info(device)[0]:
        return "device"
    return "host"


def estimate_decoded_bytes(manifest: Manifest, split: str) -> tuple[int, int]:
    """Bytes of a split's labels and dense features in memory, and of all; lists are estimated.

    Ids in lists are taken to need four times the bytes of their files.
    """
    leaves = manifest.splits[split].values()
    rows = sum(leaf.rows for leaf in leaves)
    sparse = manifest.features.sparse
    numbers = rows * 4 * (1 + len(manifest.features.dense))
    ids = rows * len(sparse) * id_type(manifest).itemsize
    if any(feature.multi for feature in sparse):
        ids = 2 * ids + 4 * sum(file.bytes for leaf in leaves for file in leaf.files)
    return numbers, numbers + ids


def read_free_host_bytes() -> int:
    """Memory that processes may still take, by the kernel and the control group; 0 if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":") for line in lines)
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 0
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return free
    return max(min(free, limit - used), 0)
