"""Simulate a preparation that is too large to run here, from measured constants.

    python benchmarks/scale.py [--workers 16 256] [--block-mib 32]

Prints for Criteo Terabyte, and for 1 PB of the same shape, each round's tasks, bytes, memory of a
task and hours. Workers have one core each. The scheduler hands a task to the worker that is free
first, at most one every DISPATCH_SECONDS; tasks of a round differ by up to TASK_SPREAD. Storage is
taken to keep up: a line says how fast it would have to be. The last line says what the round
`rescatter` saves: without it, a file gathers its rows from all scattered files, and the driver
lists each of these pieces, as it did before it had this round.
"""

from __future__ import annotations

import argparse
import heapq
import math
from dataclasses import dataclass

#: Processor seconds of a million rows, and of a task that has none (see docs/scale.md).
CHECKSUM, INGEST, PROFILE, CALIBRATE, SCATTER, GATHER = 0.05, 1.2, 0.4, 0.3, 0.6, 0.9
SECONDS_PER_TASK, SECONDS_PER_SLICE = 0.01, 0.0004
#: Seconds that Dask's scheduler spends on a task, and the longest task of a round by its mean.
DISPATCH_SECONDS, TASK_SPREAD = 0.0024, 1.3
#: Bytes of a row: log, staging, its dictionaries, ranks, scattered, and in the data set.
LOG, STAGED, DICTIONARY, RANKS, SCATTERED, DATA = 242, 110, 25, 9, 168, 36
#: Processor seconds of sorting a million scattered rows once more; of a piece, which a file gathers
#: from a scattered file, and of opening it alone; the driver's bytes for it in a list of all.
RESCATTER, SECONDS_PER_PIECE, SECONDS_PER_OPENING, PIECE_BYTES = 0.3, 0.0003, 0.0001, 182
#: The driver's bytes for a part, and for a file to write.
PART_BYTES, TASK_BYTES = 2000, 1000
#: Vocabularies: bytes of an id, and processor seconds of a million.
ID_BYTES, VOCABULARY = 12, 0.25
#: Entries of dictionaries in a part's row, and in a range at least for each part.
ENTRIES_PER_ROW, ENTRIES_PER_PART, RANGE_ENTRIES, ENTRY_BYTES = 2.25, 1 << 10, 1 << 21, 40
#: Dictionaries that a task opens at most. A merged one of n parts has n ** DISTINCT_GROWTH times as
#: many entries as a part: with 0.766, all parts of Criteo Terabyte have its ids.
FAN_IN, DISTINCT_GROWTH = 1 << 10, 0.766
#: Processor seconds of merging a million entries and of taking their ranks back to the parts, of
#: finding a range in a part's positions; bytes of an entry that is merged, of one in memory.
MERGE, DESCEND, SECONDS_PER_SEARCH = 0.1, 0.02, 0.00001
POSITION_BYTES, MERGED_BYTES, MERGE_BYTES = 4, 12, 16
ROWS_PER_FILE, PARTS_PER_SCATTER, MAX_SCATTERED_FILES = 1 << 20, 16, 1 << 11
TABLES, TABLE_GROUPS, LARGEST_TABLE_SHARE = 26, 10, 0.33
SIMULATED_TASKS = 200_000


@dataclass(frozen=True)
class Log:
    """A log to prepare: its rows, and the distinct values of all tables."""

    name: str
    rows: float
    ids: float


@dataclass(frozen=True)
class Round:
    """A round of tasks: processor seconds of all, bytes read and written, memory of one task."""

    name: str
    tasks: int
    seconds: float
    read: float
    written: float
    memory: float
    longest: float = 0.0


LOGS = (
    Log("Criteo Terabyte", 4.4e9, 8.82e8),
    Log("100,000 parts of its shape", 1.39e10, 2.1e9),
    Log("1 PB of its shape", 4.1e12, 2.1e9),
)


