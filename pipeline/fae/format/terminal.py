"""Print to people: whatever was read from a file shows, and never commands the terminal.

In a notebook, progress is a bar of the cell.
"""

from __future__ import annotations

import html
import importlib
import io
import re
import sys
from typing import Any, TextIO

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


def escape_unknown_characters() -> None:
    """Let standard output and error show a character that their encoding lacks as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel, which displays HTML."""
    ipython: Any = sys.modules.get("IPython")  # a kernel has imported it
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


class NotebookBar:
    """An HTML progress element of a notebook's cell."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, done: int, total: int, sentence: str) -> None:
        """Display `done` of `total` and a sentence, in place of what the bar showed."""
        notebook = importlib.import_module("IPython.display")  # which only a kernel has for sure
        element = notebook.HTML(
            f'<progress value="{done}" max="{total}" style="width: 20em"></progress> '
            f"{html.escape(sentence)}"
        )
        if self._handle is None:
            self._handle = notebook.display(element, display_id=True)
        else:
            self._handle.update(element)
