"""The program `fae`: how commands are found, and how they fail."""

from __future__ import annotations

from typing import Any

import typer
from polars.exceptions import PanicException
from rich.markup import escape
from typer.core import TyperGroup

from fae.execution.progress import console
from fae.format.errors import FaeError, explain_error
from fae.format.signals import Terminated

USER_ERROR, INTERRUPTED, TERMINATED = 1, 130, 143


def asked_to_end(signal: BaseException) -> int:
    """Say that the work was cut short by Ctrl-C or SIGTERM; the exit code."""
    terminated = isinstance(signal, Terminated)
    console.print(
        f"{'terminated' if terminated else 'interrupted'}; "
        "what is finished is kept: run it again to go on",
        soft_wrap=True,
    )
    return TERMINATED if terminated else INTERRUPTED


class _Commands(TyperGroup):
    """Commands whose users' mistakes end in one message and exit code 1, without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FaeError as error:
            console.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        except (Exception, PanicException) as error:
            told = explain_error(error)
            if told is None:
                raise
            console.print(f"[bold red]error:[/] {escape(told)}", soft_wrap=True)
        except (KeyboardInterrupt, Terminated) as signal:
            raise typer.Exit(asked_to_end(signal)) from None
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
