"""Logs of several samples a line, of pairs, and of several labels are scored, labelled or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

import fae
from fae.format.errors import LogError, ParameterError
from fae.logs.schema import Schema
from tests.support import command_line
from tests.support.trainer_runs import run

USER = {"name": "user", "role": "sparse"}
ITEM = {"name": "item", "role": "sparse"}
CLICK = {"name": "click", "role": "label"}
EXPLODING = {"field": "shown", "into": ["item", "click"]}


def train(directory: Path, text: str, columns: list[dict[str, Any]], **keys: Any) -> Path:
    """Prepare a log and train on it; return the run, in which the items' scores differ."""
    log = directory / "log.txt"
    log.write_text(text)
    document = {"name": "shapes", "columns": columns, **keys}
    schema = Schema.model_validate(document)
    fae.prepare(log, schema=schema, hot_budget="300B", out=directory / "DIR", valid=0, test=0,
                overwrite=True)  # fmt: skip
    run(directory / "DIR", directory / "RUN", epochs=2, bottom_mlp="", overwrite=True)
    return directory / "RUN"


def predict(trained: Path, text: str | list[str]) -> pl.DataFrame:
    texts = [text] if isinstance(text, str) else text
    logs = [trained.parent / f"new_{number}.txt" for number in range(len(texts))]
    for log, content in zip(logs, texts, strict=True):
        log.write_text(content)
    out = trained.parent / "scores.parquet"
    fae.predict(logs, run=trained, out=out, device="cpu")
    return pl.read_parquet(out)


def score_each(trained: Path, user: str, items: list[str]) -> list[float]:
    """The scores of a user's items, each asked for in the data set's train split."""
    out = trained.parent / "split.parquet"
    fae.predict(trained.parent / "DIR", run=trained, out=out, split="train", device="cpu")
    dataset = fae.open_dataset(trained.parent / "DIR")
    rows = dataset.read("train").with_columns(pl.read_parquet(out)["score"])
    encoded = dataset.encoder().encode([{"user": user, "item": item} for item in items])
    known = {(row["user"], row["item"]): row["score"] for row in rows.iter_rows(named=True)}
    return [known[row] for row in encoded.select("user", "item").iter_rows()]


def impressions(labelled: bool = True) -> str:
    lines = []
    for number in range(60):
        shown = [f"{item}-{int(item == 'b')}" for item in "abc"[: 1 + number % 3]]
        if not labelled:
            shown = [sample.partition("-")[0] for sample in shown]
        lines.append(f"u{number % 2}\t{' '.join(shown)}\n")
    return "".join(lines)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("header", ["", "user\tshown\n"])
def test_each_sample_of_a_line_has_a_score(tmp_path: Path, labelled: bool, header: str) -> None:
    trained = train(
        tmp_path, header + impressions(), [USER, ITEM, CLICK], explode=EXPLODING,
        header=bool(header),
    )  # fmt: skip
    found = predict(trained, header + impressions(labelled))
    assert found.columns == ["row", "element", "score"]
    expected = [(row, element) for row in range(60) for element in range(1 + row % 3)]
    assert found.select("row", "element").rows() == expected
    of_user = [score_each(trained, f"u{number}", list("abc")) for number in range(2)]
    assert found["score"].to_list() == pytest.approx(
        [of_user[row % 2][element] for row, element in expected], abs=1e-6
    )


def test_logs_with_and_without_labels_are_told_apart_one_by_one(tmp_path: Path) -> None:
    trained = train(tmp_path, impressions(), [USER, ITEM, CLICK], explode=EXPLODING)
    found = predict(trained, [impressions(), impressions(labelled=False)])
    assert found["row"].to_list()[-1] == 119
    first, second = (found["score"][rows].to_list() for rows in (slice(120), slice(120, 240)))
    assert first == pytest.approx(second, abs=1e-6)


def test_an_item_that_ends_like_a_label_is_not_cut(tmp_path: Path) -> None:
    text = impressions().replace("a-", "x-7-").replace("b-", "y-8-")
    trained = train(tmp_path, text, [USER, ITEM, CLICK], explode=EXPLODING)
    found = predict(trained, "u0\tx-7 y-8\n")
    assert found["score"].to_list() == pytest.approx(
        score_each(trained, "u0", ["x-7", "y-8"]), abs=1e-6
    )


def test_keys_stand_beside_the_numbers_of_samples(tmp_path: Path) -> None:
    columns = [{"name": "who", "field": "user", "role": "key"},
               {"name": "what", "field": "item", "role": "key"}, USER, ITEM, CLICK]  # fmt: skip
    found = predict(train(tmp_path, impressions(), columns, explode=EXPLODING), impressions())
    assert found.columns == ["who", "what", "element", "score"]
    assert found.rows()[3][:3] == ("u0", "a", 0)
    assert found.rows()[5][:3] == ("u0", "c", 2)


