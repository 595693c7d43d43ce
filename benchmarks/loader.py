"""How fast batches come, beside pyarrow reading the same columns and what else one would write.

    python benchmarks/loader.py DIR [--rounds 9] [--batch-size 8192] [--threads 2] [--peers]
        [--peer-rows 1000000] [--merlin PYTHON]
    torchrun --nproc-per-node 2 benchmarks/loader.py DIR

The floor reads every row group of the train split into Arrow tables, each by one of as many threads
as the loader has, and makes nothing of them; pyarrow's own threads divide the columns of one row
group after the other. The floor of memory copies as many bytes as the batches have, by NumPy in as
many threads. The loader gives checked batches: labels, dense features and ids in one buffer, hot
and cold ones interleaved. Contenders take turns; the median round counts. "CPU" is processor time
by the floor's, which tells more on a machine that others use too.

What limits many cores is what cannot run at once. "taker" is the processor time of the thread that
takes the batches, and "interpreter" how long a thread that only computes in Python stands still
(the least of five rounds), in milliseconds for a million samples. Amdahl's law extrapolates from
them to 16 cores.

With --peers, `plain` is the IterableDataset that one would write over the same files, by
`iter_batches`, alone and in DataLoader's workers. On a copy of the first rows as pyarrow writes
them by default, litdata's Parquet streaming is measured where it is installed, and NVTabular's
loader by a Python that has it.

Under torchrun, the processes read the same batches in step, each decoding everything and then
sharing windows; the processor time of all together counts.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from fae.format.manifest import Manifest
from fae_trainer.data.cache import estimate_decoded_bytes
from fae_trainer.data.decoding import list_columns
from fae_trainer.data.loader import HotColdLoader
from fae_trainer.data.sharing import share_windows
from fae_trainer.embedding.distributed import Ranks, join_ranks

#: What the loader's rates are divided by, from Parquet and from memory.
FLOOR, MEMORY_FLOOR = "pyarrow, a row group a thread", "NumPy copies memory"


class Plain(IterableDataset[tuple[torch.Tensor, ...]]):
    """Files in their order, each record batch stacked into tensors; workers take files in turn."""

    def __init__(self, files: list[Path], manifest: Manifest, batch_size: int) -> None:
        """Batches of at most `batch_size` rows."""
        self.files, self.features, self.batch_size = files, manifest.features, batch_size

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        """Label, dense and ids."""
        info = get_worker_info()
        mine = self.files[info.id :: info.num_workers] if info else self.files
        dense = list(self.features.dense)
        sparse = [feature.name for feature in self.features.sparse]
        names = [self.features.label, *dense, *sparse]
        for file in mine:
            with pq.ParquetFile(file) as parquet:
                for batch in parquet.iter_batches(self.batch_size, columns=names):
                    label = torch.from_numpy(batch.column(0).to_numpy().astype(np.float32))
                    yield label, stacked(batch, dense), stacked(batch, sparse)


def stacked(batch: pa.RecordBatch, names: list[str]) -> torch.Tensor:
    """Columns side by side."""
    return torch.from_numpy(np.stack([batch.column(name).to_numpy() for name in names], axis=1))


def read_by_pool(files: list[Path], manifest: Manifest, threads: int) -> int:
    """Rows that pyarrow read, a row group a thread."""
    footers = {file: pq.read_metadata(file) for file in files}
    groups = [(file, group) for file in files for group in range(footers[file].num_row_groups)]

    def read(group: tuple[Path, int]) -> int:
        with pq.ParquetFile(group[0], metadata=footers[group[0]]) as parquet:
            columns = list_columns(manifest)
            table = parquet.read_row_groups([group[1]], columns=columns, use_threads=False)
            return int(table.num_rows)

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(read, groups))


def read_alone(files: list[Path], manifest: Manifest) -> int:
    """Rows that pyarrow read by its own threads."""
    rows = 0
    for file in files:
        with pq.ParquetFile(file) as parquet:
            for group in range(parquet.num_row_groups):
                rows += parquet.read_row_group(group, columns=list_columns(manifest)).num_rows
    return rows


def copied_by_pool(source: npt.NDArray[np.uint8], rows: int, threads: int) -> int:
    """Rows whose bytes NumPy copied; `source` has those of a batch a row."""

    def copy(first: int) -> None:
        into = np.empty_like(source[0])
        for number in range(first, len(source), threads):
            np.copyto(into, source[number])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(copy, range(threads)))
    return rows


@contextlib.contextmanager
def computing(stalls: list[float]) -> Iterator[None]:
    """Compute in a thread during the block; append the seconds that it did not run though it could.

    Time in the queue for a processor, which the kernel counts, is none of them.
    """
    interval, end = sys.getswitchinterval(), threading.Event()

    def compute() -> None:
        state = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        begin, before = time.perf_counter(), state.read_text().split()
        while not end.is_set():
            sum(range(50))
        after = state.read_text().split()
        used = sum(int(b) - int(a) for a, b in zip(before[:2], after[:2], strict=True))
        stalls.append(time.perf_counter() - begin - used / 1e9)

    thread = threading.Thread(target=compute)
    sys.setswitchinterval(1e-4)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        sys.setswitchinterval(interval)


def counted(batches: Iterable[Any]) -> int:
    """Rows of all batches."""
    return sum(len(batch) if hasattr(batch, "label") else len(batch[0]) for batch in batches)


def copied(files: list[Path], manifest: Manifest, rows: int, folder: Path) -> Path:
    """Write the first `rows` of the files to one that older readers can read."""
    parts = [pq.read_table(one, columns=list_columns(manifest), partitioning=None) for one in files]
    table = pa.concat_tables(parts).slice(0, rows)
    pq.write_table(table, folder / "part.parquet", row_group_size=65_536)
    return folder / "part.parquet"


def merlin_rate(python: Path, copy: Path, batch_size: int, rounds: int) -> float:
    """Rows/s of NVTabular's loader, in a process of its own."""
    script = Path(__file__).with_name("merlin_loader.py")
    command = [python, script, copy, str(batch_size), str(rounds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.splitlines()[-1])


def litdata_rows(folder: Path, batch_size: int) -> int:
    """Rows that litdata streams from a folder, whose index is made beforehand."""
    from litdata import StreamingDataLoader, StreamingDataset, index_parquet_dataset
    from litdata.streaming.item_loader import ParquetLoader

    if not (folder / "index.json").exists():
        index_parquet_dataset(str(folder))
    dataset = StreamingDataset(str(folder), item_loader=ParquetLoader(), shuffle=False)
    return sum(
        len(batch[0] if isinstance(batch, list) else next(iter(batch.values())))
        for batch in StreamingDataLoader(dataset, batch_size=batch_size)
    )


def contenders(
    options: argparse.Namespace, files: list[Path], manifest: Manifest, copy: Path
) -> dict[str, Callable[[], int]]:
    """Return what is measured: name → function that reads and returns the number of rows."""
    data, size, threads = options.data, options.batch_size, options.threads
    rows = sum(leaf.rows for leaf in manifest.splits["train"].values())
    row_bytes = estimate_decoded_bytes(manifest, "train") // rows
    source = np.full((-(-rows // size), size * row_bytes), 1, dtype=np.uint8)

    def loader(**chosen: Any) -> HotColdLoader:
        return HotColdLoader(data, batch_size=size, threads=threads, **chosen)

    read, ordered = loader(cache="none"), loader(cache="none", shuffle=False)
    kept = loader(cache="host")
    found: dict[str, Callable[[], int]] = {
        FLOOR: lambda: read_by_pool(files, manifest, threads),
        "pyarrow, its own threads": lambda: read_alone(files, manifest),
        "loader": lambda: counted(read),
        "loader, order of the files": lambda: counted(ordered),
        MEMORY_FLOOR: lambda: copied_by_pool(source, rows, threads),
        "loader, kept on the host": lambda: counted(kept),
    }
    if not options.peers:
        return found
    plain = Plain(files, manifest, size)
    workers = DataLoader(read, batch_size=None, num_workers=2)
    found |= {
        "loader in 2 workers": lambda: counted(workers),
        "plain IterableDataset": lambda: counted(plain),
        "plain, DataLoader, 2 workers": lambda: counted(
            DataLoader(plain, batch_size=None, num_workers=2)
        ),
    }
    if importlib.util.find_spec("litdata"):
        found["litdata"] = lambda: litdata_rows(copy.parent, size)
    return found


@dataclass
class Figures:
    """A contender's rounds: rows/s, and seconds of processor and of the taking thread a row."""

    rates: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    taker: list[float] = field(default_factory=list)

    def add(self, read: Callable[[], int]) -> None:
        """Measure a round."""
        begin, own, thread = time.perf_counter(), time.process_time(), time.thread_time()
        rows = read()
        self.rates.append(rows / (time.perf_counter() - begin))
        self.busy.append((time.process_time() - own) / rows)
        self.taker.append((time.thread_time() - thread) / rows)


def main() -> None:
    """Print rates and their ratios to the floor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", metavar="DIR", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch-size", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--peer-rows", type=int, default=1_000_000)
    parser.add_argument("--merlin", type=Path, metavar="PYTHON")
    options = parser.parse_args()
    with join_ranks() as ranks:
        if ranks.size > 1:
            measure_ranks(options, ranks)
            return
    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder))


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Take turns, and print."""
    manifest = Manifest.read(options.data)
    leaves = manifest.splits["train"].values()
    files = [options.data / file.path for leaf in leaves for file in leaf.files]
    copy = folder / "part.parquet"
    if options.peers or options.merlin:
        copied(files, manifest, options.peer_rows, folder)
    running = contenders(options, files, manifest, copy)
    figures = {name: Figures() for name in running}
    for turn in range(options.rounds + 1):
        for name, read in running.items():
            if turn:
                figures[name].add(read)
            else:  # warms up
                read()
    if options.merlin:
        rate = merlin_rate(options.merlin, copy, options.batch_size, options.rounds)
        figures["NVTabular's loader"] = Figures([rate])
    print(
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {options.threads} threads, "
        f"load {os.getloadavg()[0]:.1f}, pyarrow {pa.__version__}, torch {torch.__version__}; "
        f"batches of {options.batch_size:,}"
    )
    for name, found in figures.items():
        floor = figures[MEMORY_FLOOR if "memory" in name or "kept" in name else FLOOR]
        ratio = median(a / b for a, b in zip(found.rates, floor.rates, strict=False))
        line = f"{name:30} {median(found.rates):14,.0f} rows/s  ratio {ratio:6.3f}"
        if found.busy and "workers" not in name:
            line += f"  CPU {median(found.busy) / median(floor.busy):6.2f}"
        if name in ("loader", "loader, kept on the host"):
            line += "  " + describe_serial(found, options, "host" if "kept" in name else "none")
        print(line)


def describe_serial(found: Figures, options: argparse.Namespace, cache: str) -> str:
    """Say what cannot run at once, and what follows for 16 cores."""
    stalls: list[float] = []
    threads = max(options.threads - 1, 1)  # one core computes
    loader = HotColdLoader(
        options.data, batch_size=options.batch_size, threads=threads, cache=cache
    )
    rows = counted(loader)
    for _ in range(5):
        with computing(stalls):
            counted(loader)
    taker, held = median(found.taker), min(stalls) / rows
    many = 1 / (max(taker, held) + (median(found.busy) - max(taker, held)) / 16)
    return (
        f"taker {taker * 1e9:.2f} ms/M, interpreter {held * 1e9:.1f} ms/M, 16 cores by Amdahl "
        f"{many / 1e6:.1f} M rows/s"
    )


def measure_ranks(options: argparse.Namespace, ranks: Ranks) -> None:
    """Read in step with the other processes, each decoding everything and then sharing; print."""
    for shares in (False, True):
        given = (ranks.rank, ranks.size) if shares else (0, 1)
        with share_windows(*given, ranks.gather_objects, "none") as sharing:
            loader = HotColdLoader(
                options.data, batch_size=options.batch_size, threads=options.threads, cache="none",
                sharing=sharing, part=given,
            )  # fmt: skip
            busy, rates = [], []
            for turn in range(options.rounds + 1):
                ranks.gather_objects(None)
                begin, own, rows = time.perf_counter(), time.process_time(), 0
                for number, batch in enumerate(loader):
                    rows += batch.samples
                    if number % 8 == 0:
                        ranks.gather_objects(None)  # as training does, in each step
                total = sum(ranks.gather_objects(time.process_time() - own))
                if turn:
                    busy.append(total / rows)
                    rates.append(rows / (time.perf_counter() - begin))
        if ranks.is_first:
            what = "each window decoded once" if shares else "each process decodes everything"
            print(
                f"{ranks.size} processes, {what:32} {median(rates):14,.0f} rows/s  "
                f"{median(busy) * 1e6:.3f} s of processors/M rows"
            )


if __name__ == "__main__":
    main()
