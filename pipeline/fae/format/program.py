"""Run a program so that it ends in one message and an exit code that scripts can rely on."""

import errno
import os
import signal
import sys
import termios
from collections.abc import Callable
from contextlib import suppress

from fae.format.errors import FaeError, explain_error
from fae.format.signals import Terminated, terminate_by_exception
from fae.format.terminal import escape_unknown_characters, make_visible, print_text

USER_ERROR, USAGE_ERROR, INTERRUPTED = 1, 2, 130


def run_program(program: Callable[[], int], resume_hint: str) -> int:
    """Run `program` and return its exit code, or that of the way in which it was ended.

    A FaeError, and what the operating system refuses, end in one message on standard error and
    code 1; Ctrl-C in 130, SIGTERM in 143 and SIGHUP in 129, with `resume_hint` after the word.
    Other exceptions are faults of the program and are raised.
    """
    escape_unknown_characters()
    try:
        with terminate_by_exception():
            return program()
    except KeyboardInterrupt:
        print_text(f"interrupted; {resume_hint}", sys.stderr)
        return INTERRUPTED
    except Terminated as ended:
        with suppress(OSError):  # after SIGHUP the terminal is gone
            print_text(f"terminated; {resume_hint}", sys.stderr)
        return 128 + ended.number
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # Polars' PanicException is no Exception
        message = str(error) if isinstance(error, FaeError) else explain_error(error)
        if message is None:
            raise
        if _is_of_ended_terminal(error):  # its signal is still on its way
            return 128 + signal.SIGHUP
        print_error(message)
    return USER_ERROR


def _is_of_ended_terminal(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is that standard output or error has ended."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.EIO:
            return any(_has_ended(descriptor) for descriptor in (1, 2))
        error = error.__context__
    return False


def _has_ended(descriptor: int) -> bool:
    """Whether a descriptor is a terminal that has ended."""
    try:
        termios.tcgetattr(descriptor)
    except termios.error as error:
        return bool(error.args[0] == errno.EIO)
    return False


def print_error(message: str) -> None:
    """Print `error: message` to standard error, the first word in red on a terminal."""
    in_color = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    word = "\x1b[1;31merror:\x1b[0m" if in_color else "error:"
    print(word, make_visible(message), file=sys.stderr)