@pytest.mark.parametrize("label", ["7\t", ""], ids=["labelled", "without label"])
def test_pairs_are_scored_whether_or_not_a_label_stands_before_them(
    tmp_path: Path, label: str
) -> None:
    lines = [f"{number % 7}\t1:u{number % 2}\t2:{'abc'[number % 3]}\n" for number in range(60)]
    columns = [
        {**CLICK, "positive": [1, 3]},  # a pair in the label's place would be a negative
        {**USER, "slot": 1},
        {**ITEM, "slot": 2},
    ]
    trained = train(tmp_path, "".join(lines), columns, slots=":")
    found = predict(trained, "".join(f"{label}1:u1\t2:{item}\n" for item in "abc"))
    dataset = fae.open_dataset(tmp_path / "DIR")
    encoded = dataset.encoder().encode([{"1": "u1", "2": item} for item in "abc"])
    out = tmp_path / "split.parquet"
    fae.predict(tmp_path / "DIR", run=trained, out=out, split="train", device="cpu")
    rows = dataset.read("train").with_columns(pl.read_parquet(out)["score"])
    known = {(row["user"], row["item"]): row["score"] for row in rows.iter_rows(named=True)}
    assert found["row"].to_list() == [0, 1, 2]
    assert found["score"].to_list() == pytest.approx(
        [known[row] for row in encoded.iter_rows()], abs=1e-6
    )


@pytest.mark.parametrize("labels", ["0\t1\t", ""], ids=["labelled", "without labels"])
def test_logs_of_several_labels_are_scored(tmp_path: Path, labels: str) -> None:
    lines = [
        f"{number % 2}\t{number % 5 // 4}\tu{number % 2}\t{'abc'[number % 3]}\n"
        for number in range(60)
    ]
    columns = [CLICK, {"name": "buy", "role": "label"}, USER, ITEM]
    trained = train(tmp_path, "".join(lines), columns)
    found = predict(trained, "".join(f"{labels}u1\t{item}\n" for item in "abc"))
    assert found["score"].to_list() == pytest.approx(
        score_each(trained, "u1", list("abc")), abs=1e-6
    )


def test_where_further_fields_hide_whether_there_are_labels_the_user_says_so(
    tmp_path: Path,
) -> None:
    lines = "1\t0\tu0\trest\n0\t1\tu1\trest\n" * 20
    trained = train(tmp_path, lines, [CLICK, ITEM, USER], ignore_rest=True)
    log, out = tmp_path / "new.txt", tmp_path / "new.csv"
    log.write_text("0\tu0\trest\n1\tu1\trest\n")
    options = ["--run", trained, "--out", out, "--device", "cpu"]
    refused = command_line.fae("predict", log, *options)
    assert refused.exit_code == 1
    assert "new.txt: with `ignore_rest`, its lines could have labels or not." in refused.output
    scores = []
    for text, labels in (("", "absent"), ("1\t", "present")):
        log.write_text(f"{text}0\tu0\trest\n{text}1\tu1\trest\n")
        assert command_line.fae("predict", log, *options, "--labels", labels).exit_code == 0
        scores.append(pl.read_csv(out)["score"].to_list())
    assert scores[0] == scores[1]
    last = train(
        tmp_path, "u0\ta\t1\trest\nu1\tb\t0\trest\n" * 20, [USER, ITEM, CLICK], ignore_rest=True
    )
    assert predict(last, "u0\ta\t1\trest\n").equals(predict(last, "u0\ta\n"))


def test_a_parquet_log_may_lack_the_label_whatever_the_schema_says_of_lines(
    tmp_path: Path,
) -> None:
    trained = train(tmp_path, impressions(), [USER, ITEM, CLICK], explode=EXPLODING)
    of_text = predict(trained, "u0\ta b\n")
    for shown in (["a", "b"], ["a-1", "b-0"]):
        log, out = tmp_path / "new.parquet", tmp_path / "out.parquet"
        pl.DataFrame({"user": ["u0"], "shown": [shown]}).write_parquet(log)
        fae.predict(log, run=trained, out=out, device="cpu")
        assert pl.read_parquet(out).equals(of_text)
    plain = train(tmp_path, "1\tu0\ta\n0\tu1\tb\n" * 20, [CLICK, USER, ITEM])
    pl.DataFrame({"item": ["a"], "user": ["u1"]}).write_parquet(log)
    fae.predict(log, run=plain, out=out, device="cpu")
    assert pl.read_parquet(out)["score"][0] == predict(plain, "u1\ta\n")["score"][0]


def test_functions_of_a_users_own_run_where_they_are_allowed(tmp_path: Path) -> None:
    shout = {**USER, "function": "tests.support.own_functions:shout"}
    lines = "1\tu0\ta\n0\tu1\tb\n" * 20
    trained = train(tmp_path, lines, [CLICK, shout, ITEM])
    options = ["--run", trained, "--out", tmp_path / "a.csv", "--device", "cpu"]
    refused = command_line.fae("predict", tmp_path / "log.txt", *options)
    assert refused.exit_code == 1
    assert "--own-functions" in refused.output
    allowed = command_line.fae("predict", tmp_path / "log.txt", *options, "--own-functions")
    assert allowed.exit_code == 0
    assert pl.read_csv(tmp_path / "a.csv").height == 40


def test_a_malformed_sample_stops_with_its_line(tmp_path: Path) -> None:
    trained = train(tmp_path, impressions(), [USER, ITEM, CLICK], explode=EXPLODING)
    with pytest.raises(LogError, match="line 2, column shown: not a sample of the form ITEM-CLICK"):
        predict(trained, "u0\ta-0 b-1\nu0\ta-0 b\n")


def test_a_key_called_score_is_an_error(tmp_path: Path) -> None:
    columns = [{"name": "score", "field": "user", "role": "key"}, USER, ITEM, CLICK]
    trained = train(tmp_path, impressions(), columns, explode=EXPLODING)
    with pytest.raises(ParameterError, match="the key 'score' has the name of the scores"):
        predict(trained, impressions())
