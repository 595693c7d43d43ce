"""The command `fae`: it parses, calls and prints; what is done is done elsewhere.

arguments        the commands, with their help
stage_arguments  those of them that make a data set
options          the options that several commands share
params_file      options from a file, such as DVC's params.yaml
completion       the script for a shell that completes them
commands         what each command calls, and what it prints
printing         tables for people, on standard output
print_timings    the table of where the time went
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default the process's own, and return its exit code.

    While the program loads, Ctrl-C simply ends it: there is nothing yet that it could spoil.
    """
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)  # before more is imported
    gc.set_threshold(100_000, 50, 50)  # imports make many objects, and none of them is garbage
    from fae.format.errors import explain_error
    from fae.format.terminal import print_text

    try:
        from fae.cli.commands import run

        signal.signal(signal.SIGINT, handler)
        return run(arguments)
    except (ImportError, MemoryError, OSError, RuntimeError) as error:
        if (message := explain_error(error)) is None:
            raise
        print_text(f"error: {message}", sys.stderr)
        return 1
    finally:
        gc.freeze()  # spare the interpreter's exit a pass over everything that was imported
