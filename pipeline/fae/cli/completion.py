"""Write the script with which a shell completes commands, options, choices and paths."""

from __future__ import annotations

import importlib
from typing import Any

from fae.format.errors import require

SHELLS = ("bash", "zsh", "tcsh")

#: What the help calls values that are paths.
_PATHS = {
    *("DIR", "FILE", "FILE[:SECTION]", "FREQUENCIES", "HOT_SET", "LOG", "LOGS", "NAME|FILE"),
    *("NEWRUN", "OLDDIR", "OUT", "RUN", "STAGING"),
}


def make_script(shell: str, parser: Any, commands: dict[str, Any]) -> str:
    """Return a shell's script for a parser with these commands.

    Raises MissingExtraError where shtab, which writes it, is not installed.
    """
    require("shtab", "completion", "Completion")
    shtab: Any = importlib.import_module("shtab")
    for action in (action for command in commands.values() for action in command._actions):
        if action.metavar in _PATHS:
            action.complete = shtab.FILE
    script: str = shtab.complete(parser, shell)
    return script
