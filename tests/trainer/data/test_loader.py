"""The loader: each row once, in an order of seed and epoch alone, split among ranks and workers."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
import sys
import threading
import types
from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from torch.utils.data import DataLoader

from fae.format.errors import DatasetError, ParameterError
from fae_trainer.data.batches import Batch
from fae_trainer.data.loader import HotColdLoader
from fae_trainer.embedding.module import HotColdEmbedding
from tests.support.forked import CONTEXT
from tests.support.trainer_data import RAGGED, Column, Shape, write_dataset
from tests.support.trainer_runs import assert_close, run, state

SHAPES = {
    "plain": Shape(),
    "ragged": RAGGED,
    "wide, no dense": Shape(dense=0, wide_ids=True),
    "only lists": Shape(tables={"a": (20, 5)}, columns=(Column("a", multi=True),)),
    "one temperature": Shape(hot=0),
}
SMALL = {"batch_size": 16, "buffer_rows": 40}


def loader(data: Path, **given: Any) -> HotColdLoader:
    return HotColdLoader(data, **{**SMALL, **given})


def contents(batch: Batch) -> tuple[Any, ...]:
    offsets = None if batch.offsets is None else tuple(batch.offsets.tolist())
    dense = tuple(batch.dense.flatten().tolist())
    return batch.hot, tuple(batch.label.tolist()), dense, tuple(batch.ids.tolist()), offsets


def stream(batches: Iterable[Batch]) -> list[tuple[Any, ...]]:
    return [contents(batch) for batch in batches]


def rows(batches: Iterable[Batch]) -> Counter[tuple[Any, ...]]:
    return Counter(contents(b.slice(i, i + 1)) for b in batches for i in range(len(b)))


@pytest.fixture(params=SHAPES)
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data", SHAPES[request.param])
    return tmp_path / "data"


def test_an_epoch_has_every_row_once_in_an_order_of_its_own(data: Path) -> None:
    expected = rows(loader(data, shuffle=False))
    plain = loader(data)
    epochs = [list(plain) for _ in range(3)]
    assert all(rows(epoch) == expected for epoch in epochs)
    assert all(len(epoch) == len(plain) for epoch in epochs)
    seen = [stream(epoch) for epoch in epochs]
    assert seen[0] != seen[1] != seen[2] != seen[0]
    other = list(loader(data, seed=1))
    assert rows(other) == expected
    assert stream(other) != seen[0]
    for epoch in (2, 0):
        plain.set_epoch(epoch)
        assert stream(plain) == seen[epoch]


def test_rows_meet_in_other_batches_each_epoch(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", Shape(cold=400, files=1, group=400))
    plain = loader(tmp_path / "data", batch_size=80)

    def mates() -> set[frozenset[Any]]:
        return {frozenset(rows([batch])) for batch in plain if not batch.hot}

    assert len(mates()) == 5
    assert not mates() & mates()


@pytest.mark.parametrize("cache", ["none", "host", "device"])
@pytest.mark.parametrize("threads", [1, 5])
def test_threads_and_cache_change_nothing(data: Path, cache: str, threads: int) -> None:
    expected, found = loader(data, cache="none"), loader(data, cache=cache, threads=threads)
    for _ in range(3):
        assert stream(found) == stream(expected)
    assert stream(loader(data, batch_size=16, shuffle=False, cache=cache)) == stream(
        loader(data, shuffle=False, buffer_rows=1)
    )


def test_a_batch_keeps_its_values_while_others_are_read(data: Path) -> None:
    plain = loader(data, cache="none", buffer_rows=1)
    kept = list(plain)
    plain.set_epoch(0)
    assert stream(kept) == stream(plain)


def test_a_kept_split_is_read_once(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", Shape())
    kept, read = loader(tmp_path / "data", cache="host"), loader(tmp_path / "data", cache="none")
    expected = [stream(kept) for _ in range(2)]
    for leaf in manifest.splits["train"].values():
        for file in leaf.files:
            (tmp_path / "data" / file.path).unlink()
    kept.set_epoch(1)
    assert stream(kept) == expected[1]
    with pytest.raises(DatasetError, match="is absent"):
        list(read)


@pytest.mark.parametrize("world_size", [2, 3, 7])
@pytest.mark.parametrize("shuffle", [True, False])
def test_ranks_share_the_rows_and_have_equally_many_batches(
    data: Path, world_size: int, shuffle: bool
) -> None:
    expected = rows(loader(data, shuffle=False))
    ranks = [
        loader(data, rank=rank, world_size=world_size, shuffle=shuffle)
        for rank in range(world_size)
    ]
    for _ in range(2):
        epochs = [list(one) for one in ranks]
        assert sum((rows(epoch) for epoch in epochs), Counter()) == expected
        kinds = [[batch.hot for batch in epoch] for epoch in epochs]
        assert all(kind == kinds[0] for kind in kinds)
        assert all(len(batch) for epoch in epochs for batch in epoch)
        sizes = [sum(len(batch) for batch in epoch) for epoch in epochs]
        assert max(sizes) - min(sizes) <= 2  # one of each temperature


@pytest.mark.parametrize("batch_size", [2, 16])
def test_parts_make_up_the_batches_of_a_whole_loader(data: Path, batch_size: int) -> None:
    whole = list(loader(data, batch_size=batch_size))
    parts = [list(loader(data, batch_size=batch_size, part=(rank, 3))) for rank in range(3)]
    for batch, *pieces in zip(whole, *parts, strict=True):
        ends = [len(batch) * rank // 3 for rank in range(4)]
        for piece, (start, stop) in zip(pieces, itertools.pairwise(ends), strict=True):
            expected = batch.slice(start, stop) if start < stop else batch.slice(0, 1)
            assert contents(piece) == contents(expected)
            assert piece.samples == piece.part_of == batch.samples == len(batch)


@pytest.mark.parametrize("stop", [0, 1, 5, 14, 15])
def test_a_loader_resumes_where_another_stopped(data: Path, stop: int) -> None:
    whole = loader(data)
    expected = [stream(whole) for _ in range(3)]
    first = loader(data)
    list(first)
    begun = iter(first)
    stop = min(stop, len(first))
    taken = [contents(next(begun)) for _ in range(stop)]
    saved = pickle.loads(pickle.dumps(first.state_dict()))
    second = loader(data, cache="none", threads=1)
    second.load_state_dict(saved)
    assert taken + stream(second) == expected[1]
    assert stream(second) == expected[2]


def test_a_state_of_other_batches_is_refused(data: Path) -> None:
    saved = loader(data).state_dict()
    others = {"batch_size": 15, "seed": 1, "world_size": 2, "shuffle": False, "mixed_windows": 2}
    for name, value in others.items():
        with pytest.raises(ParameterError, match=name):
            loader(data, **{name: value}).load_state_dict(saved)
    del saved["mixed_windows"]  # as in a state of a version before
    loader(data).load_state_dict(saved)
    with pytest.raises(ParameterError, match="mixed_windows 1; this one has 2"):
        loader(data, mixed_windows=2).load_state_dict(saved)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_mixed_windows_are_the_same_however_they_are_read(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", dataclasses.replace(RAGGED, files=3))

    def mixed(**given: Any) -> HotColdLoader:
        return loader(tmp_path / "data", mixed_windows=3, **given)

    whole = mixed(cache="none")
    epochs = [list(whole) for _ in range(2)]
    expected = [stream(epoch) for epoch in epochs]
    assert rows(epochs[0]) == rows(epochs[1]) == rows(loader(tmp_path / "data"))
    assert expected[0] != stream(loader(tmp_path / "data"))
    for cache in ("host", "device"):
        kept = mixed(cache=cache, threads=1)
        assert [stream(kept), stream(kept)] == expected
    parts = [list(mixed(part=(rank, 2))) for rank in range(2)]
    for batch, *pieces in zip(epochs[0], *parts, strict=True):
        assert rows(pieces) == rows([batch])
    ranks = [rows(mixed(rank=rank, world_size=3)) for rank in range(3)]
    assert sum(ranks, Counter()) == rows(epochs[0])
    for stop in (1, 6, len(whole) - 1):
        begun, resumed = mixed(), mixed()
        taken = stream(itertools.islice(begun, stop))
        resumed.load_state_dict(begun.state_dict())
        assert taken + stream(resumed) == expected[0]
    served = DataLoader(mixed(), batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert sorted(stream(served), key=repr) == sorted(expected[0], key=repr)
    assert stream(mixed(shuffle=False)) == stream(loader(tmp_path / "data", shuffle=False))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(
    ("context", "workers"), [("fork", 1), ("fork", 3), (CONTEXT.get_start_method(), 2)]
)
def test_workers_share_the_batches(tmp_path: Path, workers: int, context: str) -> None:
    write_dataset(tmp_path / "data", RAGGED)
    plain = loader(tmp_path / "data")
    expected = [sorted(stream(plain), key=repr) for _ in range(2)]
    if context != "fork":
        plain = pickle.loads(pickle.dumps(plain))
    served: DataLoader[Batch] = DataLoader(
        plain,
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=context,
        persistent_workers=workers > 1,
    )
    for epoch in range(2):
        plain.set_epoch(epoch)
        assert sorted(stream(served), key=repr) == expected[epoch]
    assert len(served) == len(plain)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_an_epoch_goes_on_with_other_numbers_of_workers(tmp_path: Path) -> None:
    """The state of the last batch used, whoever read it, knows all that are left."""
    write_dataset(tmp_path / "data", Shape())
    whole, taken, saved = loader(tmp_path / "data"), [], None
    for workers, count in ((0, 2), (3, 4), (2, 3), (0, 99)):
        opened = loader(tmp_path / "data")
        if saved is not None:
            opened.load_state_dict(pickle.loads(pickle.dumps(saved)))
        served = DataLoader(
            opened, num_workers=workers, multiprocessing_context="fork" if workers else None
        )
        for batch in itertools.islice(served, count):
            taken.append(contents(batch))
            saved = opened.state_dict(after=batch)
        if workers:
            with pytest.raises(ParameterError, match=r"Call state_dict\(after=batch\)"):
                opened.state_dict()
        elif count < 99:
            assert opened.state_dict() == saved
    assert len(taken) == len(whole)
    assert sorted(taken, key=repr) == sorted(stream(whole), key=repr)
    with pytest.raises(ParameterError, match="does not tell its place"):
        whole.state_dict(after=batch.slice(0, 2))


def test_a_batch_has_columns_by_name(tmp_path: Path) -> None:
    features = write_dataset(tmp_path / "data", RAGGED).features
    names = [feature.name for feature in features.sparse]
    for batch in (one.to("cpu") for one in loader(tmp_path / "data")):
        bounds = batch.offsets.view(-1)
        for at, feature in enumerate(features.sparse):
            lists = [
                batch.ids[bounds[i * 4 + at] : bounds[i * 4 + at + 1]].tolist()
                for i in range(len(batch))
            ]
            if feature.multi:
                ids, offsets = batch[feature.name]
                assert [part.tolist() for part in ids.tensor_split(offsets[1:-1])] == lists
            else:
                assert [[one] for one in batch[feature.name].tolist()] == lists
        assert batch["dense_1"].equal(batch.dense[:, 1])
        assert batch["label"] is batch.label
    with pytest.raises(KeyError, match=f"{names}"[1:-1]):
        batch["x"]
    plain = next(iter(DataLoader(loader(write(tmp_path)), batch_size=2)))
    assert plain["c"].equal(plain.ids.view(-1, 4)[:, 2])
    assert (
        repr(plain) == "Batch(32 cold samples, 3 dense and 4 sparse features, one id each, on cpu)"
    )
    assert "train: 0 hot and 9 cold batches of 16)" in repr(loader(tmp_path / "plain"))


def write(path: Path) -> Path:
    write_dataset(path / "plain", Shape())
    return path / "plain"


class Keyed:
    """What is kept of a KeyedJaggedTensor's arguments."""

    def __init__(self, keys: list[str], values: Tensor, lengths: Tensor) -> None:
        self.keys, self.values, self.lengths = (lambda: keys), (lambda: values), (lambda: lengths)


