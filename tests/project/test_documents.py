"""README.md and docs/ are true: their code is valid, and runs; what they name exists.

`pytest -m docs` runs every page's blocks as they stand, which takes minutes; `make docs` does it.
The other tests parse what the pages say, in seconds.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import gzip
import json
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

import fae
import fae_trainer
import fae_trainer.arguments
from fae.cli.arguments import parse, parser, subparsers
from fae.format.budget import Budget, Embedding
from fae.format.integrity import DataFile
from fae.format.manifest import Features, Leaf, LearntMoments, Manifest, SparseFeature, Table
from tests.support import documents
from tests.support.documents import PAGES, Block, read_blocks, read_code_spans, split_commands
from tests.support.object_store import object_store
from tests.support.project import PYTHONPATH, ROOT

SAMPLE = ROOT / "data" / "criteo-sample.tsv"
BLOCKS = [block for page in PAGES for block in read_blocks(page)]
RUN_PAGES = [
    page
    for page in PAGES
    if any(b.language in ("sh", "python") and not b.needs for b in read_blocks(page))
]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
#: Languages whose blocks are text to read.
PLAIN = {"", "text", "csv"}
#: What a block may need in place of running.
NOT_EVERYWHERE = {
    *("a checkout", "a Git repository", "a GPU", "Docker", "Kubernetes", "Slurm", "TorchRec"),
    "datasets of Hugging Face",
}
#: The port of the pages' scheduler, for which a run takes a free one.
DASK_PORT = "8786"
#: What a page may take on a busy machine.
MOST_SECONDS = 900
#: Options that the pages name and that are other programs'.
FOREIGN_OPTIONS = {"--lifetime", "--block-mib"}


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


# ── Every block is valid ─────────────────────────────────────────────────────────────────────────


def check_shell(block: Block) -> None:
    """Check a script's syntax, and each of its lines for `fae` against the real parser."""
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
    assert done.returncode == 0, f"{block.where}: {done.stderr}"
    for words in split_commands(block.text):
        with contextlib.redirect_stderr(None):
            assert is_understood(words), f"{block.where}: {' '.join(words)}"


def is_understood(words: list[str]) -> bool:
    """Whether a command line of `fae`, of the trainer or of pip's for FAE is a right one."""
    if words[:2] == ["pip", "install"]:
        extras = re.findall(r"fae-recsys\[(.*)\]", " ".join(words))
        return all(set(names.split(",")) <= list_extras() for names in extras)
    try:
        if words[0] == "fae":
            parse(words[1:])
        elif "fae_trainer" in words:
            fae_trainer.arguments.parser("").parse_args(words[words.index("fae_trainer") + 1 :])
    except SystemExit as end:
        return not end.code
    return True


def list_extras() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_valid(page: Path) -> None:
    for block in read_blocks(page):
        if block.language == "sh":
            check_shell(block)
        elif block.language == "python":
            compile(block.text, block.where, "exec")
        elif block.language == "yaml":
            list(yaml.safe_load_all(block.text))
        elif block.language == "json":
            json.loads(block.text)
        else:
            assert block.language in PLAIN, block.where


def test_a_wrong_option_or_command_is_found() -> None:
    for line in ("fae prepare a.gz --scheme x", "FAE=1 torchrun -m fae_trainer train"):
        with pytest.raises(AssertionError, match=r"README.md:1"):
            check_shell(Block(documents.README, 1, "sh", "", line))
    with pytest.raises(AssertionError):
        check_shell(Block(documents.README, 1, "sh", "", "if then"))


def test_only_what_is_not_everywhere_is_not_run() -> None:
    assert {block.needs for block in BLOCKS if block.needs} <= NOT_EVERYWHERE


# ── What is named exists ─────────────────────────────────────────────────────────────────────────


def options_of(command: argparse.ArgumentParser) -> set[str]:
    return set(command._option_string_actions)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_and_option_in_a_sentence_exists(page: Path) -> None:
    commands = subparsers(parser())
    known = FOREIGN_OPTIONS.union(options_of(parser()), *map(options_of, commands.values()))
    for span in read_code_spans(page):
        words = span.replace("=", " ").replace("…", "").split()
        if words[:1] == ["fae"] and words[1:] and words[1].islower():
            assert words[1] in commands, span
            known_here = options_of(commands[words[1]])
        elif span.startswith("--"):
            known_here = known
        else:
            continue
        named = {word for word in words if re.fullmatch(r"--[\w-]+", word)}
        assert named <= known_here, f"{span}: {sorted(named - known_here)}"


