"""A finished data set as the rules see it: stacked rows, and train inputs as sets of them.

Within a table, stacked rows are ordered by accesses and then by value, as in profiling. The data
set's own ids would not do: they follow the rule that made it, and equal accesses would then be
ranked in that rule's favour. A row that values share has the accesses of all and the place of the
first; where ids are hashed, only these rows can be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from fae.dataset.presence import UNREADABLE
from fae.format.errors import DatasetError
from fae.format.manifest import OOV_ID, Manifest, SparseFeature, Table
from fae.hotset.problem import StackedRows, StackedSamples
from fae.logs.schema import SparseColumn
from fae.reporting.facts import Facts

#: Inputs are woven so many at a time.
_BLOCK_ROWS = 1 << 16


@dataclass(frozen=True)
class Tables:
    """The rows of all tables, and for each table the stacked row of each of its ids."""

    rows: StackedRows
    row_of: dict[str, npt.NDArray[np.int64]]

    def hot(self, manifest: Manifest) -> npt.NDArray[np.int64]:
        """The stacked rows that are hot in the data set."""
        found = [self.row_of[table.name][: table.hot_rows] for table in manifest.tables]
        return np.concatenate(found)


def tables(dataset: Path, facts: Facts) -> Tables:
    """Every table's rows from its vocabulary, with all their accesses in train.

    Id 0 has the accesses that were folded into it. DatasetError where a vocabulary is damaged.
    """
    manifest = facts.manifest
    counts: list[npt.NDArray[np.int64]] = []
    row_of: dict[str, npt.NDArray[np.int64]] = {}
    first = 0
    for table, counted in zip(manifest.tables, facts.tables, strict=True):
        frame = _by_accesses(dataset, table, facts.schema.tables[table.name][0])
        counts.append(np.concatenate([[counted.folded_accesses], frame["accesses"].to_numpy()]))
        places = np.empty(table.rows, dtype=np.int64)
        places[OOV_ID] = first
        places[frame["id"].to_numpy()] = first + np.arange(1, table.rows)
        row_of[table.name] = places
        first += table.rows
    price = [manifest.embedding.row_bytes(table.dim) for table in manifest.tables]
    rows = StackedRows.from_accesses(
        tables=tuple(table.name for table in manifest.tables),
        table_offsets=np.cumsum([0, *(table.rows for table in manifest.tables)]),
        accesses=np.concatenate(counts),
        row_bytes=np.array(price, dtype=np.int64),
    )
    return Tables(rows, row_of)


def _by_accesses(dataset: Path, table: Table, column: SparseColumn) -> pl.DataFrame:
    """A vocabulary's `id` and `accesses`, most accesses first, then by value, missing first."""
    path = dataset / table.vocabulary.path
    order = [pl.col("accesses"), pl.col("value")]
    if column.encoding == "hex" and column.digits is None:
        order.insert(1, pl.col("value").str.len_bytes())
    descending = [True, *(False for _ in order[1:])]
    every = pl.Series("id", np.arange(1, table.rows, dtype=np.int64))
    try:
        frame = pl.read_parquet(path, columns=["value", "id", "accesses"])
        if table.hashed:
            frame = _by_row(frame, every)
        ids = frame["id"].sort()
        found = frame.sort(order, descending=descending, nulls_last=False)
    except UNREADABLE as error:
        raise DatasetError(f"{path} cannot be read: {error}. See `fae verify`.") from None
    if not ids.equals(every):
        raise DatasetError(f"{path}: its ids are not 1 to {table.rows - 1:,}. See `fae verify`.")
    return found.select("id", "accesses")


def _by_row(frame: pl.DataFrame, every: pl.Series) -> pl.DataFrame:
    """A vocabulary with one line an id: its first value and all accesses; unused ids follow."""
    rows = frame.group_by("id", maintain_order=True).agg(
        pl.col("value").first(), pl.col("accesses").sum()
    )
    unused = every.filter(~every.is_in(rows["id"].to_list())).to_frame()
    return pl.concat([rows, unused.with_columns(accesses=pl.lit(0, pl.Int64))], how="diagonal")


