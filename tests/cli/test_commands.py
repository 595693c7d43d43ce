"""The command line: help for newcomers, exit codes for scripts, one message for a mistake."""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fae.api import stages
from fae.api.conversions import EXECUTION_NAMES
from fae.cli import options
from fae.cli.arguments import parser, subparsers
from fae.format.version import __version__
from fae.hotset.parameters import COLD_IDS, OBJECTIVES
from fae.hotset.rules import RULES
from fae.logs.schema_files import list_presets
from fae.synthetic.log import KINDS
from tests.support import oracle
from tests.support.command_line import Result, assert_mistake, fae, plain
from tests.support.project import PYTHONPATH, ROOT
from tests.support.small_logs import SHOP, SHOP_LOG, digests, rejects_of, shop_stages, written

COMMANDS = sorted(subparsers(parser()))
BUDGET = ["--hot-budget", "120", "--rule", "accesses"]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def prepare(*more: str) -> Result:
    return fae("prepare", "shop.csv", "--schema", "shop.yaml", "--out", "ds", *BUDGET, *more)


# ── Help ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_commands_are_these() -> None:
    stages = {"ingest", "profile", "calibrate", "partition", "prepare"}
    assert set(COMMANDS) >= stages | {"train", "evaluate", "verify", "synth", "export", "version"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = fae(command, "--help")
    assert result.exit_code == 0
    text = plain(result.output)
    assert "usage" in text.lower()
    assert command in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_help_text(command: str) -> None:
    for action in subparsers(parser())[command]._actions:
        assert action.help, f"{command}: {action.dest}"


@pytest.mark.parametrize("command", ["prepare", "ingest", "profile", "calibrate", "partition"])
def test_a_stage_has_the_same_parameters_as_command_and_as_function(command: str) -> None:
    names = {action.dest for action in subparsers(parser())[command]._actions}
    parameters = {*inspect.signature(getattr(stages, command)).parameters, *EXECUTION_NAMES}
    assert names - {"help", "append", "timings", "params"} == parameters - {"execution"}


def test_the_choices_in_the_help_are_those_of_the_program() -> None:
    assert tuple(sorted(list_presets(), key=options.PRESETS.index)) == options.PRESETS
    assert set(options.RULES) == set(RULES)
    assert set(options.OBJECTIVES) == set(OBJECTIVES)
    assert options.COLD_IDS == COLD_IDS
    assert set(options.SYNTHETIC) == set(KINDS)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []])
def test_the_program_tells_where_to_start(arguments: list[str]) -> None:
    text = plain(fae(*arguments).output)
    assert "Start with `fae prepare`" in text
    for command in COMMANDS:
        assert command in text


def test_presets_are_in_the_help() -> None:
    text = plain(fae("prepare", "--help").output)
    for name in list_presets():
        assert name in text


@pytest.mark.parametrize("argument", ["version", "--version"])
def test_the_version_is_the_packages(argument: str) -> None:
    result = fae(argument)
    assert (result.exit_code, result.stdout) == (0, f"fae {__version__}\n")


# ── The way of the data ──────────────────────────────────────────────────────────────────────────


def test_prepare_makes_a_data_set_and_says_what_it_is(place: Path) -> None:
    result = prepare("--threads", "2")
    assert result.exit_code == 0, result.output
    text = plain(result.stdout)
    assert "train 16 10 6 62.5%" in text
    assert "2 tables, 11 rows; 6 hot (54.5%) serve 76.9% of the training accesses" in text
    assert "data set in ds" in text
    assert names(place) == ["ds", "ds.timings.json", "shop.csv", "shop.yaml"]


def test_prepare_again_says_so_and_succeeds(place: Path) -> None:
    prepare()
    before = digests(place / "ds")
    result = prepare()
    assert result.exit_code == 0
    assert "already made from these logs and parameters; nothing to do" in plain(result.stderr)
    assert "data set in ds" in plain(result.stdout)
    assert digests(place / "ds") == before


def test_other_parameters_are_refused_without_overwrite(place: Path) -> None:
    prepare()
    before = digests(place / "ds")
    assert_mistake(prepare("--seed", "1"), "ds was made from other inputs", "--overwrite")
    assert digests(place / "ds") == before
    assert prepare("--seed", "1", "--overwrite").exit_code == 0
    assert digests(place / "ds") != before


