"""The program `fae`: how commands are found, and how they fail."""

from __future__ import annotations

from typing import Any

import typer
from polars.exceptions import PanicException
from rich.markup import escape
from typer.core import TyperGroup

from pipeline.errors import FaeError, explained
from pipeline.progress import console

USER_ERROR, INTERRUPTED, TERMINATED = 1, 130, 143


class Terminated(KeyboardInterrupt):
    """The process was asked to end, by SIGTERM."""


class _Commands(TyperGroup):
    """Commands whose users' mistakes end in one message and exit code 1, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FaeError as error:
            console.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        except (Exception, PanicException) as error:
            told = explained(error)
            if told is None:
                raise
            console.print(f"[bold red]error:[/] {escape(told)}", soft_wrap=True)
        except KeyboardInterrupt as signal:
            terminated = isinstance(signal, Terminated)
            console.print(
                f"{'terminated' if terminated else 'interrupted'}; "
                "what is finished is kept: run it again to go on",
                soft_wrap=True,
            )
            raise typer.Exit(TERMINATED if terminated else INTERRUPTED) from None
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