def train_inputs(
    dataset: Path, facts: Facts, known: Tables, most: int, seed: int
) -> tuple[StackedRows, StackedSamples]:
    """At most `most` train inputs, and the rows with the accesses of just these inputs.

    Hot and cold inputs keep their proportion. Within each, rows lie in a full shuffle, so a stretch
    of them from a seeded place is a random sample, and nothing else needs to be read.
    """
    manifest = facts.manifest
    leaves = manifest.splits["train"].values()
    total = sum(leaf.rows for leaf in leaves)
    random = np.random.default_rng(seed)
    accesses = np.zeros(known.rows.count, dtype=np.int64)
    flat: list[npt.NDArray[np.int32]] = []
    lengths: list[npt.NDArray[np.int64]] = []
    for leaf in leaves:
        taken = min(leaf.rows, leaf.rows * most // total)
        start = int(random.integers(0, leaf.rows - taken + 1))
        frame = _stretch([dataset / file.path for file in leaf.files], manifest, start, taken)
        for block in frame.iter_slices(_BLOCK_ROWS):
            owner, rows = _accessed(block, manifest, known)
            accesses += np.bincount(rows, minlength=accesses.size)
            values, length = _sets(owner, rows, known.rows, block.height)
            flat.append(values)
            lengths.append(length)
    empty = np.zeros(0, dtype=np.int32)
    offsets = np.cumsum(np.concatenate([[0], *lengths]), dtype=np.int64)
    inputs = StackedSamples(np.concatenate([empty, *flat]), offsets)
    every = known.rows
    return StackedRows.from_accesses(
        every.tables, every.table_offsets, accesses, every.row_bytes
    ), inputs


def _stretch(paths: list[Path], manifest: Manifest, start: int, rows: int) -> pl.DataFrame:
    """`rows` rows of the files one after the other, from row `start`: the sparse features."""
    names = [feature.name for feature in manifest.features.sparse]
    if not rows:
        return pl.DataFrame(schema=names)
    try:
        lazy = pl.scan_parquet(paths, hive_partitioning=False, glob=False)
        frame = lazy.select(names).slice(start, rows).collect()
    except UNREADABLE as error:
        raise DatasetError(f"{paths[0].parent} cannot be read: {error}.") from None
    if frame.height != rows:
        raise DatasetError(f"{paths[0].parent} has fewer rows than its manifest says.")
    return frame


Places = npt.NDArray[np.int64]


def _accessed(block: pl.DataFrame, manifest: Manifest, known: Tables) -> tuple[Places, Places]:
    """Every access of a block: which input makes it (from 0), and to which stacked row."""
    owners: list[Places] = []
    rows: list[Places] = []
    for feature in manifest.features.sparse:
        owner, ids = _ids(block[feature.name], feature)
        row_of = known.row_of[feature.table]
        if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < row_of.size:
            raise DatasetError(f"{feature.name!r} has ids outside its table. See `fae verify`.")
        owners.append(owner)
        rows.append(row_of[ids])
    return np.concatenate(owners), np.concatenate(rows)


def _ids(column: pl.Series, feature: SparseFeature) -> tuple[Places, Places]:
    """The ids of a column, lists laid flat, and the input of each."""
    inputs = np.arange(column.len(), dtype=np.int64)
    if not feature.multi:
        return inputs, column.to_numpy().astype(np.int64)
    lengths = column.list.len().to_numpy()
    flat = column.filter(column.list.len() > 0).explode()
    return np.repeat(inputs, lengths), flat.to_numpy().astype(np.int64)


def _sets(
    owner: Places, accessed: Places, rows: StackedRows, inputs: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Each input's rows once, ascending, without those out of vocabulary; and their number."""
    out_of_vocabulary = np.zeros(rows.accesses.size, dtype=np.bool_)
    out_of_vocabulary[rows.oov_rows] = True
    kept = ~out_of_vocabulary[accessed]
    key = np.sort(owner[kept] * rows.accesses.size + accessed[kept])
    key = key[np.diff(key, prepend=-1) > 0]
    lengths = np.bincount(key // rows.accesses.size, minlength=inputs)
    return (key % rows.accesses.size).astype(np.int32), lengths
