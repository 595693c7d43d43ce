"""Compute checksums of logs, which tell a rerun whether there is anything to do."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import xxhash

from fae.execution.executor import Executor
from fae.logs.compression import explain_read_errors
from fae.logs.files import Log
from fae.storage.remote import iterate_range, redact_url

_CHUNK_BYTES = 32 << 20


@dataclass(frozen=True)
class _Chunk:
    """The bytes of a file from `start` on that one task reads."""

    url: str = field(repr=False)
    start: int


def checksum_logs(logs: Sequence[Log], executor: Executor) -> list[str]:
    """Return a checksum of each file's bytes on disk: xxh3-128 over those of its 32 MiB chunks."""
    chunks = [[_Chunk(log.url, at) for at in range(0, log.bytes, _CHUNK_BYTES)] for log in logs]
    tasks = list(itertools.chain.from_iterable(chunks))
    checksums = iter(executor.run("checksum", _checksum_chunk, tasks))
    return [
        xxhash.xxh3_128_hexdigest("".join(itertools.islice(checksums, len(own))).encode())
        for own in chunks
    ]


def _checksum_chunk(chunk: _Chunk) -> str:
    digest = xxhash.xxh3_128()
    with explain_read_errors(redact_url(chunk.url), "plain"):
        for piece in iterate_range(chunk.url, chunk.start, _CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()
