"""Synthetic logs against what was measured on the public ones (published heads and tables)."""

import gzip
import io
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from fae.format.errors import ParameterError
from fae.synthetic.log import CHUNK_ROWS, write_log
from tests.support.real_logs import (
    AVAZU_DISTINCT,
    AVAZU_HEAD,
    AVAZU_HEADER,
    AVAZU_HEX,
    AVAZU_IDS,
    CRITEO,
    CRITEO_BLOCKS,
    CRITEO_DISTINCT,
    CRITEO_HEAD,
    CRITEO_IDS,
    CRITEO_MISSING,
)


def frame(kind: str, text: bytes) -> pl.DataFrame:
    if kind == "criteo":
        return pl.read_csv(
            text, separator="\t", has_header=False, new_columns=CRITEO, infer_schema=False
        )
    return pl.read_csv(text, infer_schema=False)


def written(kind: str, rows: int, folder: Path, seed: int = 1) -> bytes:
    path = folder / f"{kind}-{rows}-{seed}"
    write_log(kind, rows, path, seed)
    return path.read_bytes()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory):
    """Logs by (kind, rows, seed), each drawn once."""
    folder = tmp_path_factory.mktemp("logs")
    return cache(lambda kind, rows, seed=1: frame(kind, written(kind, rows, folder, seed)))


def head(log, kind: str, rows: int) -> list[pl.DataFrame]:
    return [log(kind, rows, seed) for seed in (1, 2, 3)]


def wholly_hot(rows: pl.DataFrame, columns: list[str], k: int) -> float:
    """Share of the last fifth whose every id was seen k times in the first four fifths."""
    cut = rows.height * 8 // 10
    hot = np.ones(rows.height - cut, dtype=bool)
    for column in columns:
        codes = rows[column].fill_null("").rank("dense").to_numpy().astype(int)
        hot &= np.bincount(codes[:cut], minlength=codes.max() + 1)[codes[cut:]] >= k
    return float(hot.mean())


def is_function(rows: pl.DataFrame, child: str, parent: str) -> bool:
    """Each value of `child` has one value of `parent`."""
    pairs = rows.select(child, parent).drop_nulls()
    return pairs.n_unique() == pairs[child].n_unique()


@pytest.mark.parametrize(("k", "real"), [(2, 0.1665), (5, 0.0695), (10, 0.0240)])
def test_criteo_rows_are_wholly_hot_as_often_as_real_ones(log, k, real):
    shares = [wholly_hot(rows, CRITEO_IDS, k) for rows in head(log, "criteo", 10_000)]
    assert real / 1.5 < np.mean(shares) < real * 1.5


@pytest.mark.parametrize(
    ("rows", "k", "real"),
    [(9_999, 2, 0.2106), (8_087, 2, 0.1644), (8_087, 5, 0.0773), (8_087, 10, 0.0544)],
)
def test_avazu_rows_are_wholly_hot_as_often_as_real_ones(log, rows, k, real):
    shares = [wholly_hot(one, AVAZU_IDS, k) for one in head(log, "avazu", rows)]
    assert real / 1.5 < np.mean(shares) < real * 1.5


@pytest.mark.parametrize("column", CRITEO_HEAD)
def test_criteo_column_has_the_real_head_and_tail(log, column):
    distinct, first, first_ten, once = CRITEO_HEAD[column]
    for rows in head(log, "criteo", 10_000):
        counts = rows[column].drop_nulls().value_counts(sort=True)["count"]
        assert len(counts) == pytest.approx(distinct, rel=0.2)
        assert counts[0] / 100 == pytest.approx(first, rel=0.15, abs=0.5)
        assert counts[:10].sum() / 100 == pytest.approx(first_ten, rel=0.15)
        assert (counts == 1).mean() * 100 == pytest.approx(once, abs=16)


@pytest.mark.parametrize("column", AVAZU_HEAD)
def test_avazu_column_has_the_real_head(log, column):
    distinct, first = AVAZU_HEAD[column]
    for rows in head(log, "avazu", 8_087):
        counts = rows[column].value_counts(sort=True)["count"]
        assert len(counts) == pytest.approx(distinct, rel=0.3)
        assert counts[0] / 80.87 == pytest.approx(first, rel=0.12, abs=0.5)


