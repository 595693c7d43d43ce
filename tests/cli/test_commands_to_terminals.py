"""What commands read reaches the terminal as text, never as a command to it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fae.format.terminal import make_visible
from tests.support.command_line import Result, fae
from tests.support.small_logs import SHOP_LOG, Stages, edit_manifest, written

#: Renames the window, clears the screen, clears it by one character, turns text around; and what
#: rich would take for markup.
ATTACK = "a\x1b]0;b\x07\x1b[2J\x9b2J\u202e[/b]"
VISIBLE = r"a\x1b]0;b\x07\x1b[2J\x9b2J\u202e[/b]"
SCHEMA = """\
{name: s, header: true, separator: ",", embedding: {dim: 4}, columns: [
  {name: click, role: label}, {name: NAME, role: sparse}]}
"""
OPTIONS = ("--hot-budget", "1KiB", "--out", "ds")


def prepare(log: str, header: str = "click,city", column: str = "city") -> Result:
    files = {log: f"{header}\n1,2\n0,3\nx,3\n", "s.yaml": SCHEMA.replace("NAME", column)}
    return fae("prepare", *written(Path(), files)[:1], "--schema", "s.yaml", *OPTIONS)


def summarize(shop: Stages) -> Result:
    copy = Path(shutil.copytree(shop.dataset, "copy"))
    edit_manifest(copy, "preparation", "rejects", value={ATTACK: 1})
    return fae("summary", copy)


def resume(shop: Stages) -> Result:
    run = Path("run")
    run.mkdir()
    torch.save({"format": "fae-checkpoint", "version": ATTACK}, run / "checkpoint.pt")
    return fae("train", shop.dataset, "--out", run, "--resume", "--device", "cpu")


def show_run(shop: Stages) -> Result:
    metrics = {"train_samples": 1, "samples_per_second": 1, "placement": ATTACK, "device": "cpu"}
    written(Path("run"), {"metrics.json": json.dumps(metrics)})
    return fae("summary", shop.dataset, "--run", "run")


def verify(shop: Stages) -> Result:
    copy = Path(shutil.copytree(shop.dataset, "copy"))
    (copy / ATTACK.replace("/", "")).touch()
    return fae("verify", copy)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(lambda _: prepare("l.csv", f"click,{ATTACK}"), id="header"),
        pytest.param(lambda _: prepare(f"{ATTACK.replace('/', '')}.csv"), id="file name"),
        pytest.param(lambda _: fae("verify", "x", ATTACK), id="argument"),
        pytest.param(lambda _: prepare("l.csv", column=json.dumps(ATTACK)), id="schema"),
        pytest.param(summarize, id="manifest"),
        pytest.param(verify, id="file of a data set"),
        pytest.param(resume, id="checkpoint"),
        pytest.param(show_run, id="metrics"),
    ],
)
def test_what_is_read_commands_no_terminal(
    command: Callable[[Stages], Result],
    shop: Stages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command(shop)
    printed = result.output.replace(r"\\", "\\")
    assert VISIBLE in printed or VISIBLE.replace("/", "") in printed, printed
    assert make_visible(result.output) == result.output
    assert "Traceback" not in result.output


def test_a_proposed_schema_means_the_names_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"{ATTACK.replace('/', '')}\nx: 1.csv"
    written(tmp_path, {name: SHOP_LOG.replace("city", ATTACK, 1)})
    result = fae("schema", "infer", name)
    assert make_visible(result.stdout) == result.stdout
    assert "\nx: 1" not in result.stdout
    written(tmp_path, {"s.yaml": result.stdout, "log.csv": SHOP_LOG.replace("city", ATTACK, 1)})
    assert fae("ingest", "log.csv", "--schema", "s.yaml", "--out", "staging").exit_code == 0


def test_letters_of_all_languages_stay() -> None:
    text = "São Paulo, 東京, עברית, नई दिल्ली, 👩‍💻\t–\n"
    assert make_visible(text) == text
    assert make_visible("\x7f\r\udc80") == r"\x7f\r\udc80"
