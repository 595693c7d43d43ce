"""The wheel in a fresh environment, in a project that has `pipeline/` and `trainer/` of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

from fae.format.version import __version__
from tests.support.project import ROOT

SAMPLE = ROOT / "data" / "criteo-sample.tsv"
#: Hides a library from every program of the environment.
BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == {name!r} else find_spec(name, *more)
sys.meta_path.insert(0, Block())
"""
#: One process for all, as torch takes seconds to import.
TRAIN_AND_EXPORT = """
import fae, fae.cli.commands, fae_trainer.__main__
print(fae.__file__)
print(repr(fae.open_dataset("DIR")))
options = "--bottom-mlp 8-16 --top-mlp 8-1 --device cpu --quiet".split()
assert fae_trainer.__main__.main(["train", "DIR", "--out", "RUN", *options]) == 0
assert fae.cli.commands.run(["export", "DIR", "RUN", "--out", "TABLES"]) == 0
"""


@dataclass(frozen=True)
class Environment:
    """A fresh environment's programs, called in a project of a user's."""

    programs: Path
    site: Path
    project: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the project's root, whose own folders Python finds first."""
        return subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.project,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=False,
        )

    @contextmanager
    def without(self, library: str) -> Iterator[None]:
        """Hide a library from the programs during the block."""
        hidden = self.site / "sitecustomize.py"
        hidden.write_text(BLOCK.format(name=library))
        yield
        hidden.unlink()

    def output(self, program: str, *arguments: str) -> str:
        """What a program prints, which must succeed."""
        done = self.run(program, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("pipeline", "trainer"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(source)], check=True)
    (made,) = folder.glob("*.whl")
    return made


def keep_compiled_code(checkout: Path, installed: Path) -> None:
    """Give an installed package what Numba has compiled of the same files in the checkout.

    Numba takes code for current where a file's size and time of change are those of its source.
    """
    for source in checkout.rglob("*.py"):
        module = installed / source.relative_to(checkout)
        os.utime(module, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
        for code in source.parent.glob(f"__pycache__/{source.stem}.*.nb[ci]"):
            (module.parent / "__pycache__").mkdir(exist_ok=True)
            shutil.copy2(code, module.parent / "__pycache__" / code.name)


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Install the wheel, make its dependencies importable, and prepare DIR without torch."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    places = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
    site = Path(sysconfig.get_path("purelib", "venv", places))
    install = [sys.executable, "-m", "pip", "--python", str(python)]
    install += ["install", "--quiet", "--no-compile"]
    nowhere = {**os.environ, "PYTHONPATH": ""}  # or pip may find the package in the checkout
    subprocess.run([*install, "--no-deps", "--no-index", str(wheel)], check=True, env=nowhere)
    # Written after the installation, or pip would find the package there. A path in a .pth file is
    # searched, but its own .pth files are not read: no editable install.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    keep_compiled_code(ROOT / "pipeline" / "fae", site / "fae")
    project = folder / "project"
    for name in ("pipeline", "trainer"):
        (project / name).mkdir(parents=True)
        for module in ("__init__", "__main__", "manifest"):
            (project / name / f"{module}.py").write_text("raise SystemExit('the user\\'s own')\n")
    with SAMPLE.open(encoding="utf-8") as sample:
        (project / "log.tsv").write_text("".join(islice(sample, 400)), encoding="utf-8")
    made = Environment(folder / "venv" / "bin", site, project)
    with made.without("torch"):
        command = ["prepare", "log.tsv", "--schema", "criteo-kaggle", "--hot-budget", "128KiB"]
        assert "data set in DIR" in made.output("fae", *command, "--out", "DIR")
    return made


def test_the_wheel_holds_the_two_packages_and_their_types(wheel: Path) -> None:
    assert wheel.name == f"fae_recsys-{__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"fae", "fae_trainer", f"fae_recsys-{__version__}.dist-info"}
    assert {"fae/py.typed", "fae_trainer/py.typed"} <= set(names)
    assert "fae/logs/presets/avazu.yaml" in names


def test_it_trains_and_exports_beside_a_users_own_folders(environment: Environment) -> None:
    assert environment.output("fae", "--version") == f"fae {__version__}\n"
    assert "train" in environment.output("python", "-m", "fae_trainer", "--help")
    assert "data set in DIR" in environment.output("python", "-m", "fae", "summary", "DIR")
    where, *printed = environment.output("python", "-c", TRAIN_AND_EXPORT).splitlines()
    assert (environment.project / "TABLES" / "C1.parquet").exists()
    assert Path(where).is_relative_to(environment.site)
    assert "criteo-kaggle, 26 tables" in printed[0]


def test_without_torch_it_names_the_extra_for_training(
    environment: Environment,
) -> None:
    words = "needs torch, which is not installed. Install it: pip install 'fae-recsys[train]'"
    with environment.without("torch"):
        assert "data set in DIR" in environment.output("fae", "summary", "DIR")
        for program in (["fae"], ["python", "-m", "fae_trainer"]):
            done = environment.run(*program, "train", "DIR", "--out", "NONE")
            assert (done.returncode, done.stderr) == (1, f"error: Training {words}\n")
        done = environment.run("python", "-c", "import fae; fae.HotColdLoader")
    assert words in done.stderr


@pytest.mark.parametrize("library", ["vl_convert", "jinja2"])
def test_without_its_libraries_the_report_names_the_extra(
    environment: Environment, library: str
) -> None:
    with environment.without(library):
        done = environment.run("fae", "report", "DIR", "--out", "none.html")
    assert done.returncode == 1
    assert f"needs {library}" in done.stderr
    assert "pip install 'fae-recsys[report]'" in done.stderr
