"""The images: pinned, without rights, and made of the packages alone. CI builds them."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.support.project import ROOT

IMAGES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def words(path: Path, instruction: str) -> list[str]:
    """What follows each `instruction` in a Dockerfile."""
    return re.findall(rf"^{instruction} (.+)$", path.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.stem)
def test_an_image_has_a_pinned_base_and_no_rights(image: Path) -> None:
    (base,) = words(image, "FROM")
    assert re.fullmatch(r"[\w/]+:\d+\.\d+\.\d+-\S+", base)
    assert int(words(image, "USER")[-1]) > 0


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.stem)
def test_an_image_installs_extras_that_exist(image: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (extras,) = re.findall(r"'/source\[(.+)\]'", image.read_text("utf-8"))
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_the_images_are_made_of_what_a_build_needs_alone() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert lines.index("*") < lines.index("!pipeline")
    let_through = {line[1:] for line in lines if line.startswith("!")}
    assert let_through == {
        *("pipeline", "trainer", "pyproject.toml", "constraints.txt", "README.md", "LICENSE")
    }
    assert all((ROOT / name).exists() for name in let_through)


def test_the_script_that_builds_them_is_sound_and_knows_them_all() -> None:
    script = ROOT / "docker" / "build"
    subprocess.run(["bash", "-n", script], check=True)
    (chosen,) = re.findall(r"chosen=\((\w.*)\)", script.read_text("utf-8"))
    assert sorted(chosen.split()) == sorted(path.stem for path in IMAGES)
