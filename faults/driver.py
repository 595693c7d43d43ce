"""A driver that lives on: it does `fae` commands one after another in one process.

Each line of standard input is a list of arguments as JSON, and each line of standard output the
exit code with what was printed.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import traceback

from fae.cli.commands import run


def main() -> None:
    """Do commands until standard input ends."""
    answers = sys.stdout
    for line in sys.stdin:
        print(json.dumps(done(json.loads(line))), file=answers, flush=True)


def done(arguments: list[str]) -> tuple[int, str]:
    """The exit code of a command and what it printed; a traceback counts as 70."""
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
