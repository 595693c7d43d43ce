"""Write a schema as YAML, with a comment on each column that says what it is unsure of."""

import re
from collections.abc import Sequence
from typing import Any

import yaml

from fae.inference.columns import Guess
from fae.inference.sample import Sample


def write_document(log: str, sample: Sample, guesses: Sequence[Guess]) -> str:
    """Return the schema of the guessed columns as YAML, with comments."""
    rows = max((len(values) for values in sample.columns.values()), default=0)
    file = re.split(r"[/\\?]", log.rstrip("/"))[-1]
    name = re.sub(r"\W+", "-", file.split(".")[0]).strip("-") or "log"
    doubts = len(sample.doubts) + sum(bool(guess.doubt) for guess in guesses)
    lines = [
        f"# Inferred from the first {rows:,} rows of {_one_line(file)}: a proposal, "
        "to be read and corrected.",
        f"# Guesses marked UNSURE: {doubts}.",
        *(f"# UNSURE: {_one_line(doubt)}." for doubt in sample.doubts),
        f"name: {_to_yaml(name)}",
        *(f"{key}: {_to_yaml(value)}" for key, value in sample.keys.items()),
        "embedding: {dim: 16}",
        "columns:",
    ]
    for guess in guesses:
        told = [guess.note] if guess.note else []
        told += [f"UNSURE: {guess.doubt}"] if guess.doubt else []
        comment = f"  # {'; '.join(told)}" if told else ""
        lines.append(f"  - {_to_yaml(_order(guess.column))}{_one_line(comment)}")
    return "\n".join(lines) + "\n"


def _order(column: dict[str, Any]) -> dict[str, Any]:
    """Return a column's keys with name and role first."""
    ranks = {"name": 0, "field": 1, "role": 2}
    return dict(sorted(column.items(), key=lambda item: ranks.get(item[0], len(ranks))))


def _to_yaml(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = _dump(value, allow_unicode=True)
    return text if text.isprintable() else _dump(value, allow_unicode=False)


def _dump(value: Any, **options: Any) -> str:
    text: str = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=2**31 - 1, **options
    )
    return text.removesuffix("...\n").strip()


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "�" for letter in text)
