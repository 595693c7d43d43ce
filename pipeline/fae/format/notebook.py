"""Show progress as one bar in a notebook's cell."""

import html
import importlib
import sys
from typing import Any


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
