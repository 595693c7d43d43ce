"""A Jupyter kernel's cell that tests can look at."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest


class Display:
    """The display area of a notebook's cell: what each displayed element shows."""

    def __init__(self) -> None:
        self.elements: list[str] = []

    def display(self, element: str, *, display_id: bool) -> Display:
        assert display_id
        self.elements.append(element)
        return self

    def update(self, element: str) -> None:
        self.elements[-1] = element


def run_in_notebook(monkeypatch: pytest.MonkeyPatch) -> Display:
    """Make this process seem to be a kernel; return the cell in which it displays."""
    cell = Display()
    ipython, module = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())
    module.HTML, module.display = str, cell.display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return cell
