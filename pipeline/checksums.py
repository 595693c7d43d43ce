"""Checksums: logs', which tell a rerun whether there is anything to do, and a data set's files'."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import xxhash

from pipeline.cluster import Cluster
from pipeline.errors import DatasetError
from pipeline.filesystem import piece, shown
from pipeline.logs import Log
from pipeline.manifest import DataFile, check_links
from pipeline.packing import whole
from pipeline.storage import Folder

_CHUNK = 32 << 20


@dataclass(frozen=True)
class _Chunk:
    """Some bytes of a file, from `start` on."""

    url: str = field(repr=False)
    start: int


def checksums(logs: Sequence[Log], cluster: Cluster) -> list[str]:
    """For each file, as it lies on disk, xxh3-128 over that of its chunks of 32 MiB."""
    starts = [range(0, log.bytes, _CHUNK) for log in logs]
    chunks = [
        _Chunk(log.url, start) for log, some in zip(logs, starts, strict=True) for start in some
    ]
    found = iter(cluster.run("checksum", _checksum, chunks))
    return [
        xxhash.xxh3_128_hexdigest("".join(itertools.islice(found, len(some))).encode())
        for some in starts
    ]


def _checksum(chunk: _Chunk) -> str:
    with whole(shown(chunk.url), "plain"):
        return xxhash.xxh3_128_hexdigest(piece(chunk.url, chunk.start, _CHUNK))


@contextmanager
def checked(dataset: Folder, file: DataFile) -> Iterator[Path]:
    """A path with a file of a data set, to be read in the block, its checksum compared.

    Raises DatasetError where it is absent, damaged or a link out of the data set.
    """
    if not dataset.remote:
        check_links(dataset.path, [file.path])
    where = dataset / file.path
    try:
        with dataset.read(file.path) as path:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if digest != file.sha256:
                raise DatasetError(
                    f"{where} is damaged: its sha256 is not the manifest's. See what `fae verify` "
                    "says, and copy or prepare the data set again."
                )
            yield path
    except FileNotFoundError:
        raise DatasetError(f"{where} is absent, and the manifest names it.") from None
