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
from fae.format.terminal import make_visible, print_text

USER_ERROR, USAGE_ERROR, INTERRUPTED = 1, 2, 130


def run_program(program: Callable[[], int], resume_hint: str) -> int:
    """Run `program` and return its exit code, or that of the way in which it was ended.

    A FaeError, and what the operating system refuses, end in one message on standard error and
    code 1; Ctrl-C in 130, SIGTERM in 143 and SIGHUP in 129, with `resume_hint` after the word.
    Other exceptions are faults of the program and are raised.
    """
    try:
        with terminate_by_exception():
            return program()
    except FaeError as error:
        print_error(str(error))
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
        if isinstance(error, OSError) and error.errno == errno.EIO and _terminal_is_gone():
            return 128 + signal.SIGHUP  # a word to it failed before its signal came
        if (message := explain_error(error)) is None:
            raise
        print_error(message)
    return USER_ERROR


def _terminal_is_gone() -> bool:
    """Whether standard output or error is a terminal that has ended."""
    for descriptor in (1, 2):
        try:
            termios.tcgetattr(descriptor)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                return True
    return False


def print_error(message: str) -> None:
    """Print `error: message` to standard error, the first word in red on a terminal."""
    in_color = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    word = "\x1b[1;31merror:\x1b[0m" if in_color else "error:"
    print(word, make_visible(message), file=sys.stderr)
