"""The shape of the program: imports follow the data, the trainer stands alone, files stay short."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import ROOT

PIPELINE = sorted((ROOT / "pipeline").rglob("*.py"))
TRAINER = sorted((ROOT / "trainer").rglob("*.py"))
LONGEST = 350

#: The way of the data. A module imports only from modules further up, never further down.
WAY = [
    ["errors"],
    ["documents"],
    ["manifest"],
    ["workspace", "kernel", "arrays", "runs", "timeline"],
    ["sorting"],
    ["dictionaries"],
    ["scratch", "filesystem"],
    ["storage"],
    ["schema", "shuffle", "splits", "rules", "number_files"],
    ["tokenizer"],
    ["packing", "parsing", "lock", "journal"],
    ["logs"],
    ["artefact"],
    ["parameters"],
    ["progress"],
    ["workers"],
    ["cluster"],
    ["checksums"],
    ["staging"],
    ["extension"],
    ["counting"],
    ["frequencies"],
    ["split_counts"],
    ["ranges"],
    ["ranking"],
    ["profiling"],
    ["hot_set", "cold_ids", "curve"],
    ["calibration"],
    ["partitions", "vocabulary"],
    ["dataset", "drift", "presence"],
    ["encoder", "verification", "preparation"],
    ["increment"],
    ["cli"],
]
PLACE = {module: step for step, modules in enumerate(WAY) for module in modules}
#: How inputs reach a model; each module imports from those before it.
READING = ["schedule", "batches", "buffers", "decoding", "cache", "windows", "loader"]
#: Policy: functions of arrays and frames alone, without paths, engines of the cluster or a clock.
PURE = [
    "timeline",
    "splits",
    "shuffle",
    "runs",
    "hot_set",
    "cold_ids",
    "curve",
    "rules",
    "vocabulary",
    "parsing",
    "tokenizer",
    "records",
    "dictionaries",
]
TRAINER_NEEDS = {"torch", "pyarrow", "numpy", "pipeline", "trainer"}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def module_of(path: Path) -> str:
    """The second part of a module's name: `rules` of `fae.hotset.rules.accesses`."""
    return [*name_of(path).split("."), ""][1]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it; `from a import b` gives a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def pipeline_modules(path: Path) -> set[str]:
    """The second part of every import from the pipeline: `logs` of `fae.logs.files`."""
    modules = {Path(p).stem for p in PIPELINE} | {"rules", "schemas", "synthetic"}
    parts = (one.split(".") for one in imports(path))
    return {part[1] for part in parts if part[0] == "pipeline" and len(part) > 1} & modules


@pytest.mark.parametrize("path", [p for p in PIPELINE if module_of(p) in PLACE], ids=name_of)
def test_a_module_imports_from_upstream_only(path: Path) -> None:
    mine = module_of(path)
    downstream = {m for m in pipeline_modules(path) - {mine} if PLACE.get(m, -1) > PLACE[mine]}
    assert downstream == set()


def test_the_way_names_modules_that_exist() -> None:
    names = {module_of(path) for path in PIPELINE}
    assert set(PLACE) | set(PURE) <= names


def test_only_the_command_line_knows_the_command_lines_engines() -> None:
    users = {
        module_of(path)
        for path in PIPELINE
        if any(one.split(".")[0] == "typer" for one in imports(path))
    }
    assert users == {"cli"}


@pytest.mark.parametrize("module", PURE)
def test_policy_is_pure(module: str) -> None:
    paths = [path for path in PIPELINE if module_of(path) == module]
    impure = {
        "pathlib",
        "os",
        "time",
        "datetime",
        "random",
        "fsspec",
        "distributed",
        "fae.execution.executor",
    }
    for path in paths:
        assert imports(path) & impure == set()


@pytest.mark.parametrize("path", TRAINER, ids=name_of)
def test_the_trainer_knows_the_contract_and_no_engine(path: Path) -> None:
    standard = set(sys.stdlib_module_names)
    found = imports(path)
    assert {one.split(".")[0] for one in found} - standard <= TRAINER_NEEDS
    assert pipeline_modules(path) <= {"manifest", "errors", "signals"}


@pytest.mark.parametrize("module", READING)
def test_the_loader_imports_from_upstream_and_knows_no_model(module: str) -> None:
    found = {
        one.split(".")[1] for one in imports(ROOT / f"trainer/{module}.py") if "trainer." in one
    }
    upstream = READING[: READING.index(module)]
    assert found <= {*upstream, "parameters", "prefetch"}


@pytest.mark.parametrize(
    "module", ["pipeline", "fae.format.manifest", "fae.format.errors", "fae.format.signals"]
)
def test_the_contract_needs_the_standard_library_alone(module: str) -> None:
    loaded = loaded_by(module, "-I", "-S")
    assert "pipeline" in loaded
    assert loaded - set(sys.stdlib_module_names) <= {"pipeline", "__main__"}


def test_help_is_shown_without_loading_torch_or_dask_workers() -> None:
    assert {"torch", "distributed"} & loaded_by("fae.cli.commands") == set()


def test_a_preparation_loads_no_library_that_it_does_not_need(tmp_path: Path) -> None:
    arguments = ["prepare", str(ROOT / "data" / "criteo-sample.tsv"), "--schema", "criteo-kaggle"]
    arguments += ["--hot-budget", "1MiB", "--out", str(tmp_path / "out"), "--threads", "2"]
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from fae.cli.commands import app\n"
        "from fae.profiling import counting\n"
        "counting.ENTRIES_PER_CHUNK = 1000  # as if the log were large\n"
        f"try: app({arguments!r})\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "polars" in done.stderr.split()
    assert {"pandas", "distributed", "torch"} & set(done.stderr.split()) == set()


@pytest.mark.parametrize("module", ["schedule", "layout", "optimizers", "metrics"])
def test_the_trainers_policy_is_pure(module: str) -> None:
    (path,) = [path for path in TRAINER if module_of(path) == module]
    own = {one.split(".")[1] for one in imports(path) if one.startswith("trainer.")}
    assert imports(path) & {"pathlib", "os", "time", "random", "pyarrow"} == set()
    assert own <= {"batches", "schedule"}


def test_processes_exchange_in_one_place() -> None:
    users = {module_of(path) for path in TRAINER if "torch.distributed" in imports(path)}
    assert users == {"ranks"}


def loaded_by(module: str, *options: str) -> set[str]:
    """The top-level modules that are loaded once `module` is imported."""
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module}; "
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, *options, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("path", [*PIPELINE, *TRAINER], ids=name_of)
def test_a_file_fits_on_a_few_screens_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("name", ["utils", "util", "common", "helpers", "misc"])
def test_every_module_is_a_noun_of_the_problem(name: str) -> None:
    assert name not in {path.stem for path in [*PIPELINE, *TRAINER]}