def plan_rounds(log: Log, block_bytes: float) -> list[Round]:
    """Return the rounds of a preparation with the rule `accesses` and no sample."""
    millions, rows_per_block = log.rows / 1e6, block_bytes / LOG
    parts = math.ceil(log.rows / rows_per_block)
    entries = ENTRIES_PER_ROW * log.rows
    in_range = max(RANGE_ENTRIES, ENTRIES_PER_PART * parts)
    ranges = math.ceil(entries / in_range) + TABLES
    scatters, files = count_scattered(log, block_bytes)
    own, rows = SECONDS_PER_TASK, log.rows
    scattered, staged = SCATTERED * rows, STAGED * rows
    rounds = [
        Round("checksum", parts, CHECKSUM * millions, LOG * rows, 0, block_bytes),
        Round(
            "ingest", parts, (INGEST * millions) + own * parts, LOG * rows, staged, 6 * block_bytes
        ),
    ]
    merges, (opened, left) = _plan_merges(log, parts, entries)
    rounds += merges
    share = left / entries
    profile = PROFILE * share * millions + SECONDS_PER_SLICE * ranges * opened
    read, written = DICTIONARY * share * rows, RANKS * share * rows
    rounds.append(Round("profile", ranges, profile, read, written, ENTRY_BYTES * share * in_range))
    if merges:
        seconds = DESCEND * entries / 1e6 + SECONDS_PER_SEARCH * ranges * parts
        read = POSITION_BYTES * entries + written
        memory = POSITION_BYTES * share * in_range
        rounds.append(Round("ranks", ranges, seconds, read, RANKS * rows, memory))
    cells = 2 * log.ids
    memory = STAGED * rows_per_block + cells
    rounds.append(
        Round("calibrate", parts, CALIBRATE * millions + own / 4 * parts, staged, 0, memory)
    )
    memory = 2 * SCATTERED * rows_per_block * PARTS_PER_SCATTER + 4 * log.ids
    seconds = SCATTER * millions + own / 3 * parts
    rounds.append(Round("scatter", scatters, seconds, staged, scattered, memory))
    pieces = scatters
    if scatters > MAX_SCATTERED_FILES:
        fan_in = math.isqrt(scatters - 1) + 1
        groups, pieces = math.ceil(files / math.ceil(files / fan_in)), math.ceil(scatters / fan_in)
        seconds = RESCATTER * millions + SECONDS_PER_OPENING * groups * scatters
        tasks = groups * pieces
        memory = 2 * scattered / tasks
        rounds.append(Round("rescatter", tasks, seconds, scattered, scattered, memory))
    vocabulary = VOCABULARY * log.ids / 1e6
    seconds = GATHER * millions + SECONDS_PER_PIECE * files * pieces + vocabulary
    longest = LARGEST_TABLE_SHARE * vocabulary
    written = DATA * rows + ID_BYTES * log.ids
    memory = 2 * SCATTERED * (1 << 16)
    rounds.append(Round("partition", files + TABLES, seconds, scattered, written, memory, longest))
    return rounds


def count_scattered(log: Log, block_bytes: float) -> tuple[int, int]:
    """Return the number of scattered files, and of the data set's files of rows."""
    parts = math.ceil(log.rows / (block_bytes / LOG))
    return math.ceil(parts / PARTS_PER_SCATTER), math.ceil(log.rows / ROWS_PER_FILE)


def describe_pieces(log: Log, block_bytes: float) -> str:
    """Return what a list of all pieces would take, and what the driver has in its place."""
    scatters, files = count_scattered(log, block_bytes)
    rows = ROWS_PER_FILE / scatters
    hours = SECONDS_PER_PIECE * files * scatters / 3600
    listed = PIECE_BYTES * files * scatters / 1e9
    kept = (TASK_BYTES * files + PART_BYTES * PARTS_PER_SCATTER * scatters) / 1e9
    return (
        f"a file gathered from all {scatters:,} scattered files has pieces of {rows:,.0f} rows: "
        f"{hours:,.1f} core-hours, {listed:,.2f} GB to list them; parts and files: {kept:,.2f} GB"
    )


