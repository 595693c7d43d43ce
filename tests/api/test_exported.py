"""Exported models score raw rows as the trainer does."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest

import fae
from fae.api.exported import fill_inputs
from fae.format.errors import DatasetError, MissingExtraError, ParameterError
from fae.logs.schema import Schema
from fae_trainer.run import evaluate
from fae_trainer.serving import model_files
from tests.support import command_line
from tests.support.project import PYTHONPATH, ROOT
from tests.support.small_logs import SHOP, SHOP_LOG
from tests.support.trainer_runs import run

#: The shop's lists, and two dims.
SCHEMA = Schema.model_validate(
    {
        **SHOP.document(),
        "columns": [
            {**column, "dim": 2} if column["name"] == "city" else column
            for column in SHOP.document()["columns"]
        ],
    }
)
RAW = pl.read_csv(SHOP_LOG.encode(), infer_schema=False).drop("id", "click", "time")


@dataclass(frozen=True)
class Served:
    """A data set, a run, the run to each format, and what `fae predict` says of the log's rows."""

    data: Path
    run: Path
    models: Path
    scores: np.ndarray


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    root = tmp_path_factory.mktemp("served")
    log, data, trained = root / "log.csv", root / "DIR", root / "RUN"
    log.write_text(SHOP_LOG)
    fae.prepare(log, schema=SCHEMA, hot_budget="300B", out=data, valid=0, test=0.5)
    run(data, trained, epochs=2, lr=0.5)
    fae.predict(log, run=trained, out=root / "scores.csv", device="cpu")
    for to in ("onnx", "torch", "safetensors"):
        fae.export(data, trained, root / to, to=to)
    return Served(data, trained, root, pl.read_csv(root / "scores.csv")["score"].to_numpy())


@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_raw_rows_score_as_by_predict(served: Served, to: str) -> None:
    model = fae.load_exported(served.models / to)
    assert np.allclose(model.predict(RAW), served.scores, rtol=0, atol=1e-6)
    one_by_one = [model.predict([row])[0] for row in RAW.to_dicts()[:3]]
    assert np.allclose(one_by_one, served.scores[:3], rtol=0, atol=1e-6)
    assert model.predict([]).shape == (0,)
    unseen = {"price": "1", "city": "Paris", "item": "99", "seen": "98 97 7"}
    assert 0 < model.predict([unseen])[0] < 1
    with pytest.raises(DatasetError, match="row 0, column item: not a 64-bit integer"):
        model.predict([{"item": "x"}])


