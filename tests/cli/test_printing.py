"""What commands print of a hot set's worth, in train and on rows that training has not seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from fae.synthetic.log import write_log
from tests.support.command_line import fae, plain

REVERSED = "inputs is better than accesses on training samples, but worse on held-out ones"


@pytest.fixture
def avazu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a working directory with a log of 2,000 rows."""
    write_log("avazu", 2_000, tmp_path / "avazu.csv", 0, lambda _: None)
    monkeypatch.chdir(tmp_path)


def prepare(*more: str) -> str:
    """Return what `fae prepare` prints."""
    rule = ("--rule", "inputs", "--hot-budget", "24KiB")
    options = ("--schema", "avazu", *rule, "--out", "ds", *more)
    result = fae("prepare", "avazu.csv", *options)
    assert result.exit_code == 0
    return plain(result.output)


def shares_of(text: str, rule: str) -> list[str]:
    """Return the three shares that a text prints for a rule."""
    after = text.split("hot share by rule")[1].split(f" {rule} ")[1]
    return after.split()[:3]


def test_prepare_and_summary_say_where_the_rules_disagree_on_new_rows(avazu: None) -> None:
    printed = prepare("--overwrite")
    assert REVERSED in printed
    assert "--objective future" in printed
    assert "--min-count 2" in printed
    summary = plain(fae("summary", "ds").output)
    assert REVERSED in summary
    assert shares_of(summary, "inputs") == shares_of(printed, "inputs")
    assert shares_of(summary, "accesses") == shares_of(printed, "accesses")
    train, held_out, known = (float(share[:-1]) for share in shares_of(printed, "inputs"))
    accesses = [float(share[:-1]) for share in shares_of(printed, "accesses")]
    assert train > accesses[0]
    assert held_out < accesses[1]
    assert 0 <= known <= 100


def test_the_objective_future_is_named_and_leaves_nothing_to_warn_of(avazu: None) -> None:
    printed = prepare("--objective", "future")
    assert REVERSED not in printed
    held_out = [shares_of(printed, rule)[1] for rule in ("inputs (future)", "accesses")]
    future, accesses = (float(share[:-1]) for share in held_out)
    assert future >= accesses


def test_a_sample_that_is_too_small_is_said_by_prepare_and_summary(avazu: None) -> None:
    for printed in (prepare("--sample", "0.05"), plain(fae("summary", "ds").output)):
        assert "calibrated on a sample" in printed
        assert "raise --sample, or use --rule inputs --objective future" in printed


def test_without_held_out_rows_nothing_is_said_of_new_ones(avazu: None) -> None:
    printed = prepare("--valid", "0", "--test", "0")
    assert shares_of(printed, "inputs")[1:] == ["–", "–"]
    assert "nothing says what the hot set is worth on new ones" in printed
    assert REVERSED not in printed