def test_the_reference_has_every_public_name() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^::: (\S+)", text, re.MULTILINE))
    public = {f"fae.{name}" for name in fae.__all__ if name != "__version__"}
    trainer = {f"fae_trainer.{name}" for name in fae_trainer.__all__ if name not in fae.__all__}
    assert listed == public | trainer


def test_the_links_of_the_files_outside_the_site_lead_somewhere() -> None:
    for page in ROOT.glob("*.md"):  # those of the site: `mkdocs build --strict`
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert "://" in target or (ROOT / target).exists(), f"{page.name}: {target}"


def test_the_timeout_is_the_stated_one() -> None:
    from fae.execution.dask_backend import worker_timeout

    assert "`DASK_FAE__WORKER_TIMEOUT` (`10 minutes`)" in (ROOT / "docs/cluster.md").read_text()
    assert worker_timeout() == 600


def test_the_specification_has_every_field_of_the_manifest() -> None:
    spans = set(read_code_spans(ROOT / "docs" / "format.md"))
    parts = (Manifest, Table, Features, SparseFeature, LearntMoments, Leaf, DataFile)
    for part in (*parts, Embedding, Budget):
        assert {field.name for field in dataclasses.fields(part)} <= spans, part.__name__


# ── Notebooks and pictures ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_code_and_no_traces_of_a_run(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) > 3
    for cell in cells:
        ast.parse("".join(cell["source"]))
        assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_the_pictures_are_those_that_their_program_draws() -> None:
    drawn = {f"{name}.svg": draw() for name, draw in draw_pictures().items()}
    folder = ROOT / "docs" / "pictures"
    found = {path.name: path.read_text("utf-8") for path in folder.glob("*.svg")}
    assert found == drawn, "run: python docs/pictures/draw.py"


def draw_pictures() -> dict[str, Callable[[], str]]:
    return runpy.run_path(str(ROOT / "docs" / "pictures" / "draw.py"))["PICTURES"]


# ── Every page runs ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def readers_folder(tmp_path: Path) -> Path:
    """Make what pages take for granted: the examples, and logs of days in `logs/` and `new/`."""
    lines = SAMPLE.read_bytes().splitlines(keepends=True)
    days = {"logs/day_1": lines[:900], "logs/day_2": lines[900:1900], "new/day_3": lines[1900:]}
    for name, rows in days.items():
        path = tmp_path / f"{name}.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(b"".join(rows)))
    for name in ("data", "examples"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


@contextlib.contextmanager
def served(text: str, folder: Path) -> Iterator[None]:
    """Serve a bucket with the logs, at its address in the environment, if the text names one."""
    if "s3://" not in text:
        yield
        return
    import fsspec

    with object_store():
        store = fsspec.filesystem("s3")
        store.mkdir("my-bucket")
        store.put(str(folder / "logs"), "my-bucket/logs", recursive=True)
        yield


def find_free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@pytest.mark.docs
@pytest.mark.parametrize("page", RUN_PAGES, ids=name_of)
def test_every_block_of_the_page_runs(page: Path, readers_folder: Path) -> None:
    script = documents.write_script(page, readers_folder).replace(DASK_PORT, find_free_port())
    (readers_folder / ".page.sh").write_text(f"pip() {{ true; }}\n{script}", encoding="utf-8")
    programs = Path(sys.executable).parent
    settings = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": PYTHONPATH}
    for role in ("AUTHOR", "COMMITTER"):
        settings |= {f"GIT_{role}_NAME": "Reader", f"GIT_{role}_EMAIL": "reader@example.com"}
    with served(script, readers_folder), (readers_folder / ".out").open("w+") as out:
        run = subprocess.Popen(
            ["bash", ".page.sh"],
            cwd=readers_folder,
            env={**os.environ, **settings, "COLUMNS": "100"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = run.wait(timeout=MOST_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):  # a page may leave servers running
                os.killpg(run.pid, signal.SIGKILL)
        out.seek(0)
        assert code == 0, out.read()[-4000:]
