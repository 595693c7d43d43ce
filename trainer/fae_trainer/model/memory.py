"""Check what a model takes of the host's memory, before any of it is allocated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch

from fae.format.manifest import Manifest
from fae.format.memory import check_host_memory
from fae_trainer.data.cache import estimate_decoded_bytes
from fae_trainer.embedding.distributed import Ranks
from fae_trainer.embedding.layout import Layout
from fae_trainer.embedding.optimizers import ROW_OPTIMIZERS
from fae_trainer.embedding.tables import ROWS, ROWS_REMEDY, STATES, count_row_bytes
from fae_trainer.model.dlrm import NETWORK, NETWORK_REMEDY, count_weights
from fae_trainer.parameters import TrainParameters, find_largest_dim

#: What training takes beside the model, by name.
CACHED_ROWS, SAVED_COPY = "cached rows", "a copy of the tables for the checkpoint"
_REMEDIES = {
    **{ROWS: ROWS_REMEDY, STATES: ROWS_REMEDY, SAVED_COPY: ROWS_REMEDY},
    **{NETWORK: NETWORK_REMEDY, CACHED_ROWS: "Train with --cache none."},
}


def check_model_memory(
    manifest: Manifest,
    layouts: Mapping[int, Layout],
    p: TrainParameters,
    ranks: Ranks,
    on_cpu: bool,
    beside: Mapping[str, int],
) -> None:
    """Raise ParameterError where this machine's processes need more memory than it has.

    `layouts` are those of each dimension, and `on_cpu` says that hot rows live on the host too.
    `beside` are bytes, by name, that are taken besides. What is listed is certainly needed; a model
    that takes a little less may not fit either.
    """
    dtype, rule = getattr(torch, p.dtype), ROW_OPTIMIZERS[p.optimizer]
    processes = ranks.size_here
    hot_copies = processes * (on_cpu + (p.placement == "fae"))
    parts: Counter[str] = Counter()
    for dim, layout in layouts.items():
        cold = layout.cold_total * processes // ranks.size  # each lives on one process
        parts.update(count_row_bytes(hot_copies * layout.hot_total + cold, dim, dtype, rule))
    features = len(manifest.features.dense), len(manifest.features.sparse)
    dim = p.bottom_mlp[-1] if p.bottom_mlp else find_largest_dim(manifest)
    others = set(layouts) - {dim}
    weights = count_weights(*features, dim, p.bottom_mlp, p.top_mlp, others)
    copies = 1 if p.device == "cuda" else 2 + (p.optimizer != "sgd")  # gradients, and their sums
    parts[NETWORK] = processes * copies * weights * dtype.itemsize
    check_host_memory({**parts, **beside}, _REMEDIES)


def count_training_bytes(manifest: Manifest, p: TrainParameters, ranks: Ranks) -> dict[str, int]:
    """Return what training takes of the host's memory beside the model, in bytes by name.

    The processes of a machine keep cached rows once, and the first one copies the tables.
    """
    rule, parts = ROW_OPTIMIZERS[p.optimizer], {}
    if ranks.is_first:
        values = sum(t.rows * (t.dim + rule.count_state(t.dim)) for t in manifest.tables)
        parts[SAVED_COPY] = values * getattr(torch, p.dtype).itemsize
    if p.cache == "host":
        splits = manifest.splits
        parts[CACHED_ROWS] = sum(estimate_decoded_bytes(manifest, split) for split in splits)
    return parts
