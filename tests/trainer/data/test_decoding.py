"""Decoding: damage is found and named with its file and column."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fae.format.errors import DatasetError, FaeError
from fae_trainer.data import decoding
from fae_trainer.data.decoding import reading
from tests.support.small_logs import resigned
from tests.support.trainer_batches import leaf_batches
from tests.support.trainer_data import RAGGED, Shape, write_dataset


def _replace(column: str, values: Callable[[pa.Array], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        table = pq.read_table(path, partitioning=None)
        index = table.schema.get_field_index(column)
        new = pa.array(values(table.column(column).combine_chunks()))
        pq.write_table(table.set_column(index, column, new), path)

    return damage


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[30:400] = b"\xff" * 370
    path.write_bytes(content)


def _shorten(path: Path) -> None:
    pq.write_table(pq.read_table(path, partitioning=None).slice(1), path)


def _drop(path: Path) -> None:
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["d"]), path)


def _first(value: object) -> Callable[[pa.Array], object]:
    return lambda column: [value, *column.to_pylist()[1:]]


DAMAGE = {
    "absent": (Path.unlink, "is absent"),
    "cut": (_cut, "cannot be read as Parquet"),
    "flipped": (_flip, "cannot be read as Parquet"),
    "short": (_shorten, "has 44 rows, and the manifest says 45"),
    "no column": (_drop, "has no column 'd'"),
    "null id": (_replace("a", _first(None)), "column 'a' has 1 nulls"),
    "null dense": (_replace("dense_0", _first(None)), "column 'dense_0' has 1 nulls"),
    "null label": (_replace("label", _first(None)), "column 'label' has 1 nulls"),
    "nan": (_replace("dense_1", _first(float("nan"))), "column 'dense_1' has a value that is not"),
    "label 2": (_replace("label", _first(2)), "labels other than 0 and 1"),
    "text": (_replace("a", lambda c: [str(v) for v in c.to_pylist()]), "'a' cannot have type"),
    "halves": (_replace("dense_0", lambda c: c.cast(pa.float16())), "cannot have type halffloat"),
    "float ids": (_replace("a", lambda c: c.cast(pa.float64())), "'a' cannot have type double"),
    "lists": (_replace("a", lambda c: [[v] for v in c.to_pylist()]), "'a' cannot have type list"),
    "negative": (_replace("b", _first(-1)), "'b' has id -1, and table 'b' has ids from 0 to 6"),
    "too large": (_replace("b", _first(7)), "'b' has id 7, and table 'b' has ids from 0 to 6"),
    "cold in hot": (_replace("a", _first(10)), "'a' has id 10 in a hot file, and table 'a' is hot"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_with_its_file(tmp_path: Path, damage: str) -> None:
    shape = Shape(tables={"a": (50, 10), "b": (7, 7), "c": (30, 3), "d": (40, 15)})
    manifest = write_dataset(tmp_path / "data", shape)
    file = manifest.splits["train"]["hot"].files[0]
    act, message = DAMAGE[damage]
    act(tmp_path / "data" / file.path)
    if (tmp_path / "data" / file.path).exists():
        resigned(tmp_path / "data", file.path)
    with pytest.raises(DatasetError) as caught:
        list(leaf_batches(tmp_path / "data", "train", "hot", 16))
    assert message in str(caught.value)
    assert str(tmp_path / "data" / file.path) in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("label", -2, "'label' has labels other than -1, 0 and 1"),
        ("weight", -0.5, "'weight' has weights that are no number from 0 on"),
        ("weight", float("nan"), "'weight' has weights that are no number from 0 on"),
        ("weight", None, "'weight' has 1 nulls"),
    ],
)
def test_impossible_weights_and_labels_are_named(
    tmp_path: Path, column: str, value: object, message: str
) -> None:
    manifest = write_dataset(tmp_path / "data", Shape(weighted=True))
    file = manifest.splits["train"]["cold"].files[1]
    _replace(column, _first(value))(tmp_path / "data" / file.path)
    resigned(tmp_path / "data", file.path)
    with pytest.raises(DatasetError, match=message):
        list(leaf_batches(tmp_path / "data", "train", "cold", 16))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("clicked", _first([1, None]), "'clicked' has nulls in its lists"),
        ("clicked", _first(None), "'clicked' has 1 nulls"),
        ("clicked", _first([0, 60]), "'clicked' has id 60"),
        ("clicked", lambda c: [1] * len(c), "'clicked' is int64; it must be a list"),
    ],
)
def test_damage_in_lists_is_named(
    tmp_path: Path, column: str, values: Callable[[pa.Array], object], message: str
) -> None:
    manifest = write_dataset(tmp_path / "data", RAGGED)
    file = manifest.splits["train"]["cold"].files[1]
    _replace(column, values)(tmp_path / "data" / file.path)
    resigned(tmp_path / "data", file.path)
    with pytest.raises(DatasetError, match=message):
        list(leaf_batches(tmp_path / "data", "train", "cold", 16))


def test_texts_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", RAGGED)
    file = manifest.splits["train"]["cold"].files[1]
    _replace("clicked", lambda c: [["x"]] * len(c))(tmp_path / "data" / file.path)
    with pytest.raises(DatasetError, match="'clicked' cannot have type list"):
        decoding.read_footer(tmp_path / "data" / file.path, file, manifest, 1)


def test_lists_that_take_too_much_memory_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_dataset(tmp_path / "data", RAGGED)
    file = manifest.splits["train"]["cold"].files[1]
    path = tmp_path / "data" / file.path
    _replace("clicked", lambda c: [[0] * 100_000] * len(c))(path)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(decoding, "read_most_memory", lambda: 2 * 2 * 9_000_000 * file.rows // 10)
    decoding.read_footer(path, file, manifest, 2)
    with pytest.raises(DatasetError, match="3 at once more than"):
        decoding.read_footer(path, file, manifest, 3)


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (pa.ArrowException("Failed to launch worker thread: 11"), "cannot start another thread"),
        (pa.lib.ArrowMemoryError("malloc of size 64 failed"), "out of memory (malloc of size"),
        (pa.ArrowInvalid("no magic bytes"), "a.parquet cannot be read as Parquet: no magic"),
    ],
)
def test_a_machine_at_its_limit_is_no_fault_of_the_file(raised: Exception, says: str) -> None:
    with pytest.raises(FaeError) as caught, reading(Path("a.parquet")):
        raise raised
    assert str(caught.value).startswith(says)
