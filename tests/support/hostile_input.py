"""Hypothesis strategies for hostile input: bytes and documents that look much like right ones."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

#: What programs stumble over in text of any kind.
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
#: What may replace a value of a document that no reader expects there.
SCALARS: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 10**6, 2**31, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400, 0.5,
    -0.0, 1e308, float("inf"), float("nan"), "", "0", "a", "é", "\0", "../x", "/x", "x" * 300,
    "\ud800", "I1..I3", "I3..I1", "I1..I99999999999", "1" * 5000,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    *SCALARS, [], [[]], [None], [0], ["a", "a"],
    {}, {"a": 1}, {"": None}, {"role": "label", "name": "x"}, {"role": "sparse"},
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, data: bytes, most: int = 4) -> bytes:
    """Mutate 1 to `most` spans, bits, fields or lines of bytes."""
    for _ in range(draw(st.integers(1, most))):
        data = draw(st.sampled_from(MUTATIONS))(draw, data)
    return data


def replace_span(draw: st.DrawFn, data: bytes) -> bytes:
    """Put a token in place of a span, which may be empty; the token may be empty too."""
    start = draw(st.integers(0, len(data)))
    stop = start + draw(st.sampled_from((0, 0, 1, 2, 4, 8, 30)))
    return data[:start] + draw(st.sampled_from(TOKENS)) + data[stop:]


def repeat_span(draw: st.DrawFn, data: bytes) -> bytes:
    """Write a span twice."""
    start = draw(st.integers(0, len(data)))
    stop = start + draw(st.sampled_from((1, 2, 4, 8, 30)))
    return data[:stop] + data[start:]


def flip_bit(draw: st.DrawFn, data: bytes) -> bytes:
    """Flip one bit."""
    if not data:
        return data
    at = draw(st.integers(0, len(data) - 1))
    return data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1 :]


def cut_short(draw: st.DrawFn, data: bytes) -> bytes:
    """Drop the end."""
    return data[: draw(st.integers(0, len(data)))]


def replace_field(draw: st.DrawFn, data: bytes) -> bytes:
    """Put a token or another field in place of a field."""
    separator = draw(st.sampled_from((b"\t", b",", b"|", b";")))
    lines = data.split(b"\n")
    at = draw(st.integers(0, len(lines) - 1))
    fields = lines[at].split(separator)
    new = draw(st.sampled_from((*TOKENS, *fields)))
    fields[draw(st.integers(0, len(fields) - 1))] = new
    lines[at] = separator.join(fields)
    return b"\n".join(lines)


def rearrange_lines(draw: st.DrawFn, data: bytes) -> bytes:
    """Swap two lines, write one twice, or drop one."""
    lines = data.split(b"\n")
    one, two = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    kind = draw(st.sampled_from(("swap", "repeat", "drop")))
    if kind == "swap":
        lines[one], lines[two] = lines[two], lines[one]
    elif kind == "repeat":
        lines.insert(one, lines[two])
    else:
        del lines[one]
    return b"\n".join(lines)


MUTATIONS = (
    replace_span, repeat_span, flip_bit, cut_short, replace_field, replace_field, rearrange_lines,
)  # fmt: skip


@st.composite
def edited(draw: st.DrawFn, document: Any, most: int = 4) -> Any:
    """Edit 1 to `most` entries of a document of dictionaries, lists and values."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, most))):
        entries = list_entries(document)
        if not entries:
            return draw(st.sampled_from(VALUES))
        holder, key = entries[draw(st.integers(0, len(entries) - 1))]
        kind = draw(st.sampled_from(("value", "value", "copy", "double", "rename", "remove")))
        if kind == "remove":
            del holder[key]
        elif kind == "rename" and isinstance(holder, dict):
            holder[f"{key}x"] = holder.pop(key)
        elif kind == "copy":
            other_holder, other = entries[draw(st.integers(0, len(entries) - 1))]
            holder[key] = copy.deepcopy(other_holder[other])
        elif kind == "double" and isinstance(holder[key], list | str):
            holder[key] = holder[key] * 2
        else:
            holder[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))  # which edits may change
    return document


def list_entries(document: Any) -> list[tuple[Any, Any]]:
    """Return the holder and the key of every entry of a document, at any depth."""
    if isinstance(document, dict):
        keys = list(document)
    elif isinstance(document, list):
        keys = list(range(len(document)))
    else:
        return []
    entries = [(document, key) for key in keys]
    for key in keys:
        entries += list_entries(document[key])
    return entries