def test_a_batch_is_what_torchrec_reads(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("torchrec") is None:
        with pytest.raises(ParameterError, match="Install the packages torchrec and fbgemm-gpu"):
            next(iter(loader(data))).to_kjt()
        module = types.SimpleNamespace(KeyedJaggedTensor=Keyed)
        monkeypatch.setitem(sys.modules, "torchrec", module)
        monkeypatch.setitem(sys.modules, "torchrec.sparse", module)
        monkeypatch.setitem(sys.modules, "torchrec.sparse.jagged_tensor", module)
    opened = loader(data)
    embedding = HotColdEmbedding(opened.manifest)
    for batch in opened:
        keyed = batch.to_kjt()
        assert keyed.keys() == [feature.name for feature in opened.manifest.features.sparse]
        assert embedding.of_keyed(keyed).equal(embedding.of(batch))


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", Shape(eval_rows=3))
    for given_values, message in (
        ({"split": "dev"}, "split is dev"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"mixed_windows": 0}, "mixed_windows 0 must be at least 1"),
        ({"rank": 2, "world_size": 2}, "rank 2"),
        ({"part": (2, 2)}, "part 2"),
        ({"cache": "disk"}, "--cache is disk"),
        ({"split": "valid", "world_size": 4}, "Use fewer ranks"),
    ):
        with pytest.raises(ParameterError, match=message):
            loader(tmp_path / "data", **given_values)


