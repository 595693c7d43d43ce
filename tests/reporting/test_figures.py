"""Any name can be drawn."""

from __future__ import annotations

from pathlib import Path

from fae.logs.files import find_logs
from tests.support.oracle import Options
from tests.support.report_pages import write_page
from tests.support.small_logs import LABEL, schema_of, stages, written


def test_names_that_matplotlib_treats_specially_are_drawn(tmp_path: Path) -> None:
    names = ["_hidden", "a" * 80, "Ж 類 ", "x+-. "]
    columns = [LABEL, *({"name": name, "role": "sparse"} for name in names)]
    schema = schema_of(columns)
    lines = "".join(f"1,{i % 2},{i % 3},{i % 5},{i}\n" for i in range(40))
    paths = written(tmp_path, {"log.csv": lines})
    options = Options(budget=400, valid="0.2", test="0")
    made = stages(find_logs(paths, schema), schema, tmp_path, options)
    page, _ = write_page(made.dataset, tmp_path)
    assert "_hidden" in page.text
    assert "empty" in page.text
    assert "No id was folded." in page.text
