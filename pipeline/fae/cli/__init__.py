"""`fae`: the stages as commands. It parses, calls and prints; what is done is done elsewhere."""

from __future__ import annotations

import gc
import signal
import sys

from fae.format.errors import explain_error


def main() -> None:
    """The entry point of `fae`. As long as it loads, there is nothing that a signal could spoil.

    Where memory is too short even to tell so as commands do, it is told in plain text.
    """
    gc.set_threshold(100_000, 50, 50)  # what is imported is much, and none of it is garbage
    usual = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from fae.cli.commands import run

        signal.signal(signal.SIGINT, usual)
        run()
    except (ImportError, MemoryError, OSError, RuntimeError) as error:
        if (told := explain_error(error)) is None:
            raise
        sys.exit(f"error: {told}")
    finally:
        gc.freeze()  # or the interpreter's end goes through all of it once more
