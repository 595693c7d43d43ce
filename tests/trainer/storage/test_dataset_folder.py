"""Training on a data set in S3 is training on a local one, whatever requests fail."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from fae.format.errors import DatasetError, ParameterError, StorageError
from fae.storage.folder import Folder
from fae_trainer.data.loader import HotColdLoader
from fae_trainer.run.evaluate import evaluate
from fae_trainer.storage import block_cache, dataset_folder, object_store
from fae_trainer.storage.block_cache import BlockCache
from tests.support.object_store import asked, draw_seed
from tests.support.object_store import object_store as serve
from tests.support.trainer_data import RAGGED, write_dataset
from tests.support.trainer_runs import assert_same, run, state

KINDS = "500,503,dropped"
TIMES = {"seconds", "samples_per_second", "sync_seconds"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server that fails at random, with a data set, and the same data set on the disk.

    Blocks are smaller than its files, and few are kept.
    """
    data = tmp_path_factory.mktemp("store") / "data"
    write_dataset(data, RAGGED)
    with (
        pytest.MonkeyPatch.context() as patch,
        serve(share=0.07, seed=draw_seed(0.07, KINDS, 50, 2), kinds=KINDS) as endpoint,
    ):
        for module in (object_store, block_cache):
            patch.setattr(module, "BLOCK_BYTES", 2500)
        patch.setattr(object_store, "BlockCache", lambda: BlockCache(max_bytes=5 * 2500))
        upload(data, "s3://data/set")
        forget()
        yield endpoint, data
        forget()


def forget() -> None:
    """Drop the client and what was read."""
    object_store._start.cache_clear()
    object_store._open.cache_clear()


def upload(local: Path, url: str) -> None:
    folder = Folder.of(url)
    for path in sorted(local.rglob("*")):
        if path.is_file():
            with folder.write(str(path.relative_to(local))) as copy:
                copy.write_bytes(path.read_bytes())


def untimed(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name not in TIMES}


def test_a_store_that_fails_at_random_gives_the_losses_of_a_disk(
    store: tuple[str, Path], tmp_path: Path
) -> None:
    endpoint, data = store
    metrics = [
        run(place, tmp_path / name, cache="none", verify=True)
        for place, name in ((data, "local"), ("s3://data/set", "remote"))
    ]
    scores = [evaluate(place, tmp_path / "local", "test") for place in (data, "s3://data/set/")]
    counts = asked(endpoint, "/faults")
    assert untimed(metrics[0]) == untimed(metrics[1])
    assert scores[0] == scores[1]
    one, other = (state(tmp_path / name) for name in ("local", "remote"))
    assert_same(one["rows"], other["rows"])
    assert counts["answered"] > 50
    assert sum(counts.values()) - counts["answered"] > 1, counts


def test_what_is_wrong_with_a_remote_data_set_is_told(
    store: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DatasetError, match="s3://data/none is not a finished data set"):
        HotColdLoader("s3://data/none")
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "another")
        forget()
        with pytest.raises(StorageError, match="s3://data/set/_SUCCESS cannot be read"):
            HotColdLoader("s3://data/set")
    forget()
    loader = HotColdLoader("s3://data/set", cache="none")
    served = DataLoader(loader, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(ParameterError, match="multiprocessing_context='forkserver'"):
        next(iter(served))
    file = loader.manifest.splits["train"]["cold"].files[0]
    upload(store[1], "s3://data/spoilt")
    for content, message in (
        (b"x" * file.bytes, "its sha256 is not the manifest's"),
        (b"x", "is damaged: 1 bytes, not"),
    ):
        with Folder.of("s3://data/spoilt").write(file.path) as copy:
            copy.write_bytes(content)
        forget()
        with pytest.raises(DatasetError, match=message):
            list(HotColdLoader("s3://data/spoilt", cache="none", verify=True))


def test_blocks_that_are_used_stay_and_never_exceed_their_bound() -> None:
    cache = BlockCache(max_bytes=3 * block_cache.BLOCK_BYTES)
    fetched = []

    def read(number: int) -> bytes:
        def fetch() -> bytes:
            fetched.append(number)
            return bytes([number]) * 10

        return cache.read(number, fetch)

    for number in (0, 1, 2, 0, 3, 0, 1):
        assert read(number) == bytes([number]) * 10
    assert fetched == [0, 1, 2, 3, 1]
    assert cache._file.seek(0, io.SEEK_END) <= 3 * block_cache.BLOCK_BYTES


def test_a_file_is_read_from_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(256)) * 10
    source = object_store.RemoteFile("s3://a/b", len(content))
    size = 100
    monkeypatch.setattr(object_store, "BLOCK_BYTES", size)
    blocks = {at // size: content[at : at + size] for at in range(0, len(content), size)}
    monkeypatch.setattr(
        object_store.RangeReader, "_read_block", lambda self, number: blocks[number]
    )
    plain, remote = io.BytesIO(content), source.open()
    chooser = random.Random(0)
    for _ in range(200):
        at, count = chooser.randrange(len(content) + 5), chooser.randrange(size * 3)
        whence = chooser.choice((io.SEEK_SET, io.SEEK_END))
        offset = at if whence == io.SEEK_SET else -min(at, len(content))
        assert remote.seek(offset, whence) == plain.seek(offset, whence)
        assert remote.read(count) == plain.read(count)
        assert remote.tell() == plain.tell()
    assert isinstance(dataset_folder.open_folder("s3://a/b/"), dataset_folder.RemoteFolder)
