"""How fast batches come, beside pyarrow reading the same columns and what else one would write.

    python benchmarks/loader.py DIR [--rounds 9] [--batch-size 2048] [--peer-rows 1000000]
        [--merlin PYTHON]

The floor reads every row group of the train split into Arrow tables with all threads and makes
nothing of them. The loader gives checked batches: labels, dense features and ids as tensors, hot
and cold ones interleaved. `plain` is the IterableDataset that one would write over the same files,
by `iter_batches`, alone and in DataLoader's workers. On a copy of the first rows as pyarrow writes
them by default, litdata's Parquet streaming is measured where it is installed, and NVTabular's
loader by a Python that has it. Contenders take turns; the median round counts. "CPU" is processor
time by the floor's, which tells more on a machine that others use too.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from fae.format.manifest import Manifest
from fae_trainer.data.decoding import list_columns
from fae_trainer.data.loader import HotColdLoader


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


def read_alone(files: list[Path], manifest: Manifest) -> int:
    """Rows that pyarrow read."""
    rows = 0
    for file in files:
        with pq.ParquetFile(file) as parquet:
            for group in range(parquet.num_row_groups):
                rows += parquet.read_row_group(group, columns=list_columns(manifest)).num_rows
    return rows


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
    data: Path, files: list[Path], manifest: Manifest, size: int, copy: Path
) -> dict[str, Callable[[], int]]:
    """Return what is measured: name → function that reads and returns the number of rows."""
    plain = Plain(files, manifest, size)
    shuffled = HotColdLoader(data, batch_size=size, cache="none")
    ordered = HotColdLoader(data, batch_size=size, cache="none", shuffle=False)
    kept = HotColdLoader(data, batch_size=size, cache="host")
    workers = DataLoader(shuffled, batch_size=None, num_workers=2)
    found = {
        "pyarrow alone (floor)": lambda: read_alone(files, manifest),
        "loader": lambda: counted(shuffled),
        "loader, order of the files": lambda: counted(ordered),
        "loader, kept on the host": lambda: counted(kept),
        "loader in 2 workers": lambda: counted(workers),
        "plain IterableDataset": lambda: counted(plain),
        "plain, DataLoader, 2 workers": lambda: counted(
            DataLoader(plain, batch_size=None, num_workers=2)
        ),
    }
    if importlib.util.find_spec("litdata"):
        found["litdata"] = lambda: litdata_rows(copy.parent, size)
    return found


def main() -> None:
    """Print rates and their ratios to the floor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", metavar="DIR", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--peer-rows", type=int, default=1_000_000)
    parser.add_argument("--merlin", type=Path, metavar="PYTHON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder))


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Take turns, and print."""
    data, size = options.data, options.batch_size
    manifest = Manifest.read(data)
    files = [data / f.path for leaf in manifest.splits["train"].values() for f in leaf.files]
    copy = copied(files, manifest, options.peer_rows, folder)
    running = contenders(data, files, manifest, size, copy)
    rates: dict[str, list[float]] = {name: [] for name in running}
    busy: dict[str, list[float]] = {name: [] for name in running}
    for turn in range(options.rounds + 1):
        for name, read in running.items():
            if name == "litdata" and turn > 1:
                continue
            begin, own = time.perf_counter(), time.process_time()
            rows = read()
            if turn:  # the first warms up
                rates[name].append(rows / (time.perf_counter() - begin))
                busy[name].append((time.process_time() - own) / rows)
    if options.merlin:
        name = "NVTabular's loader"
        rates[name] = [merlin_rate(options.merlin, copy, size, options.rounds)]
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    print(
        f"{platform.machine()}, {cores} cores, load {load:.1f}, pyarrow {pa.__version__}, torch "
        f"{torch.__version__}; batches of {size:,}; {options.peer_rows:,} rows for the peers"
    )
    floor = rates["pyarrow alone (floor)"]
    own = statistics.median(busy["pyarrow alone (floor)"])
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, floor, strict=False))
        apart = "workers" in name or name not in busy
        cpu = "     –" if apart else f"{statistics.median(busy[name]) / own:6.2f}"
        print(f"{name:30} {statistics.median(found):14,.0f} rows/s  ratio {ratio:6.3f}  CPU {cpu}")


if __name__ == "__main__":
    main()
