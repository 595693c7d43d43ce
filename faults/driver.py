"""A long-lived driver, which runs `fae` commands one after another in one process.

Each line of standard input is a list of arguments as JSON, and each line of standard output has the
exit code and what was printed.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import traceback

from fae.cli.commands import run


def main() -> None:
    """Run commands until standard input ends."""
    answers = sys.stdout
    for line in sys.stdin:
        print(json.dumps(run_command(json.loads(line))), file=answers, flush=True)


def run_command(arguments: list[str]) -> tuple[int, str]:
    """Run a command and return its exit code and what it printed; a traceback counts as 70."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            code = run(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
        except Exception:
            traceback.print_exc()
            code = 70
    return code, printed.getvalue()


if __name__ == "__main__":
    main()
