"""Take a command's options from a section of a YAML file, such as DVC's params.yaml.

The values are data: no shell reads them on their way to the command.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from fae.format.errors import ParameterError
from fae.logs.yaml_text import parse_yaml
from fae_trainer.arguments import CommandParser


def add_params_option(command: argparse.ArgumentParser) -> None:
    """Add --params to a command."""
    command.add_argument(
        "--params",
        metavar="FILE[:SECTION]",
        help="Take options from a section of this YAML file (default: the command's name); an "
        "option given here wins. For DVC: --params params.yaml.",
    )


def expand_params(command: argparse.ArgumentParser, name: str, words: Sequence[str]) -> list[str]:
    """Return the words of a command line with those of its --params file before them.

    Raises ParameterError where the file, its section or a value in it is not as expected.
    """
    look = CommandParser(usage=command.usage, add_help=False, allow_abbrev=False)
    look.add_argument("--params")
    place = look.parse_known_args(words)[0].params
    if place is None:
        return list(words)
    values, where = _read_section(place, name)
    known = {_key(action): action for action in command._actions if action.dest != "params"}
    given = {word.partition("=")[0] for word in words}
    expanded = []
    for key, value in values.items():
        if (action := known.get(str(key))) is None:
            options = ", ".join(sorted(known))
            raise ParameterError(f"{where}.{key} is no option of fae {name}. It takes {options}.")
        if not given & set(action.option_strings):
            expanded += _to_words(command, action, value, f"{where}.{key}")
    return [*expanded, *words]


def _read_section(place: str, command: str) -> tuple[dict[Any, Any], str]:
    """Return the values in `place`, FILE:SECTION or FILE, and the words that name it in errors."""
    file, colon, section = place.rpartition(":")
    file, section = (file, section) if colon else (place, command)
    try:
        document = parse_yaml(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(f"--params {place}: cannot read {file}: {error.strerror}.") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ParameterError(f"{file} is not valid YAML: {error}") from None
    values = document.get(section) if isinstance(document, dict) else None
    if not isinstance(values, dict):
        raise ParameterError(
            f"{file} has no section {section!r} with options of fae {command}. Add it, or name "
            "another one: --params FILE:SECTION."
        )
    return values, f"{file}: {section}"


def _key(action: argparse.Action) -> str:
    """Return what an option or argument is called in a file: `hot_budget` is --hot-budget."""
    long = [option for option in action.option_strings if option.startswith("--")]
    return long[0][2:].replace("-", "_") if long else action.dest


def _to_words(
    command: argparse.ArgumentParser, action: argparse.Action, value: Any, where: str
) -> list[str]:
    """Return the words that give an option the value; none for null, and for false of a flag."""
    if value is None:
        return []
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ParameterError(f"{where} is {value!r}; it must be true or false.")
        return [action.option_strings[0]] if value else []
    several = action.nargs == "+" or isinstance(action, argparse._AppendAction)
    values = value if isinstance(value, list) and several else [value]
    if any(isinstance(each, bool | list | dict | None) for each in values):
        expected = "a text or a number" + (", or a list of these" if several else "")
        raise ParameterError(f"{where} is {value!r}; it must be {expected}.")
    texts = [str(each) for each in values]
    for text in texts:
        try:
            command._check_value(action, command._get_value(action, text))
        except argparse.ArgumentError as error:
            raise ParameterError(f"{where}: {error.message}.") from None
    if action.option_strings:
        return [f"{action.option_strings[0]}={text}" for text in texts]
    if any(text.startswith("-") for text in texts):
        raise ParameterError(f"{where}: {value!r} looks like an option. Put ./ before it.")
    return texts
