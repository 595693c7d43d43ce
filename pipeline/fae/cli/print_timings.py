"""Print where the time of a preparation went: a line for each round of tasks and each step."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from fae.cli.printing import output
from fae.execution.timings import Round, read_timings
from fae.storage.folder import FolderLike

_COLUMNS = ("tasks", "time", "CPU", "at work", "longest", "read", "disk", "written", "flush")
_LEGEND = (
    "Columns are in seconds and MB; at work: threads on average; flush: waiting until the disk "
    "has a file; read and written by calls; disk: read from it."
)


def print_timings(out: FolderLike) -> None:
    """Print the timings that lie beside an output, if there are any."""
    rounds = read_timings(out)
    if rounds:
        output.print(_build_table(rounds))
        output.print(_summarize(rounds))


def _build_table(rounds: Sequence[Round]) -> Table:
    """Return the table of all rounds, in their order."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("round", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for one in rounds:
        name = one.stage if one.name == one.stage else f"{one.stage}: {one.name}"
        table.add_row(name, *_format_cells(one))
    return table


def _format_cells(one: Round) -> list[str]:
    """Return a round's figures; those of tasks are empty for a step without any."""
    usage = one.usage
    sizes = (usage.bytes_read, usage.disk_bytes_read, usage.bytes_written)
    return [
        f"{one.tasks:,}" if one.tasks else "",
        f"{usage.seconds:.2f}",
        f"{usage.processor_seconds:.2f}",
        f"{one.threads_at_work:.1f}/{one.threads}" if one.tasks else "",
        f"{one.longest_thread_seconds:.2f}" if one.tasks else "",
        *(f"{size / 1e6:,.0f}" for size in sizes),
        f"{usage.flush_seconds:.2f}",
    ]


def _summarize(rounds: Sequence[Round]) -> str:
    """Return the totals in a sentence, and what the columns count."""
    seconds = sum(one.usage.seconds for one in rounds)
    processor = sum(one.usage.processor_seconds for one in rounds)
    serial = sum(one.serial_seconds for one in rounds)
    return (
        f"{seconds:.1f} s and {processor:.1f} processor seconds; in {serial:.1f} s not every "
        f"thread had a task. {_LEGEND}"
    )
