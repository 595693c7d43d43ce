"""Histories are what the last of a user's earlier rows have, however rows are cut and grouped."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest

import fae
from fae.execution.executor import Executor
from fae.format.errors import LogError
from fae.ingestion import histories
from fae.logs.files import find_logs
from fae.logs.schema_files import parse_schema
from tests.support.oracle import Options
from tests.support.shop_days import assert_same, at_once
from tests.support.small_logs import parameters_of, staged, staged_rows, written
from tests.support.trainer_runs import run

SCHEMA = parse_schema(
    """
name: past
separator: ","
header: true
embedding: {dim: 4}
columns:
  - {name: click, role: label}
  - {name: row, role: key}
  - {name: who, field: user, role: key}
  - {name: t, role: time}
  - {name: past, role: sparse, history: {of: item, by: user, length: 3}, multi: {separator: " "}}
  - {name: user, role: sparse, encoding: integer}
  - {name: item, role: sparse, encoding: integer}
  - {name: shop, role: sparse}
  - {name: shops, role: sparse, history: {of: shop, by: who, length: 1}}
""",
    "past",
)
HEADER = "click,row,user,t,item,shop\n"
ROWS = 240


def make_rows() -> list[tuple[str, ...]]:
    rng = random.Random(3)
    return [
        (
            str(n % 2),
            f"r{n}",
            rng.choice(["", *"12345"]),
            f"{rng.randrange(60)}.{rng.randrange(3)}",
            rng.choice(["", *"123456789"]),
            rng.choice(["", "a", "bé"]),
        )
        for n in range(ROWS)
    ]


LINES = make_rows()


def text(lines: list[tuple[str, ...]]) -> str:
    return HEADER + "".join(",".join(line) + "\n" for line in lines)


def expect(lines: list[tuple[str, ...]], place: int, length: int) -> list[list[str]]:
    """Return each line's history of the field at `place`, by its user."""
    order = sorted(range(len(lines)), key=lambda n: (float(lines[n][3]), n))
    seen: dict[str, list[str]] = {}
    found: list[list[str]] = [[] for _ in lines]
    for n in order:
        user, value = lines[n][2], lines[n][place]
        if user:
            found[n] = seen.get(user, [])[-length:]
            if value:
                seen.setdefault(user, []).append(value)
    return found


ITEMS, SHOPS = expect(LINES, 4, 3), expect(LINES, 5, 1)


@pytest.mark.parametrize(
    ("threads", "block_bytes", "rows_per_group"), [(1, 1 << 20, 1000), (2, 300, 40)]
)
def test_each_row_has_the_last_values_of_earlier_rows(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    block_bytes: int,
    rows_per_group: int,
) -> None:
    monkeypatch.setattr(histories, "ROWS_PER_GROUP", rows_per_group)
    logs = find_logs(written(tmp_path, {"log.csv": text(LINES)}), SCHEMA)
    executor = Executor(threads)
    staging = staged(logs, SCHEMA, tmp_path / "out", block_bytes=block_bytes, executor=executor)
    assert (len(staging.parts) > 1) == (threads > 1)
    rows = staged_rows(staging)  # label, then the sparse columns
    assert [row[1] for row in rows] == [[int(item) for item in items] for items in ITEMS]
    assert [row[5] for row in rows] == SHOPS
    assert not list((tmp_path / "out").rglob("*.partial"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> fae.Dataset:
    directory = tmp_path_factory.mktemp("past")
    log = directory / "log.csv"
    log.write_text(text(LINES))
    return fae.prepare(log, schema=SCHEMA, out=directory / "DIR", hot_budget="300B", threads=1)


def test_new_rows_bring_their_histories(dataset: fae.Dataset, tmp_path: Path) -> None:
    assert dataset.verify().faults == ()
    rows = pl.concat([dataset.read(split) for split in ("train", "valid", "test")])
    rows = rows.sort(pl.col("row").str.slice(1).cast(pl.Int64))
    raw = [
        {"user": line[2], "item": line[4], "shop": line[5], "past": ITEMS[n], "shops": SHOPS[n]}
        for n, line in enumerate(LINES)
    ]
    encoded = dataset.encoder().encode(raw)
    assert encoded.equals(rows.select(encoded.columns))
    trained, new, out = tmp_path / "RUN", tmp_path / "new.csv", tmp_path / "new.parquet"
    run(dataset.folder.path, trained, bottom_mlp="")
    new.write_text(text(LINES))
    with pytest.raises(LogError, match=r"bring their histories with them, as lists: past, shops\."):
        fae.predict(new, run=trained, out=out, device="cpu")
    lists = zip(LINES, ITEMS, SHOPS, strict=True)
    new.write_text(
        HEADER.strip()
        + ",past,shops\n"
        + "".join(
            f"{','.join(line)},{' '.join(past)},{''.join(shop)}\n" for line, past, shop in lists
        )
    )
    assert fae.predict(new, run=trained, out=out, device="cpu") == ROWS
    scores = pl.read_parquet(out)
    fae.predict(dataset.folder.path, run=trained, out=out, device="cpu")
    of_test = pl.read_parquet(out).join(scores, on="row")
    assert of_test.height == ROWS // 10
    assert of_test["score"].to_list() == pytest.approx(of_test["score_right"].to_list())


def test_an_append_makes_the_histories_of_all_rows_again(tmp_path: Path) -> None:
    days = {"day0.csv": text(LINES[:150]), "day1.csv": text(LINES[150:])}
    paths, parameters = written(tmp_path, days), parameters_of(Options(budget=300))
    at_once(paths, SCHEMA, tmp_path / "whole", parameters)
    at_once(paths[:1], SCHEMA, tmp_path / "added", parameters, keep_work=True)
    fae.append(paths[1:], out=tmp_path / "added")
    assert_same(tmp_path / "added", tmp_path / "whole")
