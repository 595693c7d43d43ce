"""Campaigns of faults, which try to make a preparation or a training lose something.

`python -m nightly` runs all, as `make nightly` does, and ends with a table;
`python -m nightly crashes --amount 20 --seed 7` runs one, a part of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Campaigns make and hold their runs with what the tests have for it.
sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
