"""The program `fae`: how commands are found, and how they fail."""

from __future__ import annotations

from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from pipeline.cluster import console
from pipeline.errors import FaeError

USER_ERROR, INTERRUPTED = 1, 130


class _Commands(TyperGroup):
    """Commands whose users' mistakes end in one message and exit code 1, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FaeError as error:
            console.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        except OSError as error:
            place = f": {error.filename}" if error.filename else ""
            console.print(f"[bold red]error:[/] {error.strerror or error}{escape(place)}")
        except KeyboardInterrupt:
            console.print("interrupted; finished stages are kept, unfinished output is removed")
            raise typer.Exit(INTERRUPTED) from None
        raise typer.Exit(USER_ERROR)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find the embedding rows that nearly all accesses go to, give them the GPU bytes that "
    "you have, and train on hot/cold-partitioned Parquet. Start with `fae prepare`.",
)
