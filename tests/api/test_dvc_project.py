"""A DVC project for one's own logs: values are data from end to end, and nothing is replaced."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from fae.cli.arguments import parse
from tests.support.command_line import assert_mistake, fae
from tests.support.project import ROOT
from tests.support.small_logs import SHOP, SHOP_LOG, written

#: A path that a shell, YAML and DVC would each read as something else.
ODD = "a: $(touch x) 'b' \"c\"/${HOME}"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with logs in an oddly named folder, and their schema."""
    schema = yaml.safe_dump(SHOP.document(), allow_unicode=True)
    written(
        tmp_path, {"own schema.yaml": schema, f"{ODD}/1.csv": SHOP_LOG, f"{ODD}/2.csv": SHOP_LOG}
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*more: str) -> str:
    result = fae("init", "dvc", f"{ODD}/*.csv", "--schema", "own schema.yaml", *more)
    assert result.exit_code == 0, result.output
    return result.stdout


def commands_of(folder: Path) -> dict[str, list[str]]:
    """The words of each stage's command, after `fae`."""
    stages = yaml.safe_load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert all(stage["params"] == [name] for name, stage in stages.items())
    words = {name: shlex.split(stage["cmd"]) for name, stage in stages.items()}
    assert all(word[:2] == ["fae", name] for name, word in words.items())
    return {name: word[1:] for name, word in words.items()}


def test_each_command_takes_its_options_from_params_yaml(place: Path) -> None:
    init("--hot-budget", "120")
    options = {name: parse(words)[1] for name, words in commands_of(place).items()}
    assert options["ingest"]["logs"] == [f"{ODD}/*.csv"]
    assert options["ingest"]["schema"] == "own schema.yaml"
    assert options["calibrate"]["hot_budget"] == "120"
    assert options["train"]["batch_size"] == 2048
    assert "lr" not in options["train"]


def test_the_logs_are_those_of_params_yaml(place: Path) -> None:
    init()
    result = fae(*commands_of(place)["ingest"])
    assert "2.csv 20 20 0" in " ".join(result.stdout.split()), result.output
    assert not (place / "x").exists()


def test_dvc_watches_the_logs_folder_and_the_schema(place: Path) -> None:
    init()
    stages = yaml.safe_load((place / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert stages["ingest"]["deps"] == [ODD.replace("${", "\\${"), "own schema.yaml"]


def test_nothing_is_replaced(place: Path) -> None:
    (place / ".gitignore").write_text("/mine")
    init()
    before = (place / "params.yaml").read_text(), (place / "dvc.yaml").read_text()
    assert (place / ".gitignore").read_text() == "/mine\n*.timings.json\n*.partial/\n"
    again = fae("init", "dvc", f"{ODD}/*.csv", "--schema", "own schema.yaml")
    assert_mistake(again, "dvc.yaml exists")
    (place / "dvc.yaml").unlink()
    assert_mistake(fae("init", "dvc", ODD, "--schema", "avazu"), "params.yaml exists")
    assert (place / "params.yaml").read_text() == before[0]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["none.csv", "--schema", "avazu"], "no log found at none.csv"),
        (["s3://bucket/a.csv", "--schema", "avazu"], "s3://bucket/a.csv is a URL"),
        ([f"{ODD}/1.csv", "--schema", "none"], "no schema is called 'none'"),
    ],
)
def test_a_mistake_leaves_no_files(place: Path, words: list[str], named: str) -> None:
    assert_mistake(fae("init", "dvc", *words), named)
    assert not (place / "dvc.yaml").exists()
    assert not (place / "params.yaml").exists()


def test_the_demos_commands_take_their_options_from_params_yaml(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    options = {name: parse(words)[1] for name, words in commands_of(ROOT).items()}
    document = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    assert set(options) == set(document)
    assert options["synth"]["kind"] == document["synth"]["kind"]
    assert options["calibrate"]["hot_budget"] == document["calibrate"]["hot_budget"]
