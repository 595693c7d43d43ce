"""A synthetic log as a file: chunks drawn apart, written in order, renamed when whole."""

import io
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import polars as pl
import pyarrow as pa

from fae.format.errors import ParameterError
from fae.synthetic.avazu import COLUMNS as AVAZU_COLUMNS
from fae.synthetic.avazu import rows_like_avazu
from fae.synthetic.criteo import rows_like_criteo
from fae.synthetic.hashing import Floats
from fae.synthetic.label import BINS, best_auc, tallied

CHUNK_ROWS = 1 << 16


# Draws rows [first, first + rows) of a log of `total`, from (rng, rows, first, total): columns in
# the file's order and the true probabilities.
Rows = Callable[[np.random.Generator, int, int, int], tuple[pl.DataFrame, Floats]]


@dataclass(frozen=True)
class Kind:
    """How one kind of log is drawn and written."""

    rows: Rows
    separator: str
    header: str


KINDS = {
    "criteo": Kind(lambda rng, rows, _first, _total: rows_like_criteo(rng, rows), "\t", ""),
    "avazu": Kind(rows_like_avazu, ",", ",".join(AVAZU_COLUMNS) + "\n"),
}


@dataclass(frozen=True)
class SyntheticLog:
    """A written log; `best_auc` is what a model scores that knows the true probabilities."""

    path: Path
    rows: int
    bytes: int
    best_auc: float


def write_log(
    kind: str,
    rows: int,
    path: Path,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> SyntheticLog:
    """Write a seeded log that looks like Criteo's or Avazu's; `.gz` and `.zst` compress.

    The same kind, rows and seed give the same bytes, whatever the machine's cores. Each chunk of
    65,536 rows has a random stream of its own, so a longer log begins with the shorter one's rows
    (but for Avazu's hours, which spread ten days over any number of rows). Ids and their effects
    do not depend on the seed: two seeds give two samples of one world. `progress` is told of rows
    as they are written. Raises ParameterError for an unknown kind, a count or a seed out of range.
    """
    if kind not in KINDS:
        raise ParameterError(f"kind {kind!r} is unknown: choose {' or '.join(sorted(KINDS))}")
    if rows < 1:
        raise ParameterError(f"rows is {rows}: a log needs at least 1")
    if seed < 0:
        raise ParameterError(f"seed is {seed}: give 0 or more")
    tally = np.zeros((2, BINS))
    with _whole_file(path) as file:
        file.write(KINDS[kind].header.encode())
        for text, of_chunk, count in _chunks(KINDS[kind], rows, seed):
            file.write(text)
            tally += of_chunk
            if progress is not None:
                progress(count)
    return SyntheticLog(path, rows, path.stat().st_size, best_auc(tally))


def _chunks(kind: Kind, rows: int, seed: int) -> Iterator[tuple[bytes, Floats, int]]:
    """(text, tally, rows) of every chunk in order; a few are drawn ahead, at once."""
    threads = min(4, os.cpu_count() or 1)
    ahead: deque[Future[tuple[bytes, Floats, int]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, rows, CHUNK_ROWS):
            ahead.append(pool.submit(_chunk, kind, first, rows, seed))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _chunk(kind: Kind, first: int, total: int, seed: int) -> tuple[bytes, Floats, int]:
    """One chunk's text: always drawn whole, so that its rows do not depend on the log's length."""
    sequence = np.random.SeedSequence(seed, spawn_key=(first // CHUNK_ROWS,))
    rng = np.random.Generator(np.random.SFC64(sequence))
    frame, probability = kind.rows(rng, CHUNK_ROWS, first, total)
    rows = min(CHUNK_ROWS, total - first)
    text = io.BytesIO()
    frame.head(rows).write_csv(text, separator=kind.separator, include_header=False)
    return text.getvalue(), tallied(probability[:rows]), rows


@contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write beside `path`, which takes its name if all goes well, else vanishes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as raw, _compressed(raw, path.suffix) as file:
            yield file
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _compressed(raw: BinaryIO, suffix: str) -> Iterator[BinaryIO]:
    """The stream that compresses as the suffix says; no name or time goes into the bytes."""
    codec = {".gz": "gzip", ".zst": "zstd"}.get(suffix)
    if codec is None:
        yield raw
    else:
        with pa.CompressedOutputStream(pa.PythonFile(raw, mode="w"), codec) as file:
            yield cast(BinaryIO, file)