def test_pieces_of_a_table_score_as_the_whole(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fae.api.exported._IDS", 3)
    model = fae.load_exported(served.models / "onnx")
    assert np.allclose(model.predict(RAW), served.scores, rtol=0, atol=1e-6)


def test_onnx_runtime_alone_gives_the_log_loss_of_evaluate(served: Served) -> None:
    folder = served.models / "onnx"
    serving = json.loads((folder / "serving.json").read_text("utf-8"))
    assert [tensors["name"] for tensors in serving["inputs"]] == ["dense", "ids", "list_seen"]
    session = onnxruntime.InferenceSession(folder / serving["files"][0]["path"])
    for kind, found in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        described = [(tensors["name"], tensors["shape"]) for tensors in serving[kind]]
        assert described == [(tensors.name, tensors.shape) for tensors in found]
    test = fae.open_dataset(served.data).read("test")
    model = fae.load_exported(folder)
    logit, score = session.run(None, fill_inputs(test, model.serving.inputs))
    assert np.allclose(score, 1 / (1 + np.exp(-logit)), rtol=0, atol=1e-6)
    sign = 1 - 2 * test["label"].to_numpy()
    expected = evaluate.evaluate(served.data, served.run, "test", device="cpu")
    assert np.logaddexp(0, sign * logit).mean() == pytest.approx(expected["test_logloss"], abs=1e-6)


def test_safetensors_hold_all_that_the_scores_depend_on(served: Served) -> None:
    from safetensors.numpy import load_file

    folder = served.models / "safetensors"
    weights = load_file(folder / "model.safetensors")
    encoded = fae.Encoder(folder / "encoder").encode(RAW)
    item, city = weights["tables.item"], weights["tables.city"]
    seen = np.array([item[ids].sum(axis=0) for ids in encoded["seen"].to_list()])
    projected = city[encoded["city"]] @ weights["network.projections.2.weight"].T
    straight = encoded["price"].to_numpy()[:, None]
    for layer in (0, 2):
        straight = straight @ weights[f"network.bottom.{layer}.weight"].T
        straight = np.maximum(straight + weights[f"network.bottom.{layer}.bias"], 0)
    embedded = {"city": projected, "item": item[encoded["item"]], "seen": seen}
    # The features by their tables' dims, in the order of the tables.
    order = ["city", "item", "seen"]
    vectors = np.stack([straight, *(embedded[name] for name in order)], axis=1)
    dots = (vectors @ vectors.transpose(0, 2, 1))[:, *np.tril_indices(4, -1)]
    hidden = np.concatenate([straight, dots], axis=1) @ weights["network.top.0.weight"].T
    hidden = np.maximum(hidden + weights["network.top.0.bias"], 0)
    logit = hidden @ weights["network.top.2.weight"].T + weights["network.top.2.bias"]
    assert np.allclose(1 / (1 + np.exp(-logit[:, 0])), served.scores, rtol=0, atol=1e-6)
    with pytest.raises(ParameterError, match=r"holds weights alone.*--to onnx"):
        fae.load_exported(folder)


def test_the_example_scores_lines_where_there_is_no_torch(served: Served) -> None:
    program = (
        "import runpy, sys\nsys.modules['torch'] = None\n"
        "runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    )
    rows = [*RAW.to_dicts()[:2], {"item": "x"}, {"citty": "Oslo"}]
    example, model = ROOT / "examples" / "score_lines.py", served.models / "onnx"
    done = subprocess.run(
        [sys.executable, "-c", program, example, model],
        input="".join(json.dumps(row) + "\n" for row in rows),
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    scores = [answer["score"] for answer in answers[:2]]
    assert np.allclose(scores, served.scores[:2], rtol=0, atol=1e-6)
    assert "not a 64-bit integer" in answers[2]["error"]
    assert "Did you mean 'city'?" in answers[3]["error"]


def test_the_command_exports_once(served: Served) -> None:
    out = served.models / "onnx"
    before = out.stat().st_ino
    result = command_line.fae("export", served.data, served.run, "--to", "onnx", "--out", out)
    assert (result.exit_code, result.stdout) == (
        0,
        f"{out}: model.onnx, model.onnx.data with 9 rows\n",
    )
    assert out.stat().st_ino == before


def test_a_stopped_export_leaves_no_model_and_a_rerun_makes_it(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_model: Any, _manifest: Any, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    out = tmp_path / "MODEL"
    with monkeypatch.context() as patched:
        patched.setitem(model_files._WRITERS, "safetensors", stop)
        with pytest.raises(KeyboardInterrupt):
            fae.export(served.data, served.run, out, to="safetensors")
    assert not out.exists()
    fae.export(served.data, served.run, out, to="safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["MODEL"]
    whole = served.models / "safetensors" / "model.safetensors"
    assert (out / "model.safetensors").read_bytes() == whole.read_bytes()
    modes = {(out / name).stat().st_mode for name in ("model.safetensors", "serving.json")}
    assert len(modes) == 1


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("model.onnx.data", None, r"model\.onnx\.data: missing\. Copy the folder again"),
        ("model.onnx", b"x", r"model\.onnx: 1 bytes, not "),
        ("serving.json", b"{}", "not an exported model"),
        ("encoder/vocabulary/city.parquet", b"x", r"city\.parquet is damaged"),
    ],
)
def test_damage_is_noticed(
    served: Served, tmp_path: Path, file: str, content: bytes | None, named: str
) -> None:
    folder = Path(shutil.copytree(served.models / "onnx", tmp_path / "MODEL"))
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(DatasetError, match=named):
        fae.load_exported(folder)


def test_what_is_not_installed_is_named_with_its_extra(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    absent = {"onnxruntime", "onnxscript", "safetensors"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in absent else find(name)
    )
    for to, named in (("onnx", "onnxscript"), ("safetensors", "safetensors")):
        with pytest.raises(MissingExtraError, match=rf"needs {named}.*fae-recsys\[export\]"):
            fae.export(served.data, served.run, tmp_path / "out", to=to)
    with pytest.raises(MissingExtraError, match=r"needs onnxruntime.*fae-recsys\[serve\]"):
        fae.load_exported(served.models / "onnx")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("out", "to", "named"),
    [("s3://bucket/MODEL", "onnx", "a local disk"), ("x", "tensorrt", "parquet, safetensors")],
)
def test_what_cannot_be_exported_is_refused(served: Served, out: str, to: str, named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        fae.export(served.data, served.run, out, to=to)
