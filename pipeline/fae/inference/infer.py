"""Propose a schema for a log, try it on the log's beginning, and mend what does not fit."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from fae.format.errors import LogError
from fae.inference.columns import Guess, guess_column
from fae.inference.document import write_document
from fae.inference.labels import choose_label
from fae.inference.sample import SAMPLED_BYTES, Sample, read_sample
from fae.ingestion.rejects import Reject
from fae.ingestion.stage import parse_head
from fae.logs.files import find_logs, locate_log
from fae.logs.schema import PARTITION_KEYS
from fae.logs.schema_files import parse_schema

#: A column is mended where more than this share of the sample is rejected for it.
_MAX_REJECT_SHARE = 0.001


def infer_schema(log: str) -> str:
    """Return a schema for a log as commented YAML, which says what it is unsure of.

    `log` is a path, a URL or a pattern, of whose files the first is read. Raises LogError where it
    cannot be read, or where its lines have no fields that can be told apart.
    """
    log = locate_log(log).url
    sample = read_sample(log)
    guesses = [guess_column(names, sample.columns[field]) for field, names in _name(sample)]
    guesses = _share_tables(_keep_one_time(choose_label(guesses)))
    guesses = _need_a_category(guesses)
    (text, rejects, rows) = _try(log, sample, guesses)
    faulty = Counter(reject.column for reject in rejects if reject.column)
    if any(count > _MAX_REJECT_SHARE * rows for count in faulty.values()):
        named = {column for column, count in faulty.items() if count > _MAX_REJECT_SHARE * rows}
        guesses = [_mend(guess) if guess.column["name"] in named else guess for guess in guesses]
        (text, rejects, rows) = _try(log, sample, _need_a_category(guesses))
    return text


def _name(sample: Sample) -> list[tuple[str, dict[str, str]]]:
    """Return each field with its column's name, and with its own where that cannot be one."""
    named = []
    taken: set[str] = set()
    for field in sample.columns:
        name = re.sub(r"[^\w .+-]", "_", field.strip()) or "field"
        name = name if re.match(r"\w", name) else f"field{name}"
        name = f"{name}_" if name in PARTITION_KEYS else name
        while name in taken:
            name += "_"
        taken.add(name)
        named.append((field, {"name": name} if name == field else {"name": name, "field": field}))
    return named


def _keep_one_time(guesses: list[Guess]) -> list[Guess]:
    """Drop all times but one, the first of which nothing is unsure if there is one."""
    times = [guess for guess in guesses if guess.column["role"] == "time"]
    times.sort(key=lambda guess: bool(guess.doubt))
    doubt = "another time; a schema has one"
    return [g.become(role="drop", doubt=doubt) if g in times[1:] else g for g in guesses]


def _share_tables(guesses: list[Guess]) -> list[Guess]:
    """Let a list share the table of the column whose values it has."""
    singles = [g for g in guesses if g.column["role"] == "sparse" and "multi" not in g.column]
    shared = []
    for guess in guesses:
        elements = {one for value in guess.values if isinstance(value, list) for one in value}
        separator = guess.column.get("multi", {}).get("separator")
        if separator:
            elements = {one for text in guess.list_texts() for one in text.split(separator)}
        for single in singles if elements and "multi" in guess.column else ():
            same = single.column.get("encoding") == guess.column.get("encoding")
            if same and len(elements & set(single.list_texts())) > len(elements) / 2:
                table = single.column["name"]
                note = f"its values are those of {table}"
                guess = replace(guess, column={**guess.column, "table": table}, note=note)
                break
        shared.append(guess)
    return shared


def _need_a_category(guesses: list[Guess]) -> list[Guess]:
    """Make a category of some column, if no column is one: a schema needs an embedding table."""
    if any(guess.column["role"] == "sparse" for guess in guesses):
        return guesses
    others = [g for g in guesses if g.column["role"] in ("key", "dense", "drop", "time")]
    if not others:
        raise LogError("the log has a label and nothing else, so there is nothing to learn from.")
    order = ("key", "dense", "drop", "time")
    chosen = min(others, key=lambda g: order.index(g.column["role"]))
    doubt = "no column looks like a category, and a schema needs one"
    return [g.become(role="sparse", doubt=doubt) if g is chosen else g for g in guesses]


def _mend(guess: Guess) -> Guess:
    """Return what fits values that the guess does not fit."""
    if guess.column["role"] == "label":
        doubt = "some values are neither; rows without a label are kept"
        return replace(guess, column={**guess.column, "missing": "keep"}, doubt=doubt)
    if guess.column["role"] == "time":
        return guess.become(role="drop", doubt="some values are no time of one format")
    doubt = "some values are of another kind, so all are taken as text"
    return guess.become(role="sparse", doubt=doubt)


def _try(log: str, sample: Sample, guesses: Sequence[Guess]) -> tuple[str, list[Reject], int]:
    """Return the schema's text, and the rejects and rows that it gives at the log's beginning."""
    text = write_document(log, sample, guesses)
    schema = parse_schema(text, "the inferred schema")
    (found,) = find_logs([log], schema)
    parsed = parse_head(found, schema, SAMPLED_BYTES)
    if parsed is None:
        raise LogError(f"{found.name} has no rows to infer a schema from.")
    return text, parsed.rejects, parsed.rows.height + len(parsed.rejects)
