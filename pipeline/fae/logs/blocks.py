"""Cut logs into blocks of whole lines, one block per task, and read the blocks' text.

A record is a line. A quoted field may hold the separator but, unless the schema says so, never a
line break, so a file can be cut at any line, and every malformed line has the number that an editor
shows.
"""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import IO

import pyarrow.parquet as pq

from fae.format.errors import LogError
from fae.logs.compression import explain_read_errors, read_to_line_end
from fae.logs.files import Log, open_parquet, open_text
from fae.storage.decoding import ParquetSource, decoded_bytes_held
from fae.storage.remote import open_file, read_range

#: The bytes of a text.
Text = bytes | memoryview

BLOCK_BYTES = 32 << 20
_LARGE_GROUP_REMEDY = "If the log is sound, write it with fewer rows in a row group."


@dataclass(frozen=True)
class Block:
    """What one task reads of a log: bytes [start, stop) of whole lines, or row group `start`.

    A compressed log, or one whose records hold line breaks, is one block, read as a stream; its
    `stop` is -1.
    """

    log: Log
    start: int
    stop: int


def cut_blocks(log: Log, block_bytes: int = BLOCK_BYTES) -> list[Block]:
    """Cut a log at line ends into blocks of about `block_bytes`, in order and without gaps."""
    if log.parquet:
        with open_parquet(log) as file:
            return [Block(log, group, group + 1) for group in range(file.num_row_groups)]
    if log.compression != "plain" or log.joins_lines:
        return [Block(log, log.start, -1)]
    cuts = [log.start]
    with explain_read_errors(log.name, "plain"), open_file(log.url) as file:
        while cuts[-1] + block_bytes < log.bytes:
            at = cuts[-1] + block_bytes
            file.seek(at)
            read_to_line_end(file, log.name, at)
            cuts.append(min(file.tell(), log.bytes))
    if cuts[-1] < log.bytes:
        cuts.append(log.bytes)
    return [Block(log, start, stop) for start, stop in itertools.pairwise(cuts)]


def read_block(block: Block, text_bytes: int = BLOCK_BYTES) -> Iterator[Text]:
    """Yield the block's bytes as texts of whole lines: one text, or of a compressed log several.

    A text is valid until the next one is read, of any block, by this thread. While the caller works
    on a compressed log's text, another thread decompresses the next one. Raises LogError where the
    log is damaged or has become shorter.
    """
    log = block.log
    if log.compression == "plain":
        with explain_read_errors(log.name, "plain"):
            text = read_range(log.url, block.start, block.stop - block.start)
        if len(text) != block.stop - block.start:
            raise LogError(
                f"{log.name} shrank while it was read. Run again when nothing writes to it."
            )
        yield text
        return
    with (
        explain_read_errors(log.name, log.compression),
        open_text(log) as stream,
        ThreadPoolExecutor(1) as decompressor,
    ):
        stream.read(log.start)
        next_text = decompressor.submit(_read_text, stream, log.name, text_bytes)
        while compressed_text := next_text.result():
            next_text = decompressor.submit(_read_text, stream, log.name, text_bytes)
            yield compressed_text


def row_groups_held(
    log: Log, file: pq.ParquetFile, groups: Sequence[int], names: Sequence[str], rows_at_once: int
) -> AbstractContextManager[None]:
    """Allow the block to decode row groups of a log, so many rows at a time of the fields `names`.

    Waits until other threads of the process leave memory for them. Raises LogError where they
    would take too much of it.
    """
    source = ParquetSource(log.name, partial(open_parquet, log), LogError, _LARGE_GROUP_REMEDY)
    return decoded_bytes_held(source, file.metadata, groups, names, rows_at_once)


def _read_text(stream: IO[bytes], name: str, text_bytes: int) -> bytes:
    """Return about `text_bytes` of a stream, up to the end of a line; b"" at the stream's end."""
    text = stream.read(text_bytes)
    return text + read_to_line_end(stream, name) if text else text
