"""Choose the label among guessed columns, and the rule that makes 0 or 1 of its values."""

import re
import statistics
from collections import Counter
from dataclasses import replace
from typing import Any

from fae.format.errors import LogError
from fae.inference.columns import Guess

_LABEL_NAME = re.compile(
    r"^label|click|^y$|target|^is_|attributed|conver|bought|^buy$|purchase|like|follow|install",
    re.I,
)
_RATING_NAME = re.compile(r"rating|stars|score|hours|watch|play", re.I)
_ACTION_NAME = re.compile(r"action|behaviou?r|event|type|status", re.I)
_POSITIVE_WORDS = ("click", "clk", "buy", "purchase", "play", "yes", "y", "positive", "like", "pos")
#: The two values of a label that is written as words, and which of them is 1.
_PAIRS: dict[frozenset[str], dict[str, int] | None] = {
    frozenset(("0", "1")): None,
    frozenset(("0.0", "1.0")): None,
    frozenset(("true", "false")): {"true": 1, "false": 0},
    frozenset(("True", "False")): {"True": 1, "False": 0},
    frozenset(("-1", "1")): {"1": 1, "-1": 0},
    frozenset(("yes", "no")): {"yes": 1, "no": 0},
}
_MAX_LABEL_VALUES = 20


def choose_label(guesses: list[Guess]) -> list[Guess]:
    """Return the columns with one of them as the label, and others that look like one dropped."""
    ranked = sorted(
        (rank, number) for number, g in enumerate(guesses) if (rank := _rank(g)) is not None
    )
    if not ranked:
        return _make_label_up(guesses)
    chosen, first_rank = ranked[0][1], ranked[0][0]
    made = list(guesses)
    made[chosen] = _make_label(guesses[chosen], sure=first_rank == 0)
    for rank, number in ranked[1:]:
        if rank == 0 and first_rank == 0:
            doubt = "it may be another label; keep it with `role: label`, or as a feature"
            made[number] = guesses[number].become(role="drop", doubt=doubt)
    return made


def _rank(guess: Guess) -> int | None:
    """Return how little a column looks like a label, from 0; None if it does not at all."""
    texts = guess.list_texts()
    distinct = set(texts)
    if not distinct or guess.column["role"] in ("time", "key") or "multi" in guess.column:
        return None
    named = bool(_LABEL_NAME.search(guess.name))
    if frozenset(distinct) in _PAIRS or (named and distinct <= {"0", "1"}):
        return 0 if named else 1
    if _RATING_NAME.search(guess.name) and guess.column["role"] in ("dense", "sparse"):
        return 2 if _is_numeric(texts) else None
    if len(distinct) <= _MAX_LABEL_VALUES and guess.column["role"] == "sparse":
        if _ACTION_NAME.search(guess.name) or distinct & set(_POSITIVE_WORDS):
            return 3
        return 5
    return None


def _is_numeric(texts: list[str]) -> bool:
    try:
        return bool([float(text) for text in texts])
    except ValueError:
        return False


def _make_label(guess: Guess, sure: bool) -> Guess:
    """Return a column as the label, with the rule for its values."""
    texts = guess.list_texts()
    counts = Counter(texts)
    doubt = "" if sure else "whether this is the label is a guess"
    rule: dict[str, Any] = {}
    if frozenset(counts) in _PAIRS or set(counts) <= {"0", "1"}:
        mapping = _PAIRS.get(frozenset(counts))
        rule = {"map": mapping} if mapping else {}
    elif _is_numeric(texts) and len(counts) > 2:
        numbers = [float(text) for text in texts]
        stars = max(numbers) == 5 and min(numbers) >= 0
        threshold = 4.0 if stars else max(statistics.median(numbers), sorted(set(numbers))[1])
        rule, doubt = {"threshold": threshold}, "which values are positive is a guess"
    else:
        words = [word for word in counts if word.lower() in _POSITIVE_WORDS]
        rule = {"positive": words or [min(counts, key=lambda word: (counts[word], word))]}
        doubt = f"which of {', '.join(sorted(counts)[:8])} are positive is a guess"
    missing = len(texts) < len(guess.values)
    label = guess.become(role="label", **rule, doubt=doubt)
    if not missing:
        return label
    kept = {**label.column, "missing": "keep"}
    return replace(label, column=kept, note="rows without a label are kept, with label -1")


def _make_label_up(guesses: list[Guess]) -> list[Guess]:
    """Make a label of the column that serves best, where none looks like one."""
    usable = [
        guess
        for guess in guesses
        if len(set(guess.list_texts())) > 1 and "multi" not in guess.column
    ]
    order = ("dense", "sparse", "drop", "key", "time")
    usable = usable or [guess for guess in guesses if guess.list_texts()]
    if not usable:
        raise LogError("no column has a value that could be a label.")
    chosen = min(usable, key=lambda guess: order.index(guess.column["role"]))
    doubt = "no column looks like a label, and a schema needs one"
    label = replace(_make_label(chosen, sure=False), doubt=doubt)
    return [label if guess is chosen else guess for guess in guesses]
