"""Hashed cold ids: the row of a value, the collisions counted, and what stays exact."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.api.export import export
from fae.cli.printing import print_dataset, print_hot_set
from fae.dataset.encoder import Encoder
from fae.dataset.verify import verify
from fae.execution.executor import Executor
from fae.format.errors import ParameterError
from fae.format.manifest import Manifest
from fae.hotset.cold_hash import hash_values, is_hashed
from fae.hotset.parameters import CalibrateParameters
from fae.logs.files import find_logs
from fae.reporting.data import read_rows
from fae.reporting.facts import read_facts
from fae.reporting.report import write_report
from fae_trainer.run.checkpoint import load_table_weights
from tests.support import oracle
from tests.support.command_line import fae
from tests.support.project import ROOT
from tests.support.small_logs import (
    LABEL,
    SHOP,
    Stages,
    ids_by_value,
    leaf_rows,
    resigned,
    schema_of,
    shop_stages,
    stages,
    written,
)
from tests.support.trainer_runs import run

# ── The hash ─────────────────────────────────────────────────────────────────────────────────────


def test_hashes_never_change() -> None:
    assert hash_values(pl.Series([0, 1, None, -1])).tolist() == [
        0xE220A8397B1DCDAF,
        0x910A2DEC89025CC1,
        0,
        0xE4D971771B652C20,
    ]
    assert hash_values(pl.Series(["", "a", None, "é"])).tolist() == [
        0x2D06800538D394C2,
        0xE6C632B61E964E1F,
        0,
        0xF7940A006CF10CB3,
    ]


@given(values=st.lists(st.none() | st.integers(-128, 127)), data=st.data())
def test_a_hash_depends_on_the_value_only(values: list[int | None], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(values))))
    found = hash_values(pl.Series(values, dtype=pl.Int64()))
    narrow = hash_values(pl.Series([values[i] for i in order], dtype=pl.Int8()))
    assert narrow.tolist() == found[order].tolist()


@given(texts=st.lists(st.none() | st.text(max_size=5)))
def test_texts_are_hashed_as_utf8(texts: list[str | None]) -> None:
    column = schema_of([LABEL, {"name": "x", "role": "sparse"}]).sparse[0]
    assert hash_values(pl.Series(texts, dtype=pl.String())).tolist() == [
        oracle.hashed(text, column) for text in texts
    ]


@pytest.mark.parametrize(
    ("rows", "buckets", "hashed"),
    [(10, 0, False), (10, 5, True), (10, 6, False), (10, 7, False), (4, 1, False)],
)
def test_a_table_with_no_more_cold_rows_than_buckets_stays_exact(
    rows: int, buckets: int, hashed: bool
) -> None:
    assert is_hashed(rows, 4, buckets) is hashed


# ── The data set ─────────────────────────────────────────────────────────────────────────────────

KINDS = {
    "word": {"encoding": "string"},
    "hex": {"encoding": "hex", "digits": 8},
    "number": {"encoding": "integer"},
}
SCHEMA = schema_of(
    [LABEL, *({"name": name, "role": "sparse", **kind} for name, kind in KINDS.items())]
)
#: Cold rows per table; every table but `number` has more cold values.
BUCKETS = 7


def prepare_skewed(place: Path, buckets: int = BUCKETS, seed: int = 0) -> Stages:
    """Prepare a log of three skewed tables in `place`, the last one with few values."""
    draw = np.random.default_rng(1)
    lines = []
    for _ in range(400):
        word, hexed = (int(one) for one in draw.zipf(1.4, 2) % 90)
        word_text = f"w{word}" if word % 9 else ""
        lines.append(f"{word % 2},{word_text},{hexed * 7919:08x},{draw.integers(5)}\n")
    found = find_logs(written(place, {"skewed.csv": "".join(lines)}), SCHEMA)
    options = oracle.Options(budget=20 * 24, seed=seed, cold_buckets=buckets)
    return stages(found, SCHEMA, place, options)


@pytest.fixture(scope="module")
def hashed(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    return prepare_skewed(tmp_path_factory.mktemp("hashed"))


def test_a_table_has_no_more_cold_rows_than_buckets(hashed: Stages) -> None:
    for table in hashed.manifest.tables:
        assert table.hashed == (table.name != "number")
        assert table.rows - table.hot_rows == BUCKETS or not table.hashed
        assert table.vocabulary.rows > table.hot_rows + 3 * BUCKETS or not table.hashed


def test_hot_rows_and_hot_samples_are_those_of_exact_ids(hashed: Stages, tmp_path: Path) -> None:
    exact = prepare_skewed(tmp_path, buckets=0)
    assert hashed.hot_set.inputs == exact.hot_set.inputs
    assert hashed.hot_set.budget == exact.hot_set.budget
    assert hot_rows(hashed) == hot_rows(exact)
    leaves = [leaf_rows(each.dataset, each.manifest, SCHEMA) for each in (hashed, exact)]
    ids = [ids_by_value(each.dataset, each.manifest) for each in (hashed, exact)]
    for split in oracle.SPLITS:
        assert leaves[0][split, "hot"] == leaves[1][split, "hot"]
    for table, count in hot_rows(exact).items():
        hot_values = [value for value, id_ in ids[1][table].items() if id_ < count]
        assert [ids[0][table][value] for value in hot_values] == list(range(1, count))


def test_ids_depend_on_neither_seed_nor_other_values(hashed: Stages, tmp_path: Path) -> None:
    other = prepare_skewed(tmp_path, seed=5)
    assert ids_by_value(other.dataset, other.manifest) == ids_by_value(
        hashed.dataset, hashed.manifest
    )
    hashes = oracle.hashed(None, SCHEMA.sparse[0]), oracle.hashed("w80", SCHEMA.sparse[0])
    words, hot = ids_by_value(hashed.dataset, hashed.manifest)["word"], hot_rows(hashed)["word"]
    assert words["w80"] == hot + hashes[1] % BUCKETS
    assert words[None] in (*range(hot), hot + hashes[0] % BUCKETS)


def hot_rows(hashed: Stages) -> dict[str, int]:
    return {table.name: table.hot_rows for table in hashed.manifest.tables}


def test_collisions_are_counted(hashed: Stages) -> None:
    sharing = {shared.table: shared for shared in hashed.hot_set.sharing}
    assert list(sharing) == ["word", "hex"]
    for name, shared in sharing.items():
        lines = pl.read_parquet(hashed.dataset / "vocabulary" / f"{name}.parquet").rows()
        cold = [(id_, accesses) for _, id_, accesses in lines if id_ >= hot_rows(hashed)[name]]
        values_per_id = Counter(id_ for id_, _ in cold)
        assert (shared.values, shared.rows) == (len(cold), BUCKETS)
        assert shared.unused == BUCKETS - len(values_per_id)
        assert shared.shared == sum(values_per_id[id_] > 1 for id_, _ in cold)
        accesses = sum(accesses for id_, accesses in cold if values_per_id[id_] > 1)
        assert shared.access_share == accesses / sum(accesses for _, _, accesses in lines)
    recorded = hashed.manifest.preparation["sharing"]
    assert [table["shared"] for table in recorded] == [table.shared for table in sharing.values()]


def test_a_vocabulary_is_by_id_and_then_by_access_rank(hashed: Stages) -> None:
    for name in KINDS:
        frame = pl.read_parquet(hashed.dataset / "vocabulary" / f"{name}.parquet")
        assert frame.select("id", -pl.col("accesses")).equals(
            frame.select("id", -pl.col("accesses")).sort("id", "accesses")
        )


def test_summaries_show_collisions(hashed: Stages, capsys: pytest.CaptureFixture[str]) -> None:
    print_hot_set(hashed.hot_set)
    print_dataset(hashed.manifest, hashed.dataset)
    printed = capsys.readouterr().out
    assert printed.count("hashed cold ids") == 2
    assert printed.count(f"1 of 3 tables have at most {BUCKETS} cold values") == 2


def test_summaries_of_exact_ids_do_not_mention_collisions(
    shop: Stages, capsys: pytest.CaptureFixture[str]
) -> None:
    print_dataset(shop.manifest, shop.dataset)
    assert "cold values" not in capsys.readouterr().out
    assert shop.hot_set.sharing == ()
    assert not any(table.hashed for table in shop.manifest.tables)


# ── Its readers ──────────────────────────────────────────────────────────────────────────────────


def test_new_rows_get_the_ids_of_training_and_unknown_values_id_0(hashed: Stages) -> None:
    words = ids_by_value(hashed.dataset, hashed.manifest)["word"]
    rows = [{"word": value} for value in [*words, "never seen"]]
    assert Encoder(hashed.dataset).encode(rows)["word"].to_list() == [*words.values(), 0]


def test_every_value_is_exported_with_the_embedding_of_its_row(
    hashed: Stages, tmp_path: Path
) -> None:
    run(hashed.dataset, tmp_path / "run", bottom_mlp=())
    for _ in range(2):
        files = export(hashed.dataset, tmp_path / "run", tmp_path / "tables")
        assert [file.rows for file in files] == [
            table.vocabulary.rows + 1 for table in hashed.manifest.tables
        ]
    weights = load_table_weights(tmp_path / "run")
    for name, ids in ids_by_value(hashed.dataset, hashed.manifest).items():
        frame = pl.read_parquet(tmp_path / "tables" / f"{name}.parquet")
        assert frame["value"].to_list() == [None, *ids]
        assert frame["id"].to_list() == [0, *ids.values()]
        assert frame["embedding"].to_list() == weights[name][[0, *ids.values()]].tolist()


def test_a_report_counts_the_shared_rows(hashed: Stages, tmp_path: Path) -> None:
    write_report(hashed.dataset, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Tables whose cold ids are hashed" in page
    rows = read_rows(hashed.dataset, read_facts(hashed.dataset))
    for table in hashed.manifest.tables:
        lines = pl.read_parquet(hashed.dataset / table.vocabulary.path).rows()
        counts = Counter({0: 0})
        for _, id_, accesses in lines:
            counts[id_] += accesses
        found = rows.stacked.accesses[rows.row_of[table.name]].tolist()
        assert found == [counts[id_] for id_ in range(table.rows)]


# ── Damage ───────────────────────────────────────────────────────────────────────────────────────

Change = Callable[[pl.DataFrame], pl.DataFrame]


def moved(frame: pl.DataFrame) -> pl.DataFrame:
    """Move the last cold value to the row before, where its hash does not put it."""
    ids = frame["id"].to_list()
    return frame.with_columns(id=pl.Series([*ids[:-1], ids[-1] - 1])).sort("id")


def swapped(frame: pl.DataFrame) -> pl.DataFrame:
    """Swap the ids of the first two hot values."""
    return frame.with_columns(id=pl.Series([2, 1, *frame["id"][2:]]))


def miscounted(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(accesses=pl.col("accesses") + (pl.int_range(pl.len()) == 40))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (moved, "1 ids are not the hash of their value"),
        (swapped, "are not 1 to"),
        (miscounted, "the accesses of 1 ids are not those in train"),
    ],
)
def test_damage_is_found(hashed: Stages, tmp_path: Path, change: Change, fault: str) -> None:
    copy = Path(shutil.copytree(hashed.dataset, tmp_path / "copy"))
    assert verify(copy, Executor(1)).faults == ()
    path = copy / "vocabulary" / "word.parquet"
    change(pl.read_parquet(path)).write_parquet(path)
    resigned(copy, "vocabulary/word.parquet")
    (found,) = verify(copy, Executor(1)).faults
    assert fault in found


@pytest.mark.parametrize(
    ("given_parameters", "message"),
    [
        ({"cold_ids": "hashed"}, "needs --cold-buckets"),
        ({"cold_buckets": 8}, "--cold-buckets applies only to --cold-ids hashed"),
        ({"cold_ids": "folded"}, "must be one of exact, hashed"),
        ({"cold_ids": "hashed", "cold_buckets": -1}, "--cold-buckets"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(
    given_parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        CalibrateParameters.of(hot_budget="1KiB", **given_parameters)


def test_the_command_line_hashes_ids_and_prints_the_collisions(tmp_path: Path) -> None:
    log, out = ROOT / "data" / "criteo-sample.tsv", tmp_path / "out"
    options = ["--schema", "criteo-kaggle", "--hot-budget", "64KiB", "--out", out]
    options += ["--cold-ids", "hashed", "--cold-buckets", "100"]
    arguments = [str(one) for one in ("prepare", log, *options)]
    done = fae(*arguments)
    assert done.exit_code == 0
    told = Manifest.read(out).preparation
    assert told["parameters"]["calibrate"]["cold_buckets"] == 100
    assert all(one["table"] in done.output for one in told["sharing"])
    assert f"{26 - len(told['sharing'])} of 26 tables have at most 100 cold values" in done.output
    assert 0 < len(told["sharing"]) < 26


def test_the_shop_with_one_cold_row_a_table(tmp_path: Path) -> None:
    shop = shop_stages(tmp_path, budget=4 * 20, cold_buckets=1)
    city = pl.read_parquet(shop.dataset / "vocabulary" / "city.parquet")
    assert [table.hot_rows for table in shop.manifest.tables] == [2, 2]
    assert city.rows() == [
        ("Oslo", 1, 8), ("Rome", 2, 4), (None, 2, 2), ("Bonn", 2, 1), ("Lima", 2, 1),
    ]  # fmt: skip
    assert SHOP.tables.keys() == {one.table for one in shop.hot_set.sharing}
