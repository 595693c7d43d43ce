"""Scores of new logs are those that the model gives the same rows of the data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import fae
from fae.format.errors import DatasetError, LogError, ParameterError
from fae.logs.schema import Schema
from fae_trainer.run import evaluate
from tests.support import command_line
from tests.support.small_logs import SHOP, SHOP_LOG, schema_of
from tests.support.trainer_runs import run

WORDS = ["a", "bb", "ccc", "dddd"]
PLAIN = schema_of(
    [
        {"name": "label", "role": "label"},
        {"name": "price", "role": "dense"},
        {"name": "word", "role": "sparse"},
        {"name": "when", "role": "time"},
    ]
)


@dataclass(frozen=True)
class Trained:
    """A log, its data set and a run."""

    log: Path
    data: Path
    run: Path


def train(directory: Path, text: str, schema: Schema) -> Trained:
    log = directory / "log.csv"
    log.write_text(text)
    fae.prepare(log, schema=schema, hot_budget="300B", out=directory / "DIR", valid=0, test=0.5)
    run(directory / "DIR", directory / "RUN", epochs=2)
    return Trained(log, directory / "DIR", directory / "RUN")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("shop"), SHOP_LOG, SHOP)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    lines = [f"{n % 2},{n * 7 % 13},{WORDS[n * n % 4]},{n}\n" for n in range(100)]
    return train(tmp_path_factory.mktemp("plain"), "".join(lines), PLAIN)


def scores_by_features(trained: Trained) -> dict[tuple[Any, ...], float]:
    """What `fae evaluate`'s model gives the rows of train and test, by their features."""
    scores: dict[tuple[Any, ...], float] = {}
    for split in ("train", "test"):
        _, score = evaluate.predict(trained.data, trained.run, split, device="cpu")
        rows = fae.open_dataset(trained.data).read(split).drop("label").rows()
        scores |= {key(row): one for row, one in zip(rows, score.tolist(), strict=True)}
    return scores


def key(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(tuple(value) if isinstance(value, list) else value for value in row)


def drop_column(text: str, *columns: int) -> str:
    lines = [line.split(",") for line in text.splitlines()]
    kept = [[cell for at, cell in enumerate(line) if at not in columns] for line in lines]
    return "".join(",".join(line) + "\n" for line in kept)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: drop_column(text, 1),
        lambda text: drop_column(text, 0, 1, 2),
        lambda text: text.replace("click,", "anything,"),
    ],
    ids=["labelled", "without label", "features only", "another column"],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_are_scored_as_in_the_data_set(
    shop: Trained, tmp_path: Path, change: Callable[[str], str], suffix: str
) -> None:
    log, out = tmp_path / "new.csv", tmp_path / f"scores{suffix}"
    log.write_text(change(SHOP_LOG))
    assert fae.predict(log, run=shop.run, out=out, device="cpu") == 20
    found = pl.read_csv(out) if suffix == ".csv" else pl.read_parquet(out)
    assert found["row"].to_list() == list(range(20))
    raw = pl.read_csv(SHOP_LOG.encode(), infer_schema=False).drop("id", "click", "time")
    encoded = fae.Encoder(shop.data).encode(raw).rows()
    scores = scores_by_features(shop)
    assert found["score"].to_list() == pytest.approx(
        [scores[key(row)] for row in encoded], abs=1e-6
    )


@pytest.mark.parametrize("labelled", [True, False])
def test_lines_without_a_header_may_lack_the_label(
    plain: Trained, tmp_path: Path, labelled: bool
) -> None:
    text = plain.log.read_text()
    logs = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for log in logs:
        log.write_text(text if labelled else drop_column(text, 0))
    assert fae.predict(logs, run=plain.run, out=tmp_path / "out.csv", device="cpu") == 200
    found = pl.read_csv(tmp_path / "out.csv")
    assert found["row"].to_list() == list(range(200))
    names = [column.name for column in PLAIN.columns]
    raw = pl.read_csv(plain.log, new_columns=names, has_header=False, infer_schema=False)
    encoded = fae.Encoder(plain.data).encode(raw.drop("label")).rows()
    scores = scores_by_features(plain)
    expected = [scores[key(row)] for row in encoded] * 2
    assert np.allclose(found["score"], expected, atol=1e-6)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_of_a_data_set_is_scored_in_its_order(
    shop: Trained, tmp_path: Path, split: str
) -> None:
    out = tmp_path / "out.csv"
    rows = fae.predict(shop.data, run=shop.run, out=out, split=split, device="cpu")
    _, scores = evaluate.predict(shop.data, shop.run, split, device="cpu")
    assert pl.read_csv(out)["score"].to_list() == scores.tolist()
    assert rows == len(scores) == fae.open_dataset(shop.data).read(split).height


def test_keys_stand_beside_the_scores(tmp_path: Path) -> None:
    columns = [{**column, "role": "key"} if column["name"] == "id" else column
               for column in SHOP.document()["columns"]]  # fmt: skip
    schema = Schema.model_validate({**SHOP.document(), "columns": columns})
    trained = train(tmp_path, SHOP_LOG, schema)
    fae.predict(trained.log, run=trained.run, out=tmp_path / "out.parquet", device="cpu")
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found.columns == ["id", "score"]
    assert "".join(found["id"]) == "abcdefghijklmnopqrst"
    fae.predict(trained.data, run=trained.run, out=tmp_path / "test.csv", device="cpu")
    of_test = fae.open_dataset(trained.data).read("test")["id"]
    assert pl.read_csv(tmp_path / "test.csv")["id"].to_list() == of_test.to_list()


def test_the_command_scores_a_log(shop: Trained, tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    options = ["--run", shop.run, "--data", shop.data, "--out", out, "--device", "cpu"]
    result = command_line.fae("predict", shop.log, *options)
    assert (result.exit_code, result.stdout) == (0, f"{out}: 20 rows\n")
    assert pl.read_csv(out).height == 20


@pytest.mark.parametrize(
    ("text", "out", "error", "named"),
    [
        (SHOP_LOG + "u,1,x,1,Rome,x,\n", "a.csv", LogError, "line 22, column item: not a 64-bit"),
        (SHOP_LOG.splitlines()[0] + "\n", "a.csv", LogError, "hold no rows"),
        (SHOP_LOG, "a.txt", ParameterError, r"ends in \.csv or \.parquet"),
        (drop_column(SHOP_LOG, 5), "a.csv", LogError, "the header lacks item"),
    ],
)
def test_what_cannot_be_scored_is_an_error_and_leaves_no_file(
    shop: Trained, tmp_path: Path, text: str, out: str, error: type[Exception], named: str
) -> None:
    (tmp_path / "new.csv").write_text(text)
    with pytest.raises(error, match=named):
        fae.predict(tmp_path / "new.csv", run=shop.run, out=tmp_path / out, device="cpu")
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


def test_a_run_that_names_no_data_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="name the data set with --data"):
        fae.predict("x.csv", run=tmp_path, out=tmp_path / "a.csv")


def test_an_absent_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"there is no run at .*Train one"):
        fae.predict("x.csv", run=tmp_path / "RUN", out=tmp_path / "a.csv")
