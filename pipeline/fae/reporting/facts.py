"""Facts: what a finished data set says of itself, beside its rows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter, ValidationError

from fae.dataset.presence import UNREADABLE
from fae.format.errors import DatasetError
from fae.format.manifest import SPLITS, Manifest
from fae.hotset.cold_hash import Sharing
from fae.hotset.curve import find_knee
from fae.hotset.hot_set import CURVE
from fae.ingestion.rejects import REJECTS_FILE, Reject, parse_rejects
from fae.ingestion.staging import StagedLog
from fae.logs.schema import Schema
from fae.profiling.frequencies import TableFrequencies

#: Rejects are looked through this far for examples, and so many of one reason are kept.
_LOOKED_AT = 1_000
_OF_A_REASON = 3


@dataclass(frozen=True)
class _Preparation:
    """The part of the manifest's `preparation` that the report tells of."""

    tables: tuple[TableFrequencies, ...]
    logs: tuple[StagedLog, ...]
    rejects: dict[str, int]
    sample: float
    sharing: tuple[Sharing, ...] = ()


@dataclass(frozen=True)
class Facts:
    """The manifest with its preparation typed, the curve, and the first rejects of each reason.

    `curve` has hot and access shares by `budget_bytes`; the chosen budget is one of its rows.
    """

    manifest: Manifest
    schema: Schema
    tables: tuple[TableFrequencies, ...]
    logs: tuple[StagedLog, ...]
    reasons: dict[str, int]
    sample: float
    sharing: tuple[Sharing, ...]
    rejects: tuple[Reject, ...]
    curve: pl.DataFrame

    def rows(self, split: str) -> int:
        """Rows of a split, hot and cold."""
        return sum(leaf.rows for leaf in self.manifest.splits[split].values())

    def hot_share(self, split: str) -> float | None:
        """The share of a split's rows that are hot; None for an empty split."""
        rows = self.rows(split)
        return self.manifest.splits[split]["hot"].rows / rows if rows else None

    @property
    def knee_bytes(self) -> int:
        """The budget beyond which a byte buys less than it does on average."""
        return find_knee(self.curve)

    def near(self, budget_bytes: float) -> dict[str, Any] | None:
        """The point of the curve nearest to a budget; None where none is within a sixth of it."""
        away = (pl.col("budget_bytes") / budget_bytes).log().abs()
        found = self.curve.sort(away, maintain_order=True).row(0, named=True)
        return found if abs(found["budget_bytes"] / budget_bytes - 1) <= 1 / 6 else None


def facts(dataset: Path) -> Facts:
    """The facts of the data set in `dataset`; DatasetError where they are absent or damaged."""
    manifest = Manifest.read(dataset)
    try:
        told = TypeAdapter(_Preparation).validate_python(manifest.preparation)
        found = Facts(
            manifest=manifest,
            schema=Schema.model_validate(manifest.schema),
            tables=told.tables,
            logs=told.logs,
            reasons=told.rejects,
            sample=told.sample,
            sharing=told.sharing,
            rejects=_first_rejects(dataset / REJECTS_FILE),
            curve=pl.read_csv(dataset / CURVE),
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise _damaged(dataset, f"{place}: {first['msg']}") from None
    except (*UNREADABLE, ValueError, RecursionError) as error:
        raise _damaged(dataset, error) from None
    _check(dataset, found)
    return found


def _check(dataset: Path, found: Facts) -> None:
    """Raise DatasetError unless the parts of `found` tell of the same tables and budget."""
    names = [table.name for table in found.manifest.tables]
    if names != [table.name for table in found.tables] or names != list(found.schema.tables):
        raise _damaged(dataset, "its manifest names different tables in different places")
    counted = [splits for table in found.tables for splits in table.columns.values()]
    if any(set(splits) != set(SPLITS) for splits in counted):
        raise _damaged(dataset, f"a column's counts are not of {', '.join(SPLITS)}")
    if {"budget_bytes", "hot_rows", "access_share", "train_hot_share"} - set(found.curve.columns):
        raise _damaged(dataset, f"{CURVE} lacks columns")
    if found.manifest.budget.bytes not in found.curve["budget_bytes"].to_list():
        raise _damaged(dataset, f"{CURVE} has no point at its budget")
    if not found.rows(SPLITS[0]):
        raise _damaged(dataset, "it has no row to train on")


def _damaged(dataset: Path, fault: object) -> DatasetError:
    return DatasetError(
        f"{dataset} does not tell how it was prepared ({fault}). See what `fae verify` says, "
        "or prepare it again."
    )


def _first_rejects(path: Path) -> tuple[Reject, ...]:
    """The first rejects of each reason, in the order of the logs."""
    kept: list[Reject] = []
    with path.open(encoding="utf-8") as lines:
        for reject in parse_rejects(islice(lines, _LOOKED_AT)):
            if sum(one.reason == reject.reason for one in kept) < _OF_A_REASON:
                kept.append(reject)
    return tuple(kept)
