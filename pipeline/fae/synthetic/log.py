"""Write a synthetic log: chunks are drawn in parallel and written in order, whole or not at all."""

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

from fae.format.atomic_files import replace_file
from fae.format.errors import ParameterError
from fae.synthetic.avazu import COLUMNS as AVAZU_COLUMNS
from fae.synthetic.avazu import draw_avazu_rows
from fae.synthetic.criteo import draw_criteo_rows
from fae.synthetic.distributions import Floats
from fae.synthetic.label import BINS, compute_best_auc, tally

CHUNK_ROWS = 1 << 16


#: Draws rows [first, first + rows) of a log of `total`, from (rng, rows, first, total): columns in
#: the file's order and the true probabilities.
DrawRows = Callable[[np.random.Generator, int, int, int], tuple[pl.DataFrame, Floats]]


@dataclass(frozen=True)
class Kind:
    """How one kind of log is drawn and written."""

    draw_rows: DrawRows
    separator: str
    header: str


KINDS = {
    "criteo": Kind(lambda rng, rows, _first, _total: draw_criteo_rows(rng, rows), "\t", ""),
    "avazu": Kind(draw_avazu_rows, ",", ",".join(AVAZU_COLUMNS) + "\n"),
}


@dataclass(frozen=True)
class SyntheticLog:
    """A written log; `best_auc` is the score of a model that knows the true probabilities."""

    path: Path
    rows: int
    bytes: int
    best_auc: float


def write_log(
    kind: str, rows: int, path: Path, seed: int, progress: Callable[[int], None] | None = None
) -> SyntheticLog:
    """Write a seeded log that looks like Criteo's or Avazu's; `.gz` and `.zst` compress.

    The same kind, rows and seed give the same bytes on any number of cores. Each chunk of 65,536
    rows has a random stream of its own, so a longer log begins with the shorter one's rows (except
    for Avazu's hours, which spread ten days over any number of rows). Ids and their effects do not
    depend on the seed: two seeds give two samples of one population. `progress` is called with the
    number of rows written since its last call. Raises ParameterError for an unknown kind and for a
    number of rows or a seed out of range, and StorageError where the disk is full.
    """
    if kind not in KINDS:
        raise ParameterError(f"Unknown kind {kind!r}. Choose {' or '.join(sorted(KINDS))}.")
    if rows < 1:
        raise ParameterError(f"--rows {rows}: must be at least 1.")
    if seed < 0:
        raise ParameterError(f"--seed {seed}: must be 0 or more.")
    total = np.zeros((2, BINS))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as partial, _open_compressed(partial, path.suffix) as file:
        file.write(KINDS[kind].header.encode())
        for text, chunk_tally, chunk_rows in _draw_chunks(KINDS[kind], rows, seed):
            file.write(text)
            total += chunk_tally
            if progress is not None:
                progress(chunk_rows)
    return SyntheticLog(path, rows, path.stat().st_size, compute_best_auc(total))


def _draw_chunks(kind: Kind, rows: int, seed: int) -> Iterator[tuple[bytes, Floats, int]]:
    """Yield (text, tally, rows) of every chunk in order; threads draw a few chunks ahead."""
    threads = min(4, os.cpu_count() or 1)
    ahead: deque[Future[tuple[bytes, Floats, int]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, rows, CHUNK_ROWS):
            ahead.append(pool.submit(_draw_chunk, kind, first, rows, seed))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _draw_chunk(kind: Kind, first: int, total: int, seed: int) -> tuple[bytes, Floats, int]:
    """Draw one chunk; always whole, so that its rows do not depend on the log's length."""
    sequence = np.random.SeedSequence(seed, spawn_key=(first // CHUNK_ROWS,))
    rng = np.random.Generator(np.random.SFC64(sequence))
    frame, probability = kind.draw_rows(rng, CHUNK_ROWS, first, total)
    rows = min(CHUNK_ROWS, total - first)
    text = io.BytesIO()
    frame.head(rows).write_csv(text, separator=kind.separator, include_header=False)
    return text.getvalue(), tally(probability[:rows]), rows


@contextmanager
def _open_compressed(path: Path, suffix: str) -> Iterator[BinaryIO]:
    """Open a file that compresses as `suffix` says; no name or time goes into the bytes."""
    codec = {".gz": "gzip", ".zst": "zstd"}.get(suffix)
    with path.open("wb") as raw:
        if codec is None:
            yield raw
        else:
            with pa.CompressedOutputStream(pa.PythonFile(raw, mode="w"), codec) as file:
                yield cast(BinaryIO, file)
