"""Twelve public logs: made-up rows of their shapes are prepared, verified, trained on, predicted.

Their schemas are those of `docs/log-shapes.md`, or presets.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import polars as pl
import polars.testing
import pytest

from fae.api.dataset import Dataset
from fae.format.manifest import SPLITS
from fae.logs.schema import Schema
from fae.logs.schema_files import list_presets, load_schema, parse_schema
from tests.support.command_line import fae
from tests.support.project import ROOT

ROWS = 240
START = datetime.datetime(2017, 11, 6, 14, 0, 0)

Line = Callable[[Random, int], str]


def hexadecimal(rng: Random) -> str:
    return f"{rng.randrange(20):08x}"


def moment(row: int, form: str) -> str:
    return (START + datetime.timedelta(minutes=7 * row)).strftime(form)


def criteo(rng: Random, row: int) -> str:
    counts = [str(rng.randrange(9)) for _ in range(13)]
    return "\t".join([str(row % 2), *counts, *(hexadecimal(rng) for _ in range(26))])


def avazu(rng: Random, row: int) -> str:
    hexes = [hexadecimal(rng) for _ in range(9)]
    rest = [str(rng.randrange(5)) for _ in range(10)]
    return ",".join([str(row), str(row % 3 // 2), moment(row, "%y%m%d%H"), "1", "0", *hexes, *rest])


def taobao(rng: Random, row: int) -> str:
    behaviour = rng.choice(["pv", "pv", "buy", "cart", "fav"])
    return (
        f"{rng.randrange(9)},{rng.randrange(30)},{rng.randrange(4)},{behaviour},{1511544070 + row}"
    )


def movielens(rng: Random, row: int) -> str:
    return f"{rng.randrange(9)}::{rng.randrange(30)}::{rng.randrange(1, 6)}::{978300760 + row}"


def talkingdata(rng: Random, row: int) -> str:
    ids = ",".join(str(rng.randrange(12)) for _ in range(5))
    when = moment(row, "%Y-%m-%d %H:%M:%S")
    return f"{ids},{when},{when if row % 5 == 0 else ''},{int(row % 5 == 0)}"


def mind(rng: Random, row: int) -> str:
    history = " ".join(f"N{rng.randrange(30)}" for _ in range(rng.randrange(4)))
    shown = " ".join(f"N{rng.randrange(30)}-{rng.randrange(2)}" for _ in range(3))
    return f"{row}\tU{rng.randrange(9)}\t{moment(row, '%m/%d/%Y %I:%M:%S %p')}\t{history}\t{shown}"


def kuairand(rng: Random, row: int) -> str:
    ids = f"{rng.randrange(9)},{rng.randrange(30)},{moment(row, '%Y%m%d,%H%M')}"
    labels = ",".join(str(rng.randrange(2)) for _ in range(8))
    return (
        f"{ids},{1652791285000 + row},{labels},{rng.randrange(9999)},{rng.randrange(99999)},0,0,1"
    )


def aliexpress(rng: Random, row: int) -> str:
    categories = [str(rng.randrange(12)) for _ in range(16)]
    numbers = [f"{rng.random():.4f}" for _ in range(63)]
    return ",".join([str(row), *categories, *numbers, str(row % 2), str(int(row % 8 == 1))])


def steam(rng: Random, row: int) -> str:
    game = rng.choice(['"Skyrim, V"', "Dota 2", '"Half ""Life"""'])
    return f"{rng.randrange(9)},{game},play,{rng.randrange(60) / 10},0"


def yoochoose(rng: Random, row: int) -> str:
    when = moment(row, "%Y-%m-%dT%H:%M:%S.277Z")
    return f"{row // 4},{when},{rng.randrange(30)},{rng.choice(['S', '0', '5', '214536502'])}"


def ipinyou(rng: Random, row: int) -> str:
    tags = ",".join(str(rng.randrange(10006, 10020)) for _ in range(rng.randrange(1, 4)))
    tags = "null" if row % 9 == 0 else tags
    when = moment(row, "%Y%m%d%H%M%S") + "008"
    return (
        f"{row % 2}\t4\t{row % 24}\t{hexadecimal(rng)}\t{when}\t{rng.randrange(9)}\t{row}\t{tags}"
    )


