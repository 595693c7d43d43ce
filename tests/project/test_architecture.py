"""The shape of the program: rooms in the data's order, imports that never climb, short modules."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.project import PYTHONPATH, ROOT

FAE = ROOT / "pipeline" / "fae"
TRAINER = ROOT / "trainer" / "fae_trainer"
MODULES = sorted([*FAE.rglob("*.py"), *TRAINER.rglob("*.py")])
MOST_LINES, MOST_MODULES = 350, 14

#: The rooms of each package, lowest first: a module imports from its own room and lower ones.
ROOMS = {
    "fae": [
        *("format", "arrays", "storage", "commit", "execution"),
        *("logs", "ingestion", "profiling", "hotset", "dataset", "preparation", "appending"),
        *("inference", "reporting", "synthetic", "api", "cli", "__main__"),
    ],
    "fae_trainer": [
        *(
            "parameters",
            "arguments",
            "storage",
            "data",
            "embedding",
            "model",
            "run",
            "serving",
            "commands",
            "__main__",
        ),
    ],
}
#: The rooms that join the two packages, and the contract that the trainer may use.
JOINTS, CONTRACT = {"api", "cli"}, "format"
TRAINER_NEEDS = {"torch", "pyarrow", "numpy", "triton", "safetensors"}
#: What one module of the trainer imports by name, once a run is told to use it.
LOGGED_TO = {"fae_trainer.run.loggers": {"torch", "mlflow", "wandb", "dvclive"}}
#: Policy: functions of arrays and frames alone, without paths, engines or a clock.
PURE = [
    *("arrays/run_length", "arrays/row_keys", "ingestion/fast_parser", "ingestion/parser"),
    *("ingestion/dictionaries", "profiling/splits", "hotset/selection", "hotset/cold_hash"),
    *("hotset/curve", "hotset/rules/peeling", "hotset/rules/accesses", "hotset/rules/threshold"),
    *("dataset/shuffle/row_codec", "dataset/vocabulary"),
]
IMPURE = {"pathlib", "os", "time", "datetime", "random", "fsspec", "distributed", "fae.execution"}


def name_of(path: Path) -> str:
    """The dotted name of a module or package."""
    parts = path.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """The second part of a dotted name: `hotset` of `fae.hotset.rules`; empty for a package."""
    return [*module.split("."), ""][1]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it; `from a import b` gives a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_allowed(module: str, imported: str) -> bool:
    """Whether a module may import another."""
    package, room = module.split(".")[0], room_of(module)
    other, other_room = imported.split(".")[0], room_of(imported)
    if other in ("tests", "faults", "benchmarks"):
        return False
    if other == package:
        return ROOMS[package].index(other_room) <= ROOMS[package].index(room)
    if other == "fae":
        return other_room == CONTRACT
    return other != "fae_trainer" or room in JOINTS


def test_imports_never_climb() -> None:
    climbing = [
        f"{name_of(path)} imports {imported}"
        for path in MODULES
        for imported in imports(path)
        if room_of(name_of(path)) and not is_allowed(name_of(path), imported)
    ]
    assert climbing == []
    assert not is_allowed("fae.logs.files", "fae.ingestion.stage.ingest")
    assert not is_allowed("fae.hotset.stage", "fae_trainer.run.train")
    assert not is_allowed("fae_trainer.run.train", "fae.storage.folder.Folder")


def test_every_module_is_in_a_room() -> None:
    for path in MODULES:
        module = name_of(path)
        assert room_of(module) in ["", *ROOMS[module.split(".")[0]]], module


def test_every_room_has_modules_and_a_map_of_them() -> None:
    for package, rooms in ROOMS.items():
        root = FAE if package == "fae" else TRAINER
        for room in rooms:
            if (root / f"{room}.py").exists():
                continue
            told = ast.get_docstring(ast.parse((root / room / "__init__.py").read_text("utf-8")))
            assert told is not None, room
            for path in (root / room).glob("*.py"):
                assert path.stem == "__init__" or path.stem in told, f"{room}: {path.stem}"


@pytest.mark.parametrize("root", [FAE, TRAINER], ids=lambda path: path.name)
def test_no_folder_has_too_many_modules(root: Path) -> None:
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        assert len([*folder.glob("*.py")]) <= MOST_MODULES, folder


def test_modules_fit_on_a_few_screens_and_say_what_they_are_for() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= MOST_LINES, path
        assert ast.get_docstring(ast.parse(text)), path


def test_every_module_is_a_noun_of_the_problem() -> None:
    vague = {"utils", "util", "common", "helpers", "misc"}
    assert {path.stem for path in MODULES} & vague == set()


def test_policy_is_pure() -> None:
    for path in (FAE / f"{module}.py" for module in PURE):
        for imported in imports(path):
            parts = {imported, *imported.split("."), ".".join(imported.split(".")[:2])}
            assert parts & IMPURE == set(), path


def test_the_trainer_needs_torch_pyarrow_and_numpy_alone() -> None:
    for path in TRAINER.rglob("*.py"):
        outside = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names)
        assert outside <= {*TRAINER_NEEDS, "fae", "fae_trainer"}, path
        assert imported_by_name(path) <= LOGGED_TO.get(name_of(path), {"torch"}), path


def imported_by_name(path: Path) -> set[str]:
    """The packages of texts in calls of importlib.import_module."""
    return {
        node.args[0].value.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module"
        if isinstance(node.args[0], ast.Constant)
    }


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        (
            "argparse",
            {
                "fae.cli.arguments",
                "fae.cli.options",
                "fae.cli.params_file",
                "fae_trainer.arguments",
            },
        ),
        (
            "distributed",
            {"fae.execution.dask_backend", "fae.execution.executor", "fae.storage.file_cache"},
        ),
        ("torch.distributed", {"fae_trainer.embedding.distributed"}),
    ],
)
def test_one_place_knows_a_library(library: str, rooms: set[str]) -> None:
    users = {
        name_of(path)
        for path in MODULES
        if any(f"{name}.".startswith(f"{library}.") for name in imports(path))
    }
    assert users <= rooms


# ── What is loaded ───────────────────────────────────────────────────────────────────────────────


def loaded_by(program: str, *options: str) -> set[str]:
    """The modules that are loaded once `program` has run."""
    path = f"import sys; sys.path[:0] = {PYTHONPATH.split(':')!r}\n"
    command = [sys.executable, *options, "-c", f"{path}{program}\nprint(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["fae", *(name_of(p) for p in (FAE / CONTRACT).glob("*.py"))])
def test_the_contract_needs_the_standard_library_alone(module: str) -> None:
    loaded = {name.split(".")[0] for name in loaded_by(f"import {module}", "-I", "-S")}
    assert "fae" in loaded
    assert loaded - set(sys.stdlib_module_names) <= {"fae", "__main__"}


@pytest.mark.parametrize(
    "program",
    [
        "import fae; dir(fae)",
        "import fae_trainer",
        "from fae.cli.arguments import parser; parser().format_help()",
        "from fae_trainer.arguments import parser; parser('').format_help()",
        "import fae.cli.commands, fae_trainer.commands",
    ],
)
def test_help_and_imports_load_no_engine(program: str) -> None:
    heavy = {"torch", "dask", "distributed", "polars", "numba", "numpy", "pyarrow", "pydantic"}
    assert loaded_by(program) & heavy == set()


def test_a_preparation_loads_no_library_that_it_does_not_need(tmp_path: Path) -> None:
    log = ROOT / "data" / "criteo-sample.tsv"
    program = (
        "import fae\n"
        f"fae.prepare({str(log)!r}, schema='criteo-kaggle', hot_budget='1MiB', threads=2,\n"
        f"            memory='1GiB', out={str(tmp_path / 'out')!r})"
    )
    loaded = loaded_by(program)
    assert "polars" in loaded
    assert {"pandas", "distributed", "torch", "vl_convert"} & loaded == set()


def test_the_public_names_are_the_same_for_people_and_for_type_checkers() -> None:
    import fae
    import fae_trainer

    for package in (fae, fae_trainer):
        tree = ast.parse(Path(package.__file__ or "").read_text(encoding="utf-8"))
        checked = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.If)
            for child in ast.walk(node)
            if isinstance(child, ast.ImportFrom)
            for alias in child.names
        }
        assert checked - {"require"} == set(package.__all__) - {"__version__"}
        for name in package.__all__:
            assert getattr(package, name) is not None
        assert set(dir(package)) >= set(package.__all__)
