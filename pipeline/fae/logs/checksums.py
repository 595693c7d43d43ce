"""Checksums of logs, which tell a rerun whether there is anything to do."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import xxhash

from fae.execution.executor import Executor
from fae.logs.compression import explain_read_errors
from fae.logs.files import Log
from fae.storage.remote import iterate_range, redact_url

_CHUNK = 32 << 20


@dataclass(frozen=True)
class _Chunk:
    """Some bytes of a file, from `start` on."""

    url: str = field(repr=False)
    start: int


def checksum_logs(logs: Sequence[Log], executor: Executor) -> list[str]:
    """For each file, as it lies on disk, xxh3-128 over that of its chunks of 32 MiB."""
    starts = [range(0, log.bytes, _CHUNK) for log in logs]
    chunks = [
        _Chunk(log.url, start) for log, some in zip(logs, starts, strict=True) for start in some
    ]
    found = iter(executor.run("checksum", _checksum, chunks))
    return [
        xxhash.xxh3_128_hexdigest("".join(itertools.islice(found, len(some))).encode())
        for some in starts
    ]


def _checksum(chunk: _Chunk) -> str:
    digest = xxhash.xxh3_128()
    with explain_read_errors(redact_url(chunk.url), "plain"):
        for piece in iterate_range(chunk.url, chunk.start, _CHUNK):
            digest.update(piece)
    return digest.hexdigest()