def _plan_merges(log: Log, parts: int, entries: float) -> tuple[list[Round], tuple[int, float]]:
    """Return the rounds that merge dictionaries; how many are left of a column, and all entries."""
    rounds, opened, left = [], parts, entries
    while opened > FAN_IN:
        merged = math.ceil(opened / FAN_IN)
        distinct = min(log.ids, entries / parts * (parts / merged) ** DISTINCT_GROWTH)
        groups = TABLE_GROUPS if opened == parts else TABLES
        tasks = merged * groups
        seconds = MERGE * left / 1e6 + SECONDS_PER_SLICE * opened * groups
        written = POSITION_BYTES * left + MERGED_BYTES * merged * distinct
        memory = MERGE_BYTES * LARGEST_TABLE_SHARE * left / merged
        longest = LARGEST_TABLE_SHARE * seconds / merged
        rounds.append(Round("merge", tasks, seconds, MERGED_BYTES * left, written, memory, longest))
        opened, left = merged, merged * distinct
    return rounds, (opened, left)


def simulate(one: Round, workers: int) -> float:
    """Return the seconds that a round takes, the longest task first."""
    mean = one.seconds / one.tasks
    if one.tasks > SIMULATED_TASKS:  # so many that their unevenness does not show
        return max(one.tasks * DISPATCH_SECONDS, one.seconds / workers + mean, one.longest)
    free = [0.0] * workers
    dispatched = end = 0.0
    for number in range(one.tasks):
        factor = 1 + (TASK_SPREAD - 1) * (2 * (number * 0.618 % 1) - 1)
        seconds = one.longest if number == 0 and one.longest else mean * factor
        begin = max(heapq.heappop(free), dispatched)
        dispatched = max(dispatched, begin - seconds) + DISPATCH_SECONDS
        heapq.heappush(free, begin + seconds)
        end = max(end, begin + seconds)
    return end


def main() -> None:
    """Print a table for each log."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[16, 256])
    parser.add_argument("--block-mib", type=int, default=32)
    options = parser.parse_args()
    for log in LOGS:
        rounds = plan_rounds(log, options.block_mib * 2**20)
        print(f"\n{log.name}: {log.rows:.3g} rows, {log.rows * LOG / 1e12:,.2f} TB\n")
        heads = " | ".join(f"{workers} workers" for workers in options.workers)
        print(f"| round | tasks | read TB | written TB | GB a task | core-hours | {heads} |")
        print("| --- " * (6 + len(options.workers)) + "|")
        totals = [0.0] * len(options.workers)
        for one in rounds:
            hours = [simulate(one, workers) / 3600 for workers in options.workers]
            totals = [total + more for total, more in zip(totals, hours, strict=True)]
            cells = " | ".join(f"{hour:,.2f} h" for hour in hours)
            moved = f"{one.read / 1e12:,.2f} | {one.written / 1e12:,.2f}"
            work = f"{one.memory / 1e9:,.2f} | {one.seconds / 3600:,.1f}"
            print(f"| {one.name} | {one.tasks:,} | {moved} | {work} | {cells} |")
        tasks, core_hours = (sum(one.tasks for one in rounds), sum(one.seconds for one in rounds))
        read, written = sum(one.read for one in rounds), sum(one.written for one in rounds)
        cells = " | ".join(f"**{total:,.2f} h**" for total in totals)
        amounts = f"{read / 1e12:,.1f} | {written / 1e12:,.1f} | | {core_hours / 3600:,.1f}"
        print(f"| all | {tasks:,} | {amounts} | {cells} |")
        rates = [f"{(read + written) / total / 3600 / 1e9:,.1f} GB/s" for total in totals]
        print(f"\nstorage keeps up where it moves {', '.join(rates)}")
        print(describe_pieces(log, options.block_mib * 2**20))


if __name__ == "__main__":
    main()
