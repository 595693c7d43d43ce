"""Read what a finished data set records about itself: manifest, curve, drift, rejected lines."""

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter, ValidationError

from fae.appending.drift import Coverage, Drift
from fae.dataset.integrity import READ_ERRORS
from fae.format.errors import DatasetError
from fae.format.manifest import SPLITS, Manifest
from fae.hotset.cold_hash import Sharing
from fae.hotset.curve import find_knee
from fae.hotset.hot_set import CURVE, HotShares
from fae.ingestion.rejects import REJECTS_FILE, Reject, parse_rejects
from fae.ingestion.staging import StagedLog
from fae.logs.schema import Schema
from fae.profiling.frequencies import TableFrequencies
from fae.storage.folder import Folder

#: Examples are taken from the first rejected lines, a few of each reason.
_MAX_REJECTS_READ = 1_000
_EXAMPLES_PER_REASON = 3

_CURVE_COLUMNS = {"budget_bytes", "hot_rows", "access_share", "train_hot_share"}


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """The part of the manifest's `preparation` that the report shows; fields are its JSON keys.

    `rejects` has the rejected lines by reason, `sample` the share of train that rows were chosen
    on; `shares` are those of the chosen rule and of `accesses`, and `known_hot_share` has the hot
    share of those samples of a held-out split whose values all have a row.
    """

    tables: tuple[TableFrequencies, ...]
    logs: tuple[StagedLog, ...]
    rejects: dict[str, int]
    sample: float
    sharing: tuple[Sharing, ...] = ()
    shares: tuple[HotShares, ...] = ()
    known_hot_share: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Facts(Preparation):
    """The manifest with its preparation typed, the curve, and example rejects.

    `curve` has hot and access shares by `budget_bytes`; the chosen budget is one of its rows.
    `drift` is that of the last append, where there was one.
    """

    manifest: Manifest
    schema: Schema
    example_rejects: tuple[Reject, ...]
    curve: pl.DataFrame
    drift: Drift | None = None

    def rows(self, split: str) -> int:
        """Return the rows of a split, hot and cold."""
        return sum(leaf.rows for leaf in self.manifest.splits[split].values())

    def hot_share(self, split: str) -> float | None:
        """Return the share of a split's rows that are hot; None for an empty split."""
        rows = self.rows(split)
        return self.manifest.splits[split]["hot"].rows / rows if rows else None

    @property
    def knee_bytes(self) -> int:
        """The budget beyond which a byte buys less than it does on average."""
        return find_knee(self.curve)

    def curve_point(self, budget_bytes: float) -> dict[str, Any] | None:
        """Return the curve's point nearest to a budget; None if it is off by more than a sixth."""
        distance = (pl.col("budget_bytes") / budget_bytes).log().abs()
        nearest = self.curve.sort(distance, maintain_order=True).row(0, named=True)
        return nearest if abs(nearest["budget_bytes"] / budget_bytes - 1) <= 1 / 6 else None


def drift_groups(drift: Drift) -> list[tuple[str, Coverage]]:
    """Return the groups of rows whose coverage is known, and what to call them."""
    groups = {
        "new logs": drift.new_rows,
        "new, train": drift.new_train_rows,
        "new, held out": drift.new_held_out_rows,
        "all logs": drift.all_rows,
    }
    return [(words, coverage) for words, coverage in groups.items() if coverage]


def read_facts(dataset: Path) -> Facts:
    """Return the facts of the data set in `dataset`.

    Raises DatasetError where they are absent, damaged or contradict each other.
    """
    manifest = Manifest.read(dataset)
    try:
        preparation = TypeAdapter(Preparation).validate_python(manifest.preparation)
        facts = Facts(
            **vars(preparation),
            manifest=manifest,
            schema=Schema.model_validate(manifest.schema),
            example_rejects=_read_example_rejects(dataset / REJECTS_FILE),
            curve=pl.read_csv(dataset / CURVE, glob=False),
            drift=Drift.read(Folder.of(dataset), manifest),
        )
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(step) for step in first["loc"])
        raise _damaged(dataset, f"{field}: {first['msg']}") from None
    except (*READ_ERRORS, ValueError, RecursionError) as error:
        raise _damaged(dataset, error) from None
    if fault := _contradiction(facts):
        raise _damaged(dataset, fault)
    return facts


def _contradiction(facts: Facts) -> str | None:
    """Return the first way in which parts of the data set's record disagree, or None."""
    names = [table.name for table in facts.manifest.tables]
    if names != [table.name for table in facts.tables] or names != list(facts.schema.tables):
        return "its manifest names different tables in different places"
    counts = [splits for table in facts.tables for splits in table.columns.values()]
    if any(set(splits) != set(SPLITS) for splits in counts):
        return f"a column's counts are not for {', '.join(SPLITS)}"
    if missing := _CURVE_COLUMNS - set(facts.curve.columns):
        return f"{CURVE} lacks the columns {', '.join(sorted(missing))}"
    if facts.manifest.budget.bytes not in facts.curve["budget_bytes"].to_list():
        return f"{CURVE} has no point at the data set's budget"
    return None if facts.rows(SPLITS[0]) else "it has no row to train on"


def _damaged(dataset: Path, fault: object) -> DatasetError:
    return DatasetError(
        f"{dataset} does not say how it was prepared ({fault}). Run `fae verify`, or prepare the "
        "data set again."
    )


def _read_example_rejects(path: Path) -> tuple[Reject, ...]:
    """Return the first rejects of each reason, in the order of the logs."""
    examples: list[Reject] = []
    with path.open(encoding="utf-8") as lines:
        for reject in parse_rejects(islice(lines, _MAX_REJECTS_READ)):
            if sum(one.reason == reject.reason for one in examples) < _EXAMPLES_PER_REASON:
                examples.append(reject)
    return tuple(examples)
