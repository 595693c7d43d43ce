"""Read the rows of a finished data set, and its samples, in the form that rules rank.

Within a table, stacked rows are ordered by accesses and then by value, as in profiling, and not by
the data set's own ids: ids follow the rule that chose the hot set, and rows with equal accesses
would then be ranked in that rule's favour. A row that several hashed values share has the accesses
of all of them and the rank of the first.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from fae.arrays.arrow import BoolArray, Int32Array, Int64Array
from fae.arrays.stable_argsort import stable_argsort
from fae.dataset.integrity import READ_ERRORS, read_vocabulary
from fae.dataset.vocabulary import to_staged_values
from fae.format.errors import DatasetError
from fae.format.manifest import OOV_ID, SPLITS, Leaf, Manifest, SparseFeature, Table
from fae.hotset.problem import StackedRows, StackedSamples
from fae.hotset.problem_data import OOV_ACCESS, Column, interleave, remove_repeats
from fae.logs.columns import SparseColumn
from fae.reporting.comparison import HeldOutSamples
from fae.reporting.facts import Facts
from fae.storage.decoding import iter_row_groups

#: Samples are converted to sets of rows in blocks of this many, to bound memory.
BLOCK_ROWS = 1 << 17


@dataclass(frozen=True)
class DatasetRows:
    """The embedding rows of all tables.

    `row_of[table]`, shape (rows of the table,), is the stacked row of each id.
    """

    stacked: StackedRows
    row_of: dict[str, Int32Array]

    def hot_rows(self, manifest: Manifest) -> Int32Array:
        """Return the stacked rows that are hot in the data set."""
        hot = [self.row_of[table.name][: table.hot_rows] for table in manifest.tables]
        return np.concatenate(hot)


def read_rows(
    dataset: Path, facts: Facts, end_table: Callable[[], None] = lambda: None
) -> DatasetRows:
    """Return every table's rows with their accesses in train, from the vocabularies.

    `end_table` is called after each. Id 0 has the accesses that were folded into it. Raises
    DatasetError where a vocabulary is damaged.
    """
    manifest = facts.manifest
    accesses: list[Int64Array] = []
    row_of: dict[str, Int32Array] = {}
    first = 0
    for table, frequencies in zip(manifest.tables, facts.tables, strict=True):
        ids = _ids_by_accesses(dataset, table, facts.schema.tables[table.name][0])
        accesses.append(np.concatenate([[frequencies.folded_accesses], ids["accesses"].to_numpy()]))
        rows = np.empty(table.rows, dtype=np.int32)
        rows[OOV_ID] = first
        rows[ids["id"].to_numpy()] = first + np.arange(1, table.rows)
        row_of[table.name] = rows
        first += table.rows
        end_table()
    row_bytes = np.array([manifest.embedding.row_bytes(table.dim) for table in manifest.tables])
    offsets = np.cumsum([0, *(table.rows for table in manifest.tables)])
    names, counts = tuple(row_of), np.concatenate(accesses)
    return DatasetRows(StackedRows.from_accesses(names, offsets, counts, row_bytes), row_of)


def _ids_by_accesses(dataset: Path, table: Table, column: SparseColumn) -> pl.DataFrame:
    """Return `id` and `accesses` of a vocabulary, most accesses first, then by staged value.

    The missing value comes before the others.
    """
    path = dataset / table.vocabulary.path
    expected_ids = pl.Series("id", np.arange(1, table.rows, dtype=np.int64))
    try:
        vocabulary = read_vocabulary(path, ["value", "id", "accesses"])
        if table.hashed:
            vocabulary = _merge_shared_ids(vocabulary, expected_ids)
        ids = vocabulary["id"].sort()
        # Numbers sort faster than hex, and two sorts faster than one by two keys.
        by_value = to_staged_values(vocabulary["value"], column).arg_sort().to_numpy()
        accesses = vocabulary["accesses"].to_numpy()
        order = by_value[stable_argsort(-accesses[by_value])]
    except READ_ERRORS as error:
        raise DatasetError(f"Cannot read {path}: {error}. Run `fae verify`.") from None
    if not ids.equals(expected_ids):
        raise DatasetError(f"{path}: its ids are not 1 to {table.rows - 1:,}. Run `fae verify`.")
    return vocabulary.select("id", "accesses")[order]


def _merge_shared_ids(vocabulary: pl.DataFrame, expected_ids: pl.Series) -> pl.DataFrame:
    """Return one line an id, with its first value and all its accesses; unused ids come last."""
    rows = vocabulary.group_by("id", maintain_order=True).agg(
        pl.col("value").first(), pl.col("accesses").sum()
    )
    unused = expected_ids.filter(~expected_ids.is_in(rows["id"].to_list())).to_frame()
    return pl.concat([rows, unused.with_columns(accesses=pl.lit(0, pl.Int64))], how="diagonal")


def read_train_samples(
    dataset: Path,
    facts: Facts,
    rows: DatasetRows,
    max_samples: int,
    seed: int,
    end_leaf: Callable[[], None] = lambda: None,
) -> tuple[StackedRows, StackedSamples]:
    """Return at most `max_samples` train samples, and the rows with these samples' accesses alone.

    Hot and cold samples keep their proportion. `end_leaf` is called after each leaf. Raises
    DatasetError where a file is damaged.
    """
    leaves = _list_leaves(facts.manifest, SPLITS[:1])
    tables = [feature.table for feature in facts.manifest.features.sparse]
    counts = {table: np.zeros(of_id.size, dtype=np.int64) for table, of_id in rows.row_of.items()}
    blocks = []
    for columns in _read_blocks(dataset, facts, rows, leaves, max_samples, seed, end_leaf):
        for table, (ids, _) in zip(tables, columns, strict=True):
            counts[table] += np.bincount(ids, minlength=counts[table].size)
        blocks.append(_stack_block(columns, tables, rows)[:2])
    accesses = np.empty(rows.stacked.count, dtype=np.int64)
    for table, of_id in rows.row_of.items():
        accesses[of_id] = counts[table]
    stacked = rows.stacked
    starts = stacked.table_offsets
    counted = StackedRows.from_accesses(stacked.tables, starts, accesses, stacked.row_bytes)
    return counted, _concat_samples(blocks)


def read_held_out_samples(
    dataset: Path,
    facts: Facts,
    rows: DatasetRows,
    max_samples: int,
    seed: int,
    end_leaf: Callable[[], None] = lambda: None,
) -> HeldOutSamples:
    """Return at most `max_samples` samples of valid and test together.

    Leaves keep their proportion. `end_leaf` is called after each. Raises DatasetError where a file
    is damaged.
    """
    leaves = _list_leaves(facts.manifest, SPLITS[1:])
    tables = [feature.table for feature in facts.manifest.features.sparse]
    blocks, known = [], [np.zeros(0, dtype=np.bool_)]
    for columns in _read_blocks(dataset, facts, rows, leaves, max_samples, seed, end_leaf):
        values, lengths, is_known = _stack_block(columns, tables, rows)
        blocks.append((values, lengths))
        known.append(is_known)
    return HeldOutSamples(_concat_samples(blocks), np.concatenate(known))


def _list_leaves(manifest: Manifest, splits: Sequence[str]) -> list[Leaf]:
    return [leaf for split in splits for leaf in manifest.splits[split].values()]


def _concat_samples(blocks: Sequence[tuple[Int32Array, Int64Array]]) -> StackedSamples:
    """Return all samples of blocks, each the rows of its samples and how many each has."""
    flat_rows = [np.zeros(0, dtype=np.int32), *(block_rows for block_rows, _ in blocks)]
    lengths = [np.zeros(1, dtype=np.int64), *(block_lengths for _, block_lengths in blocks)]
    offsets = np.cumsum(np.concatenate(lengths), dtype=np.int64)
    return StackedSamples(np.concatenate(flat_rows), offsets)


def _read_blocks(
    dataset: Path,
    facts: Facts,
    rows: DatasetRows,
    leaves: Sequence[Leaf],
    max_samples: int,
    seed: int,
    end_leaf: Callable[[], None],
) -> Iterator[list[Column]]:
    """Yield the ids of at most `max_samples` samples of leaves, block by block and by feature.

    Within each leaf the rows lie fully shuffled, so a contiguous slice from a seeded position is a
    random subset, and only the slice is read.
    """
    total = sum(leaf.rows for leaf in leaves)
    random = np.random.default_rng(seed)
    sparse = facts.manifest.features.sparse
    for leaf in leaves:
        size = min(leaf.rows, leaf.rows * max_samples // max(total, 1))
        start = int(random.integers(0, leaf.rows - size + 1))
        for frame in _iter_slice(dataset, leaf, [feature.name for feature in sparse], start, size):
            for block in frame.iter_slices(BLOCK_ROWS):
                yield [
                    _read_ids(block[feature.name], feature, rows.row_of[feature.table].size)
                    for feature in sparse
                ]
        end_leaf()


def _iter_slice(
    dataset: Path, leaf: Leaf, names: list[str], start: int, rows: int
) -> Iterator[pl.DataFrame]:
    """Yield columns of `rows` rows from row `start` of a leaf's concatenated files."""
    left = rows
    try:
        for file in leaf.files:
            if left and start < file.rows:
                own = range(start, min(start + left, file.rows))
                for frame in iter_row_groups(dataset / file.path, names, rows=own):
                    yield frame
                    left -= frame.height
            start = max(start - file.rows, 0)
    except READ_ERRORS as error:
        raise DatasetError(
            f"Cannot read {dataset / file.path}: {error}. Run `fae verify`."
        ) from None
    if left:
        raise DatasetError(
            f"{dataset / leaf.files[0].path} or a file beside it has fewer rows than the manifest "
            "says. Run `fae verify`."
        )


