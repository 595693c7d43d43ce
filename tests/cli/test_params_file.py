"""Options from a file: values reach the command as they stand there, and mistakes name the key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fae.cli.arguments import parse
from fae.format.errors import ParameterError


@pytest.fixture
def parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that parses a command line with a params.yaml of these sections."""
    monkeypatch.chdir(tmp_path)

    def parse_with(command: str, *words: str, **sections: object) -> dict[str, object]:
        Path("params.yaml").write_text(yaml.safe_dump(sections), encoding="utf-8")
        return parse([*command.split(), "--params", *words])[1]

    return parse_with


@pytest.mark.parametrize(
    "text", ["$(touch x)", "a b", "'\"`;&|", "${HOME}", "--seed=1", "ü\n*", "a:b"]
)
def test_no_shell_reads_a_value(parsed, text: str) -> None:
    options = parsed("ingest a.csv --out o", "params.yaml", ingest={"schema": text})
    assert options == {"logs": ["a.csv"], "out": "o", "schema": text}


def test_values_of_each_kind_become_options(parsed) -> None:
    ingest = {"logs": ["a", "b c"], "schema": "avazu", "max_reject_share": 0.5, "overwrite": True}
    ingest |= {"timings": False, "threads": 2, "memory": None, "valid_logs": "v"}
    assert parsed("ingest --out o", "params.yaml:here", here=ingest) == {
        **{"logs": ["a", "b c"], "schema": "avazu", "max_reject_share": 0.5, "out": "o"},
        **{"overwrite": True, "threads": 2, "valid_logs": ["v"]},
    }


def test_an_option_of_the_command_line_wins(parsed) -> None:
    profile = {"min_count": [2, "city=3"], "seed": 1}
    words = ["params.yaml", "--min-count=4", "--seed", "5"]
    options = parsed("profile s --out o", *words, profile=profile)
    assert (options["min_count"], options["seed"]) == (["4"], 5)


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({"sead": 1}, "params.yaml: profile.sead is no option of fae profile. It takes"),
        ({"params": "x"}, "params.yaml: profile.params is no option"),
        ({"seed": "one"}, "params.yaml: profile.seed: invalid int value: 'one'"),
        ({"seed": [1, 2]}, r"profile.seed is \[1, 2\]; it must be a text or a number"),
        ({"valid": True}, "profile.valid is True; it must be a text or a number"),
        ({"min_count": {"city": 3}}, "a text or a number, or a list of these"),
        (
            {"overwrite": "yes please"},
            "profile.overwrite is 'yes please'; it must be true or false",
        ),
        ({"staging": "-x"}, "'-x' looks like an option"),
        (None, "params.yaml has no section 'profile' with options of fae profile"),
    ],
)
def test_a_mistake_in_the_file_names_its_key(parsed, section: object, named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        parsed("profile s --out o", "params.yaml", profile=section)


@pytest.mark.parametrize(("place", "named"), [("none", "cannot read none"), ("bad", "line 2")])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, parsed, place: str, named: str) -> None:
    Path("bad").write_text("a: 1\n: [", encoding="utf-8")
    with pytest.raises(ParameterError, match=named):
        parsed("profile s --out o", place)