def test_distinct_ids_keep_growing_but_not_past_the_published(log):
    small, large = log("criteo", 10_000), log("criteo", 200_000)
    for column, most in zip(CRITEO_IDS, CRITEO_DISTINCT, strict=True):
        assert large[column].n_unique() <= most
        if most > 100_000:
            assert large[column].n_unique() > 5 * small[column].n_unique()
    assert large["C3"].n_unique() > 75_000
    large = log("avazu", 400_000)
    for column, most in AVAZU_DISTINCT.items():
        assert large[column].n_unique() <= most, column
    assert large["device_ip"].n_unique() > 130_000


def test_criteo_format(tmp_path):
    lines = written("criteo", 3_000, tmp_path).decode().splitlines()
    assert {line.count("\t") for line in lines} == {39}
    rows = frame("criteo", "\n".join(lines).encode())
    assert set(rows["label"]) == {"0", "1"}
    for column in CRITEO[1:14]:
        assert rows[column].drop_nulls().str.contains(r"^-?\d+$").all()
    for column in CRITEO_IDS:
        assert rows[column].drop_nulls().str.contains(r"^[0-9a-f]{8}$").all()
    lowest = {c: rows[c].cast(pl.Int64).min() for c in CRITEO[1:14]}
    assert lowest["I2"] in (-2, -1)
    assert min(low for column, low in lowest.items() if column != "I2") == 0


def test_avazu_format(tmp_path):
    text = written("avazu", 3_000, tmp_path)
    assert text.decode().partition("\n")[0] == AVAZU_HEADER
    rows = frame("avazu", text)
    assert rows.null_count().sum_horizontal().item() == 0
    assert rows["id"].n_unique() == 3_000
    hours = rows["hour"].cast(pl.Int64)
    assert hours.is_sorted()
    assert (hours[0], hours[-1], hours.n_unique()) == (14102100, 14103023, 240)
    for column in AVAZU_HEX:
        assert rows[column].str.contains(r"^[0-9a-f]{8}$").all()
    for column in set(AVAZU_IDS) - set(AVAZU_HEX) - {"C20"}:
        assert rows[column].str.contains(r"^\d+$").all()
    assert rows["C20"].str.contains(r"^(-1|\d+)$").all()


def test_criteo_columns_are_missing_in_blocks(log):
    rows = log("criteo", 400_000)
    for first, *others in CRITEO_BLOCKS:
        for other in others:
            assert (rows[first].is_null() == rows[other].is_null()).all()
    for column, percent in CRITEO_MISSING.items():
        assert rows[column].is_null().mean() * 100 == pytest.approx(percent, rel=0.05, abs=0.05)
    assert is_function(rows.with_columns(pl.col("C19").is_null()), "C2", "C19")


@pytest.mark.parametrize(
    "chain",
    [
        ["C3", "C12", "C21", "C16", "C4", "C24"],
        ["C15", "C18", "C2"],
        ["C7", "C13"],
        ["C11", "C13"],
    ],
)
def test_criteo_chains_are_functions(log, chain):
    rows = log("criteo", 400_000)
    for child, parent in pairwise(chain):
        assert is_function(rows, child, parent)
        assert not is_function(rows, parent, child)


def test_criteo_c15_decides_c14_but_for_a_few(log):
    rows = log("criteo", 10_000)
    extra = rows.select("C15", "C14").n_unique() - rows["C15"].n_unique()
    assert 0 <= extra <= 5


def test_avazu_functions(log):
    rows = log("avazu", 400_000)
    for child, parent in [
        *(("C14", c) for c in ("C15", "C16", "C17", "C18", "C19", "C21")),
        *(("C17", c) for c in ("C18", "C19", "C21")),
        ("app_id", "app_domain"),
        ("app_id", "app_category"),
    ]:
        assert is_function(rows, child, parent), (child, parent)
    on_sites = rows.filter(pl.col("site_id") != "85f751fd")
    assert is_function(on_sites, "site_id", "site_category")
    domains = log("avazu", 9_999).filter(pl.col("site_id") != "85f751fd")
    sites = domains["site_id"].n_unique()
    assert sites < domains.select("site_id", "site_domain").n_unique() < 1.2 * sites


