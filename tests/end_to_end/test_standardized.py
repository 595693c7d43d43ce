"""Dense columns that learn how to be standardised: from train alone, and the same everywhere."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import fae
from fae.execution.executor import Executor
from fae.logs.files import find_logs
from fae.logs.schema_files import parse_schema
from fae_trainer.__main__ import main
from tests.support.oracle import Options
from tests.support.shop_days import assert_same, at_once
from tests.support.small_logs import parameters_of, stages, written
from tests.support.trainer_runs import run

SCHEMA = parse_schema(
    """
name: learnt
separator: ","
header: true
columns:
  - {name: click, role: label}
  - {name: id, role: key}
  - {name: price, role: dense, missing: 2, standardize: true}
  - {name: same, role: dense, transform: none, standardize: true}
  - {name: v, role: dense, transform: none, clip: [-1, 1], standardize: true, vector: {size: 2}}
  - {name: plain, role: dense, transform: none}
  - {name: item, role: sparse, encoding: integer}
""".replace("vector: {size: 2}", 'vector: {size: 2, separator: " "}'),
    "learnt",
)
NAMES = ["click", "id", "price", "same", "v", "plain", "item"]
ROWS, TRAIN = 400, 320
DAYS = [range(300), range(300, ROWS)]


def line(row: int) -> str:
    # Held-out rows are far away from the others: none of it may show in what is learnt.
    far = 1000 if row >= TRAIN else 1
    price = "" if row % 5 == 0 else f"{(row * 37 % 101) * far / 7:.4f}"
    same = 0.1 if row < TRAIN else 5
    return f"{row % 2},r{row},{price},{same},{row % 9 / 8:.3f} {-row % 4},{row},{row % 6}"


def text(rows: range) -> str:
    return ",".join(NAMES) + "\n" + "".join(f"{line(row)}\n" for row in rows)


def price_before(row: int) -> float:
    """Return a price as it is before it is standardised."""
    price = line(row).split(",")[2]
    return float(np.float32(math.log1p(float(price) if price else 2.0)))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> fae.Dataset:
    directory = tmp_path_factory.mktemp("learnt")
    paths = written(directory, {f"day{n}.csv": text(rows) for n, rows in enumerate(DAYS)})
    out = directory / "DIR"
    return fae.prepare(paths, schema=SCHEMA, out=out, hot_budget="256B", threads=1)


def read_all(dataset: fae.Dataset) -> pl.DataFrame:
    rows = pl.concat([dataset.read(split) for split in ("train", "valid", "test")])
    return rows.sort(pl.col("id").str.slice(1).cast(pl.Int64))


def test_the_numbers_of_train_decide(dataset: fae.Dataset) -> None:
    rows = read_all(dataset)
    before = np.array([price_before(row) for row in range(ROWS)])
    mean, std = before[:TRAIN].mean(), before[:TRAIN].std()
    assert rows["price"].to_numpy() == pytest.approx((before - mean) / std, abs=1e-5)
    assert rows["plain"].to_list() == list(range(ROWS))
    assert rows["same"].to_list() == [0.0] * ROWS
    for name in ("v_1", "v_2"):
        values = rows[name].to_numpy()[:TRAIN].astype(np.float64)
        assert (values.mean(), values.std()) == pytest.approx((0, 1), abs=1e-6)
    learnt = dataset.manifest.features.standardized
    assert [one.column for one in learnt] == ["price", "same", "v_1", "v_2"]
    assert (learnt[0].mean, learnt[0].std) == pytest.approx((mean, std))
    assert dataset.verify().faults == ()


def test_rows_are_encoded_as_they_were_prepared(dataset: fae.Dataset) -> None:
    lines = [line(row).split(",") for row in range(ROWS)]
    raw = [dict(zip(NAMES, values, strict=True)) for values in lines]
    expected, encoder = read_all(dataset), dataset.encoder()
    encoded = encoder.encode(raw)
    assert encoded.equals(expected.select(encoded.columns))
    plain = [{name: row[name] for name in ("price", "same", "item")} for row in raw[:3]]
    few = encoder.encode(plain)
    assert few["price"].to_list() == expected["price"].to_list()[:3]


@pytest.mark.parametrize(("threads", "block_bytes"), [(1, 200), (2, 3000)])
def test_neither_threads_nor_parts_show(
    tmp_path: Path, dataset: fae.Dataset, threads: int, block_bytes: int
) -> None:
    logs = find_logs([str(dataset.folder.path.parent / "day*.csv")], SCHEMA)
    executor = Executor(threads)
    made = stages(
        logs, SCHEMA, tmp_path, Options(budget=256), executor=executor, block_bytes=block_bytes
    )
    assert made.manifest.features == dataset.manifest.features


def test_an_append_learns_again_and_an_import_tells_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = written(tmp_path, {f"day{n}.csv": text(rows) for n, rows in enumerate(DAYS)})
    parameters = parameters_of(Options(budget=256))
    at_once(paths, SCHEMA, tmp_path / "whole", parameters)
    at_once(paths[:1], SCHEMA, tmp_path / "added", parameters, keep_work=True)
    run(tmp_path / "added", tmp_path / "old", bottom_mlp=(8, 16))
    fae.append(paths[1:], out=tmp_path / "added")
    assert_same(tmp_path / "added", tmp_path / "whole")
    main(["import", f"{tmp_path}/old", "--data", f"{tmp_path}/added", "--out", f"{tmp_path}/new"])
    note = "the mean and standard deviation of price, v_1 were learnt again and differ"
    assert note in capsys.readouterr().out
