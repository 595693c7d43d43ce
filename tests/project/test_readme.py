"""What the README promises: its lines of code run as they stand."""

import re
import shlex
from pathlib import Path

import duckdb
import pandas
import polars
import pytest
import torch

from fae.dataset.parameters import PartitionParameters
from fae.execution.executor import Executor
from fae.format.manifest import Manifest
from fae.hotset.parameters import CalibrateParameters
from fae.ingestion.parameters import IngestParameters
from fae.logs.files import find_logs
from fae.logs.schema import load_schema, parse_schema
from fae.preparation import PreparationParameters, prepare
from fae.profiling.parameters import ProfileParameters
from fae.synthetic import write_log
from fae_trainer.embedding.module import HotColdEmbedding
from tests.support.command_line import fae
from tests.support.project import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLE = ROOT / "data" / "criteo-sample.tsv"


def code(language: str, holds: str) -> str:
    """The README's block of `language` with `holds` in it."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return next(block for block in blocks if holds in block)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample of `data/`, prepared, as `DIR` in a folder of its own."""
    schema = load_schema("criteo-kaggle")
    parameters = PreparationParameters(
        IngestParameters(),
        ProfileParameters(),
        CalibrateParameters.of(hot_budget="128KiB"),
        PartitionParameters(),
    )
    out = tmp_path_factory.mktemp("readme") / "DIR"
    prepare(find_logs([str(SAMPLE)], schema), schema, out, Executor(), parameters)
    return out


def test_the_one_liners_read_every_train_row(dataset, monkeypatch):
    monkeypatch.chdir(dataset.parent)
    lines = code("python", "duckdb.sql").strip().splitlines()
    expected = sum(leaf.rows for leaf in Manifest.read(dataset).splits["train"].values())
    scope = {"polars": polars, "duckdb": duckdb, "pandas": pandas}
    assert len(lines) == 3
    for line in lines:
        frame = eval(line, scope)
        if hasattr(frame, "fetchdf"):
            frame = frame.fetchdf()
        assert len(frame) == expected, line
        assert {"label", "I1", "C26"} <= set(frame.columns), line


def test_the_encoder_lines_run(dataset, monkeypatch):
    monkeypatch.chdir(dataset.parent)
    scope: dict[str, object] = {}
    exec(code("python", "Encoder("), scope)
    encoder = scope["Encoder"]("DIR")
    encoded = encoder.encode([{"I1": 3, "C1": "68fd1e64"}])
    assert encoded.height == 1
    assert encoded.columns[0] == "I1"


def test_the_days_follow_each_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = SAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "day_1.tsv").write_text("".join(lines[:1000]), encoding="utf-8")
    (tmp_path / "logs" / "day_2.tsv").write_text("".join(lines[1000:]), encoding="utf-8")
    commands = code("sh", "--append").strip().splitlines()
    assert len(commands) == 5
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "fae"
        result = fae(*arguments)
        assert result.exit_code == 0, result.output
    assert {"checkpoint.pt", "metrics.json"} <= {path.name for path in Path("RUN_2").iterdir()}
    rows = sum(log["rows"] for log in Manifest.read("DIR").preparation["logs"])
    assert rows == len(lines)


def test_the_training_loop_of_an_own_model_runs(dataset, monkeypatch):
    monkeypatch.chdir(dataset.parent)
    scope: dict[str, object] = {}
    exec(code("python", "HotColdLoader("), scope)
    before = HotColdEmbedding(scope["loader"].manifest).tables.rows()
    after = scope["embedding"].tables.rows()
    assert any(not torch.equal(after[name], before[name]) for name in before)
    assert torch.isfinite(scope["loss"])


def test_the_schema_is_valid():
    schema = parse_schema(code("yaml", "my-log"), "README.md")
    assert [column.name for column in schema.sparse][:2] == ["C1", "C2"]
    assert schema.tables["item"][1].multi is not None


def test_every_path_in_the_table_of_files_exists():
    table = README.split("## The files")[1]
    for path in re.findall(r"`([\w./]+)`", table):
        if "/" in path or path[0].isupper() or path.endswith(".yaml"):
            assert (ROOT / path).exists(), path


def test_the_sample_is_made_by_the_command_that_its_readme_states(tmp_path):
    write_log("criteo", 2000, tmp_path / "again.tsv", 1)
    assert (tmp_path / "again.tsv").read_bytes() == SAMPLE.read_bytes()
    assert SAMPLE.stat().st_size < 1_000_000
