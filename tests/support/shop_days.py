"""The shop's twenty rows day by day: prepared at once, and added one by one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fae.appending.append import append
from fae.dataset.verify import verify
from fae.execution.executor import Executor
from fae.format.manifest import Manifest
from fae.logs.files import find_logs_by_split
from fae.logs.schema import Schema
from fae.preparation import PreparationParameters, prepare
from tests.support.oracle import Options
from tests.support.small_logs import SHOP_BUDGET, SHOP_LOG, digests, parameters_of, written

#: What an addition alone writes.
OWN = ("mapping/", "drift.json")
SHOP_PARAMETERS = parameters_of(Options(budget=SHOP_BUDGET))
#: A day on which other cities and items are in fashion.
NEWS = "".join(
    [SHOP_LOG.splitlines(keepends=True)[0]]
    + [
        f"{n},{n % 2},{2000 + n},1,{'Kyiv' if n % 3 else 'Rome'},{n % 2 + 20},7\n"
        for n in range(12)
    ]
)


def contents(dataset: Path) -> dict[str, Any]:
    """Return the digests of all files, without what only an append writes."""
    manifest = json.loads((dataset / "manifest.json").read_text(encoding="utf-8"))
    manifest["records"] = [r for r in manifest["records"] if not r["path"].startswith(OWN)]
    found = {p: d for p, d in digests(dataset).items() if not p.startswith(OWN)}
    fingerprint = (dataset / "_SUCCESS").read_text().split()[0]  # beside the manifest's checksum
    return found | {"manifest.json": json.dumps(manifest), "_SUCCESS": fingerprint}


def at_once(
    paths: Sequence[str], schema: Schema, out: Path, parameters: PreparationParameters, **rest: Any
) -> Manifest:
    found = find_logs_by_split(list(paths), [], [], schema)
    return prepare(found, schema, out, Executor(2), parameters, **rest)[0]


def added(paths: Sequence[str], schema: Schema, out: Path, **given: Any) -> Manifest:
    found = find_logs_by_split(list(paths), [], [], schema)
    return append(found, schema, out, Executor(2), {"max_reject_share": 1.0, **given})[0]


def assert_same(one: Path, two: Path) -> None:
    assert contents(one) == contents(two)
    assert verify(one, Executor(1)).faults == ()


def shop_days(place: Path, days: int = 2) -> list[str]:
    """Write the twenty rows as logs of so many days."""
    header, *lines = SHOP_LOG.splitlines(keepends=True)
    size = len(lines) // days
    return written(
        place,
        {f"day{n}.csv": "".join([header, *lines[size * n : size * (n + 1)]]) for n in range(days)},
    )