AVAZU_HEADER = ",".join(column.name for column in load_schema("avazu").columns)
KUAIRAND_HEADER = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,"
    "long_view,is_profile_enter,play_time_ms,duration_ms,profile_stay_time,comment_stay_time,tab"
)
ALIEXPRESS_HEADER = ",".join(
    ["search_id"]
    + [f"categorical_{number}" for number in range(1, 17)]
    + [f"numerical_{number}" for number in range(1, 64)]
    + ["click", "conversion"]
)
#: By the name of its schema: how a line is made, and the header if the log has one.
SHAPES: dict[str, tuple[Line, str]] = {
    "criteo-kaggle": (criteo, ""),
    "criteo-terabyte": (criteo, ""),
    "avazu": (avazu, AVAZU_HEADER),
    "taobao-behaviour": (taobao, ""),
    "movielens": (movielens, ""),
    "talkingdata": (
        talkingdata,
        "ip,app,device,os,channel,click_time,attributed_time,is_attributed",
    ),
    "mind": (mind, ""),
    "kuairand": (kuairand, KUAIRAND_HEADER),
    "aliexpress": (aliexpress, ALIEXPRESS_HEADER),
    "steam": (steam, ""),
    "yoochoose": (yoochoose, ""),
    "ipinyou": (ipinyou, "click\tweekday\thour\tbidid\ttimestamp\tregion\tslotprice\tusertag"),
}
DOCUMENT = (ROOT / "docs" / "log-shapes.md").read_text("utf-8")
DOCUMENTED = {
    schema.name: (schema, text)
    for text in re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    for schema in [parse_schema(text, "docs/log-shapes.md")]
}


def write_shape(directory: Path, name: str) -> Path:
    line, header = SHAPES[name]
    rng = Random(name)
    lines = [header] * bool(header) + [line(rng, row) for row in range(ROWS)]
    path = directory / f"{name}.txt"
    path.write_text("".join(f"{text}\n" for text in lines), "utf-8")
    return path


def test_every_documented_shape_is_tried_and_short() -> None:
    presets = set(list_presets()) - {"taobao"}
    assert {*DOCUMENTED, *presets} == set(SHAPES)
    assert len(SHAPES) == 12
    for name, (_, text) in DOCUMENTED.items():
        columns = text.partition("columns:\n")[2]
        assert len(columns.splitlines()) < 10, name


@pytest.mark.parametrize("name", list(SHAPES))
def test_a_shape_is_prepared_verified_trained_on_and_predicted(tmp_path: Path, name: str) -> None:
    log = write_shape(tmp_path, name)
    schema = name
    if name in DOCUMENTED:
        schema = str(tmp_path / "schema.yaml")
        Path(schema).write_text(DOCUMENTED[name][1], "utf-8")
    data, run = tmp_path / "data", tmp_path / "run"
    prepared = fae(
        *("prepare", log, "--schema", schema, "--hot-budget", "64KiB", "--out", data),
        *("--threads", "1", "--max-reject-share", "0"),
    )
    assert prepared.exit_code == 0, prepared.output
    dataset = Dataset(data)
    rows = sum(split.rows for split in dataset.splits.values())
    assert rows == ROWS * (3 if name == "mind" else 1)
    assert fae("verify", data).exit_code == 0
    trained = fae(
        *("train", data, "--out", run, "--device", "cpu", "--threads", "1", "--quiet"),
        *("--batch-size", "64"),
    )
    assert trained.exit_code == 0, trained.output
    scores = tmp_path / "scores.parquet"
    of_splits = [predict(data, run, scores, "--split", split) for split in SPLITS]
    expected = pl.concat(of_splits)
    names = dataset.manifest.features.keys
    of_log = predict(log, run, scores)
    assert of_log.columns == [*(names or ["row"]), *["element"] * (name == "mind"), "score"]
    order = [*names, "score"]
    pl.testing.assert_frame_equal(
        of_log.select(order).sort(order), expected.select(order).sort(order), abs_tol=1e-6
    )


def predict(logs: Path, run: Path, out: Path, *options: str) -> pl.DataFrame:
    done = fae("predict", logs, "--run", run, "--out", out, "--device", "cpu", *options)
    assert done.exit_code == 0, done.output
    return pl.read_parquet(out)


@pytest.mark.parametrize("name", list(SHAPES))
def test_a_shapes_schema_can_be_inferred(tmp_path: Path, name: str) -> None:
    log = write_shape(tmp_path, name)
    inferred, staging = tmp_path / "inferred.yaml", tmp_path / "staging"
    assert fae("schema", "infer", log, "--out", inferred).exit_code == 0
    schema = load_schema(str(inferred))
    assert isinstance(schema, Schema)
    done = fae(
        *("ingest", log, "--schema", inferred, "--out", staging, "--threads", "1"),
        *("--max-reject-share", "0"),
    )
    assert done.exit_code == 0, done.output
