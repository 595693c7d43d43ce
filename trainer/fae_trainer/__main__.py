"""Train on a prepared data set: `python -m fae_trainer train DIR --out RUN`; see --help."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fae.format.program import run_program
from fae_trainer.arguments import parser
from fae_trainer.commands import COMMANDS, RESUME_HINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default the process's own; return its exit code."""

    def program() -> int:
        options = vars(parser("python -m fae_trainer").parse_args(arguments))
        return COMMANDS[options.pop("command")](options)

    return run_program(program, RESUME_HINT)


if __name__ == "__main__":
    sys.exit(main())
