"""docs/promises.md is true: pages still make these promises, and what holds them exists."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml

from fae.logs import columns, forms, schema
from tests.support.documents import README, read_code_spans
from tests.support.project import ROOT

PROMISES = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
PAGES = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", PROMISES, re.MULTILINE | re.DOTALL))
HOLDER = re.compile(r"`((?:tests|faults)/[^`]+)`")


def rows_of(page: str) -> list[tuple[str, list[str]]]:
    """Return each promise of a page's table, and what holds it."""
    cells = re.findall(r"^\| (.+) \| (.+) \|$", PAGES[page], re.MULTILINE)
    return [(promise, HOLDER.findall(holders)) for promise, holders in cells[2:]]


def words(text: str) -> str:
    return " ".join(text.replace("**", "").split())


@cache
def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_makes_its_promises_and_they_are_held(page: str) -> None:
    text = words((ROOT / page).read_text(encoding="utf-8"))
    assert rows_of(page)
    for promise, holders in rows_of(page):
        for part in promise.split(" … "):
            assert words(part) in text, promise
        assert holders, promise
        for holder in holders:
            path, _, name = holder.partition("::")
            assert (ROOT / path).is_file(), holder
            assert name in functions_of(ROOT / path) or path.startswith("faults/"), holder


# ── Promises that no other test holds ────────────────────────────────────────────────────────────


def test_the_package_takes_the_python_of_the_readme() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (version,) = re.findall(r"Python ([\d.]+) or newer", README.read_text(encoding="utf-8"))
    assert project["requires-python"] == f">={version}"


def test_the_page_on_schemas_has_every_key() -> None:
    spans = " ".join(read_code_spans(ROOT / "docs" / "schemas.md"))
    keys = {
        field.alias or name
        for module in (schema, columns, forms)
        for model in vars(module).values()
        if isinstance(model, type) and issubclass(model, forms.Strict)
        for name, field in model.model_fields.items()
    }
    assert "zone" in keys
    assert keys - {"columns"} <= set(re.findall(r"\w+", spans))


def test_a_stage_depends_on_earlier_stages_alone() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    made: set[str] = set()
    for name, stage in stages.items():
        assert stage["params"] == [name]
        assert {"/".join(path.split("/")[:2]) for path in stage.get("deps", [])} <= made, name
        made.update(stage.get("outs", []))
    assert list(stages).index("profile") < list(stages).index("calibrate")