def _read_ids(column: pl.Series, feature: SparseFeature, table_rows: int) -> Column:
    """Return the ids of a column, with lists flattened, and how many each sample has."""
    lengths = None
    if feature.multi:
        lengths = column.list.len().to_numpy().astype(np.int64)
        column = column.filter(column.list.len() > 0).explode()
    ids = column.to_numpy()
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < table_rows:
        raise DatasetError(f"{feature.name!r} has ids outside its table. Run `fae verify`.")
    return ids, lengths


def _stack_block(
    columns: Sequence[Column], tables: Sequence[str], rows: DatasetRows
) -> tuple[Int32Array, Int64Array, BoolArray]:
    """Return each sample's distinct rows, how many, and whether all its values have one.

    `columns` are ids of `tables`. Rows out of vocabulary are left out, since they are always hot.
    """
    stacked = []
    for table, (ids, lengths) in zip(tables, columns, strict=True):
        of_id = rows.row_of[table].copy()
        of_id[OOV_ID] = OOV_ACCESS
        stacked.append((of_id[ids], lengths))
    values, lengths = interleave(stacked)
    accesses = sum(1 if of_column is None else of_column for _, of_column in columns)
    is_known: BoolArray = lengths == accesses
    if len(set(tables)) < len(tables) or any(of_column is not None for _, of_column in columns):
        values, lengths = remove_repeats(values, lengths)
    return values, lengths, is_known