def test_the_stages_one_by_one_make_the_same_bytes(place: Path, tmp_path: Path) -> None:
    steps = [
        ["ingest", "shop.csv", "--schema", "shop.yaml", "--out", "1"],
        ["profile", "1", "--out", "2"],
        ["calibrate", "1", "2", *BUDGET, "--out", "3"],
        ["partition", "1", "2", "3", "--out", "4"],
    ]
    texts = []
    for step in steps:
        result = fae(*step)
        assert result.exit_code == 0, result.output
        texts.append(plain(result.stdout))
    assert "shop.csv 20 20 0" in texts[0]
    assert "train 16, valid 2, test 2" in texts[1]
    assert "city 6 0 0.0% 50.0% 0.0%" in texts[1]
    assert "62.5%" in texts[2]
    assert "data set in 4" in texts[3]
    prepare()
    assert digests(place / "4") == digests(place / "ds")
    assert digests(place / "4") == digests(shop_stages(tmp_path / "api").dataset)


def test_options_reach_their_stages(place: Path) -> None:
    result = prepare(
        "--valid", "0.2", "--test", "0", "--min-count", "2", "--min-count", "city=3",
        "--sample", "0.9", "--seed", "3", "--dtype", "float16", "--optimizer", "sgd",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    options = oracle.Options(
        budget=120,
        valid="0.2",
        test="0",
        min_count={"": 2, "city": 3},
        sample=0.9,
        seed=3,
        dtype="float16",
        optimizer="sgd",
    )
    right = oracle.prepare([SHOP_LOG.encode()], [None], SHOP, options)
    text = plain(result.stdout)
    for split in ("train", "valid"):
        hot, cold = (len(right.leaves[split, kind]) for kind in ("hot", "cold"))
        assert f"{split} {hot + cold} {hot} {cold} " in text
    assert "test 0 0 0 – –" in text
    assert "float16 rows with sgd state" in text
    assert f"{right.used_bytes} B" in text


def test_logs_may_be_given_for_valid_and_test(place: Path) -> None:
    head, *lines = SHOP_LOG.splitlines(keepends=True)
    files = {f"{n}.csv": head + "".join(lines[n::4]) for n in range(4)}
    written(place, files)
    result = fae(
        "prepare", "0.csv", "1.csv", "--valid-logs", "2.csv", "--test-logs", "3.csv",
        "--schema", "shop.yaml", "--out", "ds", *BUDGET,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    text = plain(result.stdout)
    assert "train 10 " in text
    assert "valid 5 " in text
    assert "test 5 " in text


def test_rejects_are_summed_up_and_left_in_the_data_set(place: Path) -> None:
    written(place, {"shop.csv": SHOP_LOG + "x\n"})
    result = prepare("--max-reject-share", "0.1")
    assert result.exit_code == 0
    assert "1 fields, not 7 1" in plain(result.stdout)
    (reject,) = rejects_of(place / "ds" / "rejects")
    assert reject["line"] == 22


def test_verify_tells_a_whole_data_set_from_a_damaged_one(place: Path) -> None:
    prepare()
    result = fae("verify", "ds")
    assert result.exit_code == 0
    assert result.stdout == "ds: 8 files and 20 rows are as the manifest says.\n"
    (place / "ds" / "curve.csv").write_text("")
    (place / "ds" / "stranger").write_text("")
    result = fae("verify", "ds")
    assert result.exit_code == 1
    lines = plain(result.stderr)
    assert "fault: stranger: not in the manifest" in lines
    assert "fault: curve.csv: 0 bytes, not" in lines
    assert result.stdout == ""


# ── Mistakes ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["none.csv"], ["no log found at none.csv"]),
        (["shop.csv"], ["shop.csv is named twice"]),
        (["."], ["is a directory"]),
        (["--test-logs", "shop.csv"], ["shop.csv is named twice"]),
        (["--schema", "shop"], ["no schema is called 'shop'", "criteo-kaggle"]),
        (["--schema", "none.yaml"], ["cannot read the schema none.yaml"]),
        (["--schema", "avazu"], ["the header lacks", "'avazu'"]),
        (["--hot-budget", "much"], ["--hot-budget 'much'", "256MiB"]),
        (["--hot-budget", "39"], ["cannot hold one row of each of the 2 tables"]),
        (["--valid", "most"], ["--valid 'most': must be a share"]),
        (["--valid", "0.5", "--test", "0.5"], ["no row is left to train on"]),
        (["--valid", "9d"], ["no row is left to train on"]),
        (["--min-count", "few"], ["--min-count 'few'"]),
        (["--min-count", "town=3"], ["names town; the tables are city, item"]),
        (["--sample", "0"], ["--sample 0"]),
        (["--seed", "-1"], ["--seed -1"]),
        (["--max-reject-share", "2"], ["--max-reject-share 2"]),
        (["--out", "shop.csv"], ["shop.csv is a file"]),
        (["--out", "shop.csv/ds"], ["shop.csv"]),
        (["--out", "."], ["holds files but no _SUCCESS"]),
        (["--workers", "2", "--scheduler", "tcp://here:1"], ["--workers"]),
        (["--scheduler", "here"], ["here"]),
    ],
)
def test_a_users_mistake_is_one_message(place: Path, more: list[str], named: list[str]) -> None:
    before = names(place)
    assert_mistake(prepare(*more), *named)
    assert names(place) in (before, sorted([*before, "ds.work"]))
    assert (place / "shop.csv").read_text() == SHOP_LOG


