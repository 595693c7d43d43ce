"""What training needs of the host's memory is counted before it is allocated."""

from __future__ import annotations

from pathlib import Path

import pytest

from fae.format import memory
from fae.format.errors import ParameterError
from fae_trainer.embedding.distributed import Ranks
from fae_trainer.embedding.layout import make_layouts
from fae_trainer.embedding.replicated import ReplicatedTables
from fae_trainer.model.memory import CACHED_ROWS, check_model_memory, count_training_bytes
from fae_trainer.model.recommender import Recommender, count_hot_rows
from fae_trainer.parameters import PLACEMENTS, resolve_parameters
from tests.support.trainer_data import Shape, write_dataset

GIVEN = {"data": "data", "out": "out", "device": "cpu", "optimizer": "rowwise_adagrad"}
SHAPE = Shape(dims={"a": 8, "c": 2})


def count_allocated(recommender: Recommender) -> int:
    """Return the bytes of rows, states and weights, with a gradient and a sum for each weight."""
    weights = sum(weight.nbytes for weight in recommender.network.parameters())
    rows = 0
    for tables in recommender.tables.groups:
        shards = [tables.hot, tables.cold]
        shards += [tables.copy] if isinstance(tables, ReplicatedTables) else []
        rows += sum(shard.packed.nbytes for shard in shards)
    return rows + 3 * weights


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_what_is_counted_is_what_is_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, placement: str
) -> None:
    manifest = write_dataset(tmp_path / "data", SHAPE)
    p = resolve_parameters({**GIVEN, "placement": placement}, manifest)
    size = count_allocated(Recommender(manifest, p))
    monkeypatch.setattr(memory, "read_most_memory", lambda: size)
    Recommender(manifest, p)
    monkeypatch.setattr(memory, "read_most_memory", lambda: size - 1)
    with pytest.raises(ParameterError, match="swap included"):
        Recommender(manifest, p)


def test_the_message_lists_the_parts_of_all_processes_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_dataset(tmp_path / "data", Shape())
    small = {"cache": "host", "top_mlp": (8, 1), "bottom_mlp": (4,)}
    p = resolve_parameters({**GIVEN, **small}, manifest)
    layouts = make_layouts(manifest, count_hot_rows(manifest, p.placement))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(memory, "read_most_memory", lambda: 0)
    monkeypatch.setattr(memory, "format_gib", lambda size: f"{size} bytes")
    ranks = Ranks(0, 4)
    beside = count_training_bytes(manifest, p, ranks)
    with pytest.raises(ParameterError) as caught:
        check_model_memory(manifest, layouts, p, ranks, True, beside)
    rows = 2 * (10 + 7 + 15) + 2 * (40 + 30 + 25) // 4
    weights = (3 * 4 + 4) + (14 * 8 + 8) + (8 + 1)
    cached = beside[CACHED_ROWS]
    total = rows * 5 * 4 + 2 * 3 * weights * 4 + 127 * 5 * 4 + cached
    assert str(caught.value) == (
        f"The model takes {total} bytes of memory (embedding rows {rows * 16} bytes, their "
        f"optimizer state {rows * 4} bytes, the network {24 * weights} bytes, a copy of the tables "
        f"for the checkpoint 2540 bytes, cached rows {cached} bytes), and this machine has 0 "
        "bytes, swap included. Train with --cache none."
    )
