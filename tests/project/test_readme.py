"""What the README promises: its lines of code run as they stand."""

import gzip
import json
import re
from pathlib import Path

import polars
import pytest
import torch

import fae
from fae.format.manifest import Manifest
from fae.synthetic.log import write_log
from fae_trainer.embedding.module import HotColdEmbedding
from tests.support import command_line
from tests.support.documents import README, find_block, split_commands
from tests.support.project import ROOT

SAMPLE = ROOT / "data" / "criteo-sample.tsv"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample of `data/`, prepared, as `DIR` in a folder of its own."""
    out = tmp_path_factory.mktemp("readme") / "DIR"
    fae.prepare(SAMPLE, schema="criteo-kaggle", hot_budget="128KiB", out=out)
    return out


def test_the_one_liners_read_every_train_row(dataset, monkeypatch):
    monkeypatch.chdir(dataset.parent)
    imports, _, calls = find_block(README, "python", "duckdb.sql").partition("\n\n")
    scope: dict[str, object] = {}
    exec(imports, scope)
    lines = calls.strip().splitlines()
    expected = sum(leaf.rows for leaf in Manifest.read(dataset).splits["train"].values())
    assert len(lines) == 3
    for line in lines:
        frame = eval(line, scope)
        if hasattr(frame, "fetchdf"):
            frame = frame.fetchdf()
        assert len(frame) == expected, line
        assert {"label", "I1", "C26"} <= set(frame.columns), line


def test_the_lines_of_python_prepare_read_and_encode(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "day.gz").write_bytes(gzip.compress(SAMPLE.read_bytes()))
    scope: dict[str, object] = {}
    exec(find_block(README, "python", "fae.prepare("), scope)
    dataset = scope["dataset"]
    assert sum(split.rows for split in dataset.splits.values()) == 2000
    assert Manifest.read("CLICKS") == dataset.manifest


def test_the_days_follow_each_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = SAMPLE.read_bytes().splitlines(keepends=True)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "day_1.gz").write_bytes(gzip.compress(b"".join(lines[:1000])))
    (tmp_path / "logs" / "day_2.gz").write_bytes(gzip.compress(b"".join(lines[1000:])))
    commands = list(split_commands(find_block(README, "sh", "--append")))
    assert len(commands) == 5
    for program, *arguments in commands:
        assert program == "fae"
        result = command_line.fae(*arguments)
        assert result.exit_code == 0, result.output
    assert {"checkpoint.pt", "metrics.json"} <= {path.name for path in Path("RUN_2").iterdir()}
    rows = sum(log["rows"] for log in Manifest.read("DAYS").preparation["logs"])
    assert rows == len(lines)


def test_the_training_loop_of_an_own_model_runs(dataset, monkeypatch):
    monkeypatch.chdir(dataset.parent)
    scope: dict[str, object] = {}
    exec(find_block(README, "python", "fae.HotColdLoader("), scope)
    before = HotColdEmbedding(scope["loader"].manifest).tables.rows()
    after = scope["embedding"].tables.rows()
    assert any(not torch.equal(after[name], before[name]) for name in before)
    assert torch.isfinite(scope["loss"])


def test_the_schema_prepares_and_trains(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("schema.yaml").write_text(find_block(README, "yaml", "my-log"), encoding="utf-8")
    header = ["id", "click", "when", "price", *(f"C{n}" for n in range(1, 10)), "item", "history"]
    lines = [",".join(header)]
    for n in range(400):
        categories = [f"{(n * c) % 7:08x}" for c in range(1, 10)]
        when = f"2024-01-{1 + n // 24:02} {n % 24:02}:00:00"
        row = [str(n), str(n % 2), when, "0.5", *categories, str(n % 5), f"{n % 5}|{n % 3}"]
        lines.append(",".join(row))
    Path("log.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    dataset = fae.prepare("log.csv", schema="schema.yaml", hot_budget="2KiB", out="DIR")
    assert dataset.splits["train"].rows == 320
    result = command_line.fae("train", "DIR", "--out", "RUN", "--device", "cpu", "--quiet")
    assert result.exit_code == 0, result.output
    assert json.loads(Path("RUN/metrics.json").read_text("utf-8"))["train_samples"] == 320
    for command in ("evaluate DIR --run RUN --split test", "export DIR RUN --out TABLES"):
        result = command_line.fae(*command.split())
        assert result.exit_code == 0, result.output
    dims = {
        table: {len(row) for row in polars.read_parquet(f"TABLES/{table}.parquet")["embedding"]}
        for table in ("C1", "item")
    }
    assert dims == {"C1": {16}, "item": {32}}


def test_every_path_in_the_table_of_files_exists():
    table = README.read_text(encoding="utf-8").split("## The files")[1]
    for path in re.findall(r"`([\w./]+)`", table):
        if "/" in path or path[0].isupper() or path.endswith(".yaml"):
            assert (ROOT / path).exists(), path


def test_the_sample_is_made_by_the_command_that_its_readme_states(tmp_path):
    write_log("criteo", 2000, tmp_path / "again.tsv", 1)
    assert (tmp_path / "again.tsv").read_bytes() == SAMPLE.read_bytes()
    assert SAMPLE.stat().st_size < 1_000_000
