"""How long other tools take to count, remap and write, beside a copy of the log to Parquet.

    python benchmarks/peers.py [--rows 1000000] [--only duckdb,nvtabular] [--venvs DIR]
        [--limit 900] [--work DIR]

Every tool does its own version of the job on one synthetic Criteo log; the table says what it
leaves out. Each is a process in a virtual environment of its own, made where it is missing. The
copy, which parses and does nothing else, runs just before and just after each; ratios are to the
mean of the two. Other work on the machine changes processor time less than wall time. Before that,
each tool prepares a small log, and what it wrote is checked to be that log with its values renamed.
A tool that fails shows why. Point pip at builds of torch without CUDA where it would find others.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from checking import Reading, fault, parquet, torchrec
from measurement import CommandFailedError, Measurement, copy, last_line, machine, measure

import fae as package
from fae.synthetic.log import write_log

CHECKED_ROWS = 20_000
BUDGET = "32MiB"
HEADINGS = (
    *("tool", "version", "seconds", "rows/s", "copy, s", "ratio", "CPU s", "CPU ratio", "peak"),
    "leaves out",
)
SCRIPTS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Peer:
    """A tool: version, script, the pip arguments of its environment, and how its output is read."""

    version: str
    script: str
    installs: tuple[tuple[str, ...], ...]
    reading: Reading
    leaves_out: str


PEERS = {
    "polars": Peer(
        "2.1.0",
        "polars_expressions.py",
        (("polars==2.1.0",),),
        Reading(parquet("rows.parquet")),
        "by hand; no splits, hot/cold, shuffle, checked lines, checksums",
    ),
    "duckdb": Peer(
        "2.0.1",
        "duckdb_sql.py",
        (("duckdb==2.0.1",),),
        Reading(parquet("rows.parquet")),
        "by hand; as polars",
    ),
    "dask": Peer(
        "2026.8.0",
        "dask_dataframe.py",
        (("dask[dataframe]==2026.8.0", "pandas==3.1.1", "pyarrow==26.0.1"),),
        Reading(parquet("rows/*.parquet")),
        "by hand; as polars; categories stay text; all maps in memory",
    ),
    "nvtabular": Peer(
        "23.8.0",
        "nvtabular_workflow.py",
        (
            ("pip==23.2.1", "setuptools<70", "wheel"),
            (
                *("nvtabular==23.8.0", "merlin-core==23.8.0", "merlin-dataloader==23.8.0"),
                *("pandas==1.5.3", "numpy==1.24.4", "dask==2023.7.1", "distributed==2023.7.1"),
                *("dask-cuda==23.8.0", "numba==0.57.1", "pyarrow==12.0.1", "protobuf<4.24"),
                *("tensorflow-metadata==1.14.0", "scipy<1.12", "setuptools<70"),
                "npy-append-array==0.9.16",
            ),
        ),
        Reading(parquet("rows/*.parquet")),
        "CPU; no splits, hot/cold, shuffle, checked lines, checksums; int64 ids; "
        "categories stay text",
    ),
    "fuxictr": Peer(
        "2.3.10",
        "fuxictr_processor.py",
        (("fuxictr==2.3.10", "polars==1.40.1"),),
        Reading(parquet("criteo/train.parquet")),
        "no splits, hot/cold, shuffle, checked lines, checksums, counts on disk; int64 ids; all in "
        "memory; one transforming process of two cores",
    ),
    "torchrec": Peer(
        "1.9.2",
        "torchrec_scripts.py",
        (
            ("torch==2.14.1", "numpy<2.5", "tensordict", "torchmetrics==1.0.3", "tqdm"),
            ("pyre-extensions", "iopath", "setuptools<80"),
            ("--no-deps", "torchrec==1.9.2", "fbgemm-gpu-cpu==1.9.0"),
        ),
        Reading(torchrec, folded_below=2),
        "no hot/cold, checked lines, checksums, vocabulary of train alone or on disk; values seen "
        "once folded; ids through float32; uncompressed npy; all in memory, one core",
    ),
}
OURS = {
    "accesses": "nothing; splits, exact counts on train, the paper's rule, shuffle, checksums",
    "inputs": "nothing; the same with the rule for the most hot samples",
}


def environment(name: str, peer: Peer, venvs: Path) -> Path:
    """Return the interpreter of a peer's environment, which is created if necessary.

    Raises `CommandFailedError` with pip's last line.
    """
    home = venvs / name
    python, done = home / "bin" / "python", home / ".installed"
    wanted = repr(peer.installs)
    if done.exists() and done.read_text() == wanted:
        return python
    venvs.mkdir(parents=True, exist_ok=True)
    words = venvs / f"{name}.txt"
    base = shutil.which("python3.11") or sys.executable
    print(f"{name}: installing into {home}", file=sys.stderr)
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    for command in ([base, "-m", "venv", str(home)], *([*pip, *one] for one in peer.installs)):
        with words.open("wb") as out:
            ended = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT)
        if ended.returncode:
            raise CommandFailedError(f"not installed: {last_line(words)}")
    done.write_text(wanted)
    return python


def fae(rule: str) -> Peer:
    """FAE itself, whose environment is the one that runs now."""
    reading = Reading(parquet("split=train/**/*.parquet"), share=0.8)
    return Peer(package.__version__, rule, (), reading, OURS[rule])


def command(name: str, peer: Peer, options: argparse.Namespace) -> list[str]:
    """Return the command that prepares a log; `LOG` and `OUT` stand for paths.

    Raises `CommandFailedError` where it cannot be run here.
    """
    if not peer.installs:
        ours = [sys.executable, "-m", "fae", "prepare", "LOG", "--out", "OUT"]
        ours += ["--schema", "criteo-kaggle", "--hot-budget", BUDGET, "--rule", peer.script]
        return ours
    python = environment(name, peer, options.venvs.resolve())
    return [str(python), str(SCRIPTS / peer.script), "LOG", "OUT"]


def run(wanted: list[str], log: Path, work: Path, limit: float) -> Measurement:
    """Prepare `log` into a fresh `work`/out."""
    for made in (work / "out", work / "out.work"):
        shutil.rmtree(made, ignore_errors=True)
    paths = {"LOG": str(log), "OUT": str(work / "out")}
    return measure([paths.get(one, one) for one in wanted], work / "words.txt", limit)


def row(name: str, peer: Peer, logs: list[Path], options: argparse.Namespace) -> str:
    """Return a tool's row of the table: checked on the small log, measured on the large one."""
    small, large = logs
    work = options.work / "peers"
    work.mkdir(exist_ok=True)
    head = f"| {name} | {peer.version} |"
    floor = copy(large, work / "copy.parquet")
    try:
        wanted = command(name, peer, options)
        run(wanted, small, work, options.limit)
        if wrong := fault(peer.reading, work / "out", small):
            raise CommandFailedError(f"wrong output: {wrong}")
        before = measure(floor, work / "copy.txt")
        found = run(wanted, large, work, options.limit)
        after = measure(floor, work / "copy.txt")
    except CommandFailedError as error:
        return f"{head} {str(error).replace('|', '/')[:200]} | | | | | | | {peer.leaves_out} |"
    finally:
        shutil.rmtree(work, ignore_errors=True)
    mean, cpu = (before.seconds + after.seconds) / 2, (before.cpu + after.cpu) / 2
    cells = (
        f"{found.seconds:.1f}",
        f"{options.rows / found.seconds:,.0f}",
        f"{mean:.2f}",
        f"{found.seconds / mean:.1f}",
        f"{found.cpu:.1f}",
        f"{found.cpu / cpu:.1f}",
        f"{found.peak:.2f} GiB",
        peer.leaves_out,
    )
    return f"{head} {' | '.join(cells)} |"


def main() -> None:
    """Print the table in Markdown."""
    everything = {f"fae-{rule}": fae(rule) for rule in OURS} | PEERS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", default=",".join(everything), metavar="NAME,NAME")
    parser.add_argument("--venvs", type=Path, default=Path("work/venvs"))
    parser.add_argument("--limit", type=float, default=900, help="seconds for each tool")
    parser.add_argument("--work", type=Path, default=Path("work/benchmark"))
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(everything):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(everything)}")
    options.work.mkdir(parents=True, exist_ok=True)
    logs = [options.work / f"criteo-{rows}.log" for rows in (CHECKED_ROWS, options.rows)]
    for rows, log in zip((CHECKED_ROWS, options.rows), logs, strict=True):
        if not log.exists():
            write_log("criteo", rows, log, 1)
    print(
        f"{machine()}, Polars {pl.__version__}; {options.rows:,} rows, "
        f"{logs[-1].stat().st_size / 1e9:.2f} GB\n\n"
        f"| {' | '.join(HEADINGS)} |\n|{' --- |' * len(HEADINGS)}",
        flush=True,
    )
    for name in names:
        print(row(name, everything[name], logs, options), flush=True)


if __name__ == "__main__":
    main()