def test_too_many_malformed_lines_are_one_message_with_examples(place: Path) -> None:
    written(place, {"shop.csv": SHOP_LOG + "x\n[bold]y[/]\n"})
    result = fae("ingest", "shop.csv", "--schema", "shop.yaml", "--out", "staging")
    assert_mistake(
        result,
        "2 of 22 lines (9.09%) are malformed",
        "shop.csv, line 23: 1 fields, not 7: '[bold]y[/]'",
        "staging.rejects/rejects.jsonl",
    )
    assert len(rejects_of(place / "staging.rejects")) == 2
    assert not (place / "staging").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["profile", "ds", "--out", "x"],
        ["profile", "none", "--out", "x"],
        ["calibrate", "ds", "ds", *BUDGET, "--out", "x"],
        ["partition", "ds", "ds", "ds", "--out", "x"],
        ["verify", "none"],
        ["verify", "shop.csv"],
        ["export", "none", "none", "--out", "x"],
    ],
)
def test_outputs_of_other_stages_are_one_message(place: Path, arguments: list[str]) -> None:
    prepare()
    assert_mistake(fae(*arguments), arguments[1])
    assert not (place / "x").exists()


@pytest.mark.parametrize("option", ["--threads", "--workers"])
def test_fewer_than_one_thread_or_worker_is_a_mistake(place: Path, option: str) -> None:
    arguments = ["prepare", "shop.csv", "--schema", "shop.yaml", "--out", "ds", *BUDGET]
    done = subprocess.run(
        [sys.executable, "-m", "fae", *arguments, option, "-1"],
        capture_output=True,
        text=True,
        timeout=20,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        check=False,
    )
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert not (place / "ds").exists()


def test_a_file_that_may_not_be_read_is_one_message(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "shop.csv")

    monkeypatch.setattr("fae.logs.files.find_logs", refuse)
    assert_mistake(prepare(), "Permission denied", "shop.csv")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["prepare", "shop.csv", "--nonsense"],
        ["prepare", "--schema", "avazu", "--out", "x", *BUDGET],
        ["prepare", "shop.csv", "--out", "x", *BUDGET],
        ["prepare", "shop.csv", "--schema", "avazu", *BUDGET],
        ["prepare", "shop.csv", "--schema", "avazu", "--out", "x", *BUDGET, "--seed", "one"],
        ["prepare", "shop.csv", "--schema", "avazu", "--out", "x", *BUDGET, "--dtype", "int8"],
        ["prepare", "shop.csv", "--schema", "avazu", "--out", "x", *BUDGET, "--rule", "best"],
        ["verify"],
        ["synth", "criteo", "--out", "x", "--rows", "0"],
    ],
)
def test_a_wrong_usage_exits_with_2(place: Path, arguments: list[str]) -> None:
    result = fae(*arguments)
    assert result.exit_code == 2
    assert "usage: " in result.stderr
    assert names(place) == ["shop.csv", "shop.yaml"]


# ── Interruption ─────────────────────────────────────────────────────────────────────────────────

SLOW = """
import sys, time
import fae.ingestion.stage as staging

def parse_slowly(*arguments, parse=staging.parse_text):
    print("ready", flush=True)
    time.sleep(1.5)
    return parse(*arguments)

staging.parse_text = parse_slowly
from fae.cli import main
sys.exit(main(["ingest", "shop.csv", "--schema", "shop.yaml", "--out", "staging"]))
"""


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGHUP, 129, "terminated")],
)
def test_a_signal_ends_it_cleanly(place: Path, number: int, code: int, says: str) -> None:
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    with subprocess.Popen(
        [sys.executable, "-c", SLOW],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert says in errors
    assert "Traceback" not in errors
    assert names(place) == ["shop.csv", "shop.yaml", "staging.partial"]


def test_the_console_script_is_this_program() -> None:
    from fae import cli

    entry: Callable[[], int] = cli.main
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'fae = "{entry.__module__}:{entry.__name__}"' in text
