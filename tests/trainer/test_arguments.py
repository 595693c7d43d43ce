"""Mistakes on the command line are one line and an exit code."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from fae_trainer.__main__ import main
from tests.support.trainer_data import RAGGED, write_dataset


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data", dataclasses.replace(RAGGED, optimizer="rowwise_adagrad"))
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "required"),
        (["train"], 2, "DIR"),
        (["train", "DATA", "--resume"], 1, "error: --resume and --overwrite need --out RUN"),
        (["train", "DATA", "--log-to", "paper"], 2, "invalid choice"),
        (["train", "DATA", "--out", "RUN", "--placement", "moon"], 2, "invalid choice"),
        (["train", "DATA", "--out", "RUN", "--bottom-mlp", "8-x"], 2, "not a list of widths"),
        (["train", "absent", "--out", "RUN"], 1, "error: absent is not a finished data set"),
        (["train", "DATA", "--out", "RUN", "--epochs", "0"], 1, "error: --epochs is 0"),
        (["train", "DATA", "--out", "RUN", "--batch-size", "0"], 1, "error: --batch-size is 0"),
        (["train", "DATA", "--out", "RUN", "--lr", "nan"], 1, "error: --lr is nan"),
        (["train", "DATA", "--out", "RUN", "--seed", "-1"], 1, "error: --seed is -1"),
        (
            ["train", "DATA", "--out", "RUN", "--bottom-mlp", "8-5"],
            1,
            "error: --bottom-mlp 8-5 must end in 4",
        ),
        (["train", "DATA", "--out", "RUN", "--top-mlp", "8-2"], 1, "error: --top-mlp is 8-2"),
        (["train", "DATA", "--out", "FILE"], 1, "is a file"),
        (["evaluate", "DATA", "--run", "RUN"], 1, "error: .*has no checkpoint.pt"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    (tmp_path / "file").touch()
    names = {"DATA": str(data), "RUN": str(tmp_path / "run"), "FILE": str(tmp_path / "file")}
    try:
        found = main([names.get(argument, argument) for argument in arguments])
    except SystemExit as usage:
        found = usage.code
    printed = capsys.readouterr()
    assert found == code
    assert printed.out == ""
    assert re.search(message, printed.err), printed.err
    if code == 1:
        assert printed.err.count("\n") == 1


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_every_option_has_its_sentence(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "--placement" in capsys.readouterr().out
