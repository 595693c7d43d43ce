"""Where each row lies, by arithmetic on its id.

Every table's hot rows are stacked into one array, and every table's cold rows into another, in the
order of the tables and then of the ids. A row's slot is its position in the hot array, or the
number of hot rows plus its position in the cold array. Hot ids come first in each table, so the
slot of an id is the id plus one of two shifts.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fae.format.errors import DatasetError, ParameterError
from fae.format.manifest import Manifest
from fae_trainer.data.batches import Ints


@dataclass(frozen=True)
class Layout:
    """The positions of every table's rows in the two arrays.

    `feature_table[f]` is the number of the table of sparse feature f. Where these are some of a
    batch's features, `columns` are their numbers there.
    """

    names: tuple[str, ...]
    rows: Ints  # (tables,)
    hot_rows: Ints  # (tables,)
    feature_table: Ints  # (features,)
    columns: Ints | None = None  # (features,)

    @property
    def hot_start(self) -> Ints:
        """(tables,) positions in the hot array at which the tables start."""
        return _starts(self.hot_rows)

    @property
    def cold_start(self) -> Ints:
        """(tables,) positions in the cold array at which the tables start."""
        return _starts(self.rows - self.hot_rows)

    @property
    def hot_total(self) -> int:
        """The number of rows of the hot array."""
        return int(self.hot_rows.sum())

    @property
    def cold_total(self) -> int:
        """The number of rows of the cold array."""
        return self.row_total - self.hot_total

    @property
    def row_total(self) -> int:
        """The number of rows of both arrays."""
        return int(self.rows.sum())

    @property
    def slot_type(self) -> np.dtype[Any]:
        """The narrowest integer type that holds every slot and the number of rows."""
        return np.dtype(np.int32 if self.row_total < 2**31 else np.int64)

    def shifts(self) -> tuple[Ints, Ints, Ints]:
        """Return what turns the ids of each feature into slots, three times (features,).

        Ids below the first are hot. Adding the second makes slots of hot ids, adding the third of
        cold ones.
        """
        table = self.feature_table
        cold = self.hot_total + self.cold_start - self.hot_rows
        return self.hot_rows[table], self.hot_start[table], cold[table]


def make_layout(manifest: Manifest, hot_rows: Sequence[int]) -> Layout:
    """Return the layout in which the first `hot_rows[t]` rows of table t are hot."""
    names = tuple(table.name for table in manifest.tables)
    index = {name: position for position, name in enumerate(names)}
    return Layout(
        names=names,
        rows=np.array([table.rows for table in manifest.tables], dtype=np.int64),
        hot_rows=np.array(hot_rows, dtype=np.int64),
        feature_table=np.array([index[f.table] for f in manifest.features.sparse], dtype=np.int64),
    )


def make_layouts(manifest: Manifest, hot_rows: Sequence[int]) -> dict[int, Layout]:
    """Return the layout of the tables of each dimension, in the order of the tables.

    Raises DatasetError where a dimension has no feature.
    """
    sparse = manifest.features.sparse
    layouts = {}
    for dim in dict.fromkeys(table.dim for table in manifest.tables):
        kept = [table.dim == dim for table in manifest.tables]
        columns = [n for n, f in enumerate(sparse) if manifest.table(f.table).dim == dim]
        if not columns:
            raise DatasetError(f"No feature has a table of dim {dim}. Prepare the data set again.")
        features = dataclasses.replace(manifest.features, sparse=tuple(sparse[n] for n in columns))
        tables = tuple(itertools.compress(manifest.tables, kept))
        part = dataclasses.replace(manifest, tables=tables, features=features)
        layout = make_layout(part, list(itertools.compress(hot_rows, kept)))
        if len(columns) < len(sparse):
            layout = dataclasses.replace(layout, columns=np.array(columns, dtype=np.int64))
        layouts[dim] = layout
    return layouts


def restrict_features(manifest: Manifest, features: Sequence[str]) -> Manifest:
    """Return the manifest with only some features, in this order, and their tables."""
    known = {feature.name: feature for feature in manifest.features.sparse}
    if missing := [name for name in features if name not in known]:
        raise ParameterError(f"The data set has no feature {missing[0]!r}; it has {list(known)}.")
    sparse = tuple(known[name] for name in features)
    names = {feature.table for feature in sparse}
    tables = tuple(table for table in manifest.tables if table.name in names)
    if not tables:
        raise ParameterError("There are no sparse features to embed.")
    if len({table.dim for table in tables}) > 1:
        pairs = ", ".join(f"{table.name} {table.dim}" for table in tables)
        raise ParameterError(
            f"The tables of a module must have one dimension, and these differ: {pairs}. Make a "
            "module for each dimension, with `features`."
        )
    chosen = dataclasses.replace(manifest.features, sparse=sparse)
    return dataclasses.replace(manifest, features=chosen, tables=tables)


def check_choice(what: str, name: str, known: tuple[str, ...]) -> None:
    """Raise ParameterError where `name` is not one of the `known`."""
    if name not in known:
        raise ParameterError(f"{what} is {name}; it must be one of {', '.join(known)}.")


def _starts(sizes: Ints) -> Ints:
    """Return where each of consecutive ranges of these sizes starts."""
    starts: Ints = np.cumsum(sizes) - sizes
    return starts
