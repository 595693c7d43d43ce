"""Where the project's files are, and how a program that a test starts finds its packages."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: The folders of the import packages, and the root, from which `tests.support` is imported.
PYTHONPATH = os.pathsep.join(str(ROOT / name) for name in (".", "pipeline", "trainer"))
