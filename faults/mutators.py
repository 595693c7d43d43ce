"""Mutations: bytes that look much like right ones and are not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

#: What programs stumble over, in text of any kind.
TOKENS = (
    b"", b"\0", b"\n", b"\r", b"\r\n", b"\n\n", b'"', b'""', b'"\n"', b"\t", b",", b"|", b";", b" ",
    b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\xff\xfe",
    "é".encode(), "日本".encode(), "\u2028".encode(), "\x85".encode(), "１".encode(), b"\x0b",
    b"-", b"+", b".", b"0", b"1", b"-0", b"00", b"1.0", b"01", b"1e0", b"1e400", b"1e-400",
    b"nan", b"NaN", b"inf", b"-inf", b"null", b"None", b"true", b"0x1", b"1_0",
    b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808",
    b"-9223372036854775809", b"18446744073709551616", b"999999999999999", b"9999999999999999",
    b"0" * 40 + b"1", b"9" * 5000, b"0." + b"3" * 40, b"ffffffffffffffff", b"11111111111111111",
    b"a" * 300, b"{}", b"[]", b"{", b"]", b": ", b"- ", b"&a ", b"*a", b"!!python/name:os.system ",
)  # fmt: skip
#: What may stand in place of any value of a document.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 10**6, 2**31, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400, 0.5,
    -0.0, 1e308, float("inf"), float("nan"), "", "0", "a", "é", "\0", "../x", "/x", "x" * 300,
    "\ud800", "I1..I3", "I3..I1", "I1..I99999999999", "1" * 5000, [], [[]], [None], [0], ["a", "a"],
    {}, {"a": 1}, {"": None}, {"role": "label", "name": "x"}, {"role": "sparse"},
)  # fmt: skip


def mutated(random: Random, data: bytes, times: int) -> bytes:
    """`data` after some random mutations of its bytes, lines and fields."""
    for _ in range(times):
        data = random.choice(_OF_BYTES)(random, data)
    return data


def edited(random: Random, document: Any, times: int) -> Any:
    """A copy of plain data (dictionaries, lists, values) with some of its entries changed."""
    document = json.loads(json.dumps(document))
    for _ in range(times):
        places = list(_places(document))
        if not places:
            return random.choice(VALUES)
        holder, key = random.choice(places)
        what = random.randrange(6)
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, dict):
            holder[f"{key}x"] = holder.pop(key)
        elif what == 1:
            holder.insert(key, random.choice(VALUES))
        elif what == 2:
            other_holder, other = random.choice(places)
            holder[key] = json.loads(json.dumps(other_holder[other], default=str))
        elif what == 3 and isinstance(holder[key], list | str):
            holder[key] = holder[key] * 2
        else:
            holder[key] = random.choice(VALUES)
    return document


def _places(document: Any) -> Sequence[tuple[Any, Any]]:
    """Every holder and key below `document`."""
    items: Any = ()
    if isinstance(document, dict):
        items = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    found = [(document, key) for key, _ in items]
    for _, value in items if not isinstance(document, list) else enumerate(document):
        found += _places(value)
    return found


def _span(random: Random, data: bytes) -> tuple[int, int]:
    start = random.randint(0, len(data))
    return start, min(len(data), start + random.choice((1, 1, 2, 4, 8, 30)))


def _token_in(random: Random, data: bytes) -> bytes:
    at = random.randint(0, len(data))
    return data[:at] + random.choice(TOKENS) + data[at:]


def _token_for(random: Random, data: bytes) -> bytes:
    start, stop = _span(random, data)
    return data[:start] + random.choice(TOKENS) + data[stop:]


def _flip(random: Random, data: bytes) -> bytes:
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]


def _cut(random: Random, data: bytes) -> bytes:
    return data[: random.randint(0, len(data))]


def _gone(random: Random, data: bytes) -> bytes:
    start, stop = _span(random, data)
    return data[:start] + data[stop:]


def _twice(random: Random, data: bytes) -> bytes:
    start, stop = _span(random, data)
    return data[:stop] + data[start:]


def _field(random: Random, data: bytes) -> bytes:
    """A token, or another field, in place of a whole field."""
    separator = random.choice((b"\t", b",", b"|", b";"))
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    fields = lines[at].split(separator)
    fields[random.randrange(len(fields))] = random.choice((*TOKENS, *fields))
    lines[at] = separator.join(fields)
    return b"\n".join(lines)


def _lines(random: Random, data: bytes) -> bytes:
    """Two lines in each other's place, or one twice, or one gone."""
    lines = data.split(b"\n")
    one, two = random.randrange(len(lines)), random.randrange(len(lines))
    what = random.randrange(3)
    if what == 0:
        lines[one], lines[two] = lines[two], lines[one]
    elif what == 1:
        lines.insert(one, lines[two])
    else:
        del lines[one]
    return b"\n".join(lines)


_OF_BYTES: tuple[Callable[[Random, bytes], bytes], ...] = (
    _token_in, _token_for, _flip, _cut, _gone, _twice, _field, _field, _field, _lines,
)  # fmt: skip