def test_an_abandoned_epoch_leaves_no_thread(data: Path) -> None:
    before = threading.active_count()
    for _ in loader(data, threads=3):
        break
    assert threading.active_count() == before


def test_the_cache_changes_no_run(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", dataclasses.replace(RAGGED, optimizer="rowwise_adagrad"))
    states = []
    for cache in ("none", "host", "device"):
        run(tmp_path / "data", tmp_path / cache, cache=cache, epochs=3, dtype="float64")
        states.append(state(tmp_path / cache))
        states[-1]["parameters"].pop("cache")
    # Batches lie elsewhere in memory, and products of matrices may depend on that.
    assert_close(states[1], states[0], rtol=1e-10)
    assert_close(states[2], states[0], rtol=1e-10)


@pytest.mark.usefixtures("cuda")
def test_on_cuda_batches_are_pinned_or_resident(data: Path) -> None:
    expected = stream(loader(data))
    pinned = list(loader(data, device="cuda", cache="host"))
    resident = list(loader(data, device="cuda", cache="device"))
    read = list(loader(data, device="cuda", cache="none"))
    for batch in pinned + read:
        assert batch.buffer is not None
        assert batch.buffer.is_pinned()
        assert batch.ids.is_pinned()
    for batch in resident:
        assert batch.label.is_cuda
        assert batch.ids.is_cuda
        assert batch.offsets is None or batch.offsets.is_cuda
    assert stream(pinned) == stream(read) == stream(resident) == expected


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("workers", [0, 2])
def test_torchdata_keeps_the_state_of_every_worker(tmp_path: Path, workers: int) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader
    write_dataset(tmp_path / "data", RAGGED)
    served = [
        stateful(loader(tmp_path / "data"), batch_size=None, num_workers=workers) for _ in range(3)
    ]
    begun = iter(served[0])
    taken = [contents(next(begun)) for _ in range(6)]
    served[1].load_state_dict(served[0].state_dict())
    assert taken + stream(served[1]) == stream(served[2])
