"""Any name can be drawn, and names that are cut alike are told apart."""

from __future__ import annotations

import json
from pathlib import Path

from fae.logs.files import find_logs
from tests.support.oracle import Options
from tests.support.report_pages import write_page
from tests.support.small_logs import LABEL, schema_of, stages, written


def test_any_name_is_drawn(tmp_path: Path) -> None:
    names = ["_hidden", "a" * 80, "a" * 81, "Ж 類 ", "x+-. "]
    columns = [LABEL, *({"name": name, "role": "sparse"} for name in names)]
    schema = schema_of(columns)
    lines = "".join(f"1,{i % 2},{i % 3},{i % 5},{i},{i % 2}\n" for i in range(40))
    paths = written(tmp_path, {"log.csv": lines})
    options = Options(budget=400, valid="0.2", test="0")
    made = stages(find_logs(paths, schema), schema, tmp_path, options)
    page, _ = write_page(made.dataset, tmp_path)
    assert "_hidden" in page.text
    assert page.table("Samples by split")[2]["hot share"] == "–"
    bars = json.loads(page.scripts[0])["hot-rows"]["layer"][0]["data"]["values"]
    cut = "a" * 17 + "…"
    drawn = ["_hidden", f"{cut} (2)", f"{cut} (3)", "Ж 類 ", "x+-. "]
    assert [bar["row"] for bar in bars] == drawn
    assert "No id was folded." in page.text
