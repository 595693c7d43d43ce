"""Print to people: whatever was read from a file shows, and never commands the terminal."""

from __future__ import annotations

import re
import sys
from typing import TextIO

#: Control characters but tab and line feed, what turns the direction of text around it, line ends
#: of Unicode, and bytes that were no text.
_COMMANDS = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def make_visible(text: str) -> str:
    r"""Return `text` with each character that a terminal would obey as an escape, such as \x1b."""
    return _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)


def print_text(text: str, file: TextIO | None = None) -> None:
    """Print `text`, made visible, and a line end to standard output or `file`."""
    print(make_visible(text), file=file or sys.stdout)