def test_avazu_rows_have_a_site_or_an_app(log):
    rows = log("avazu", 400_000)
    assert ((rows["site_id"] == "85f751fd") ^ (rows["app_id"] == "ecad2386")).all()
    devices = rows["device_id"].value_counts(sort=True)
    assert devices["device_id"][0] == "a99f214a"
    assert 0.8 < devices["count"][0] / rows.height < 0.9
    assert (devices["count"] == 1).mean() > 0.6


@pytest.mark.parametrize("kind", ["criteo", "avazu"])
def test_same_seed_same_bytes_on_any_number_of_cores(kind, tmp_path, monkeypatch):
    rows = 2 * CHUNK_ROWS + 100
    many = written(kind, rows, tmp_path)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert written(kind, rows, tmp_path) == many
    assert written(kind, 1_000, tmp_path, 2) != written(kind, 1_000, tmp_path, 1)


def test_a_longer_log_begins_with_the_shorter(tmp_path):
    short, long = CHUNK_ROWS + 17, CHUNK_ROWS + 1_000
    assert written("criteo", long, tmp_path).startswith(written("criteo", short, tmp_path))
    first, second = (frame("avazu", written("avazu", n, tmp_path)) for n in (short, long))
    assert first.drop("hour").equals(second.head(short).drop("hour"))


def test_suffixes_compress_the_same_text(tmp_path):
    plain = written("criteo", 1_000, tmp_path)
    for suffix, decompressed in (
        (".gz", gzip.decompress),
        (".zst", lambda b: pa.input_stream(io.BytesIO(b), compression="zstd").read()),
    ):
        path = tmp_path / f"log.tsv{suffix}"
        report = write_log("criteo", 1_000, path, 1)
        first = path.read_bytes()
        assert decompressed(first) == plain
        assert report.bytes == len(first) < len(plain)
        write_log("criteo", 1_000, path, 1)
        assert path.read_bytes() == first


def test_a_log_appears_only_whole(tmp_path):
    def interrupt(_rows: int) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "log.tsv"
    with pytest.raises(KeyboardInterrupt):
        write_log("criteo", 1_000, path, 1, interrupt)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_rows(tmp_path):
    seen: list[int] = []
    report = write_log("avazu", CHUNK_ROWS + 5, tmp_path / "log.csv", 1, seen.append)
    assert seen == [CHUNK_ROWS, 5]
    assert (report.rows, report.path) == (CHUNK_ROWS + 5, tmp_path / "log.csv")


@pytest.mark.parametrize(
    ("kind", "column", "clicks"), [("criteo", "label", 0.23), ("avazu", "click", 0.17)]
)
def test_labels_have_the_real_rate_and_a_learnable_signal(kind, column, clicks, tmp_path):
    path = tmp_path / "log"
    report = write_log(kind, 100_000, path, 7)
    rows = frame(kind, path.read_bytes())
    label = rows[column].cast(pl.Int64)
    assert label.mean() == pytest.approx(clicks, abs=0.02)
    assert 0.75 < report.best_auc < 0.85
    # Clicks per id of one frequent-ish column, learned on one half, order the other half.
    name = "C15" if kind == "criteo" else "C17"
    known = rows.with_columns(label).head(50_000).group_by(name).agg(
        (pl.col(column).sum() + clicks * 20) / (pl.len() + 20)
    ).rename({column: "rate"})  # fmt: skip
    rest = rows.with_columns(label).tail(50_000).join(known, on=name, how="inner")
    ranks = rest["rate"].rank().to_numpy()
    positive = rest[column].to_numpy() == 1
    pairs = positive.sum() * (~positive).sum()
    auc = (ranks[positive].sum() - positive.sum() * (positive.sum() + 1) / 2) / pairs
    assert 0.55 < auc < report.best_auc


@pytest.mark.parametrize(
    ("kind", "rows", "seed", "message"),
    [
        ("movielens", 10, 1, r"Unknown kind 'movielens'\. Choose avazu or criteo\."),
        ("criteo", 0, 1, "--rows 0: must be at least 1"),
        ("criteo", 10, -1, "--seed -1: must be 0 or more"),
    ],
)
def test_wrong_parameters_are_refused(kind, rows, seed, message, tmp_path):
    with pytest.raises(ParameterError, match=message):
        write_log(kind, rows, tmp_path / "log", seed)
