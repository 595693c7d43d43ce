"""Keep decoded rows in memory from epoch to epoch, where they fit."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch

from fae.format.errors import ParameterError
from fae.format.manifest import Manifest
from fae.format.memory import read_free_memory
from fae_trainer.data.batches import Batch, Block
from fae_trainer.data.decoding import id_type
from fae_trainer.parameters import CACHES

#: The share of a memory's free bytes that `cache="auto"` may take.
AUTO_SHARE = 1 / 4


class Cache:
    """Decoded blocks of rows by key. Each process has its own: a pickled copy is empty.

    `kind` is "none", which keeps nothing, "host", or "device", which keeps all columns on `device`.
    """

    def __init__(self, kind: str, device: torch.device) -> None:
        """Make an empty cache."""
        self.kind = kind
        self.device = device
        self._blocks: dict[Hashable, Block] = {}

    @property
    def keeps(self) -> bool:
        """Whether the cache keeps blocks at all."""
        return self.kind != "none"

    def get_or_make(self, key: Hashable, make: Callable[[], Batch]) -> Block:
        """Return the block under `key`; call `make` for it the first time."""
        if key not in self._blocks:
            block = Block.on_host(make())
            self._blocks[key] = block.to(self.device) if self.kind == "device" else block
        return self._blocks[key]

    def __getstate__(self) -> dict[str, Any]:
        return {"kind": self.kind, "device": self.device, "_blocks": {}}


def choose_cache(requested: str, manifest: Manifest, split: str, device: torch.device) -> str:
    """Return the kind of cache for a split: `requested`, unless that is "auto".

    For "auto" it is "device" where `device` is a GPU with room for all columns, "host" where the
    host has room, else "none". Room is a quarter of the free memory. Raises ParameterError where
    `requested` is not one of CACHES.
    """
    if requested not in CACHES:
        raise ParameterError(f"--cache is {requested}; it must be one of {', '.join(CACHES)}.")
    if requested != "auto":
        return requested
    size = estimate_decoded_bytes(manifest, split)
    if device.type == "cuda" and size <= AUTO_SHARE * torch.cuda.mem_get_info(device)[0]:
        return "device"
    return "host" if size <= AUTO_SHARE * read_free_memory() else "none"


def estimate_decoded_bytes(manifest: Manifest, split: str) -> int:
    """Return the decoded bytes of all columns of a split that training reads.

    The bytes of lists are estimated as four times the bytes of their files.
    """
    leaves = manifest.splits[split].values()
    rows = sum(leaf.rows for leaf in leaves)
    sparse = manifest.features.sparse
    id_bytes = rows * len(sparse) * id_type(manifest).itemsize
    if any(feature.multi for feature in sparse):
        id_bytes = 2 * id_bytes + 4 * sum(file.bytes for leaf in leaves for file in leaf.files)
    return rows * 4 * (1 + len(manifest.features.dense)) + id_bytes
