"""Runs are shown with their curves; a folder that is no finished run is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fae.format.errors import DatasetError
from fae.reporting.training import read_runs
from tests.support.report_pages import write_page
from tests.support.small_logs import Stages

METRICS = {
    "placement": "fae", "device": "cpu", "optimizer": "sgd", "epochs": 1, "train_samples": 40,
    "hot_share": 0.5, "seconds": 2.0, "samples_per_second": 20.0, "train_logloss": 0.6,
    "valid_logloss": 0.625, "valid_auc": None, "test_logloss": 0.7, "test_auc": 0.8,
}  # fmt: skip
CURVE = "step,samples,train_logloss,valid_logloss,valid_auc\n1,20,9.5,0.65,\n2,40,0.6,0.625,\n"
#: A browser that reads `<!--<script>` in a script takes the script's end for text.
HOSTILE = "</script><!--<script>&\u202e"
SHOWN = r"</script><!--<script>&\u202e"


def write_run(folder: Path, **changes: Any) -> Path:
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(METRICS | changes))
    (folder / "curve.csv").write_text(CURVE)
    return folder


def test_runs_are_shown_side_by_side(shop: Stages, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name) for name in ("one", "two")]
    runs.append(write_run(tmp_path / "three", placement=HOSTILE, samples_per_second=10.4))
    page, report = write_page(shop.dataset, tmp_path, runs=runs)
    rows = page.table("Runs trained on this data set")
    assert [row["placement"] for row in rows] == ["fae (one)", "fae (two)", SHOWN]
    assert (rows[2]["samples/s"], rows[2]["AUC, valid"]) == ("10", "–")
    assert rows[0]["log loss, valid"] == "0.6250"
    # No run has an AUC on valid to draw.
    names = {path.stem for path in report.figures}
    assert names & {"valid-auc", "log-loss", "speeds"} == {"log-loss", "speeds"}
    charts = json.loads(page.scripts[0])
    points = charts["log-loss"]["datasets"]["points"]
    assert [point["y"] for point in points if point["line"] == f"{SHOWN}, train"] == [9.5, 0.6]
    raw = report.page.read_text(encoding="utf-8")
    assert raw.count("<script") == raw.count("</script") == 2
    assert "<!--" not in raw.partition("<script>")[0]
    # The first train loss does not flatten the rest.
    assert charts["log-loss"]["layer"][0]["encoding"]["y"]["scale"]["domain"][1] < 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metrics.json", "{"),
        ("metrics.json", "[]"),
        ("metrics.json", json.dumps(METRICS | {"seconds": "long"})),
        ("curve.csv", ""),
        ("curve.csv", CURVE.replace("0.65", "low")),
    ],
)
def test_a_damaged_run_is_refused(tmp_path: Path, name: str, text: str) -> None:
    run = write_run(tmp_path / "run")
    (run / name).write_text(text)
    with pytest.raises(DatasetError, match="run is not a finished run"):
        read_runs([run])


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not a finished run"):
        read_runs([tmp_path])
