"""Formats: numbers as people write them, and text from a data set made safe to show.

Everything in a data set is untrusted: names come from a schema, texts from a log. Whatever goes
into the page or a figure passes through `plain`, and into the page through `escaped` as well.
"""

from __future__ import annotations

import html

from dask.utils import format_bytes

#: A number and its unit stay on one line.
SPACE = "\u00a0"
_ABSENT = "–"
_LONGEST = 60


def count(number: int) -> str:
    """`1234` as `1,234`."""
    return f"{number:,}"


def share(fraction: float | None) -> str:
    """`0.123` as `12.3 %`; never rounded to nothing or to all; a dash for None."""
    if fraction is None:
        return _ABSENT
    if 0 < fraction < 0.0005:
        return f"<{SPACE}0.1{SPACE}%"
    if 0.9995 <= fraction < 1:
        return f">{SPACE}99.9{SPACE}%"
    return f"{fraction * 100:.1f}{SPACE}%"


def tick(fraction: float) -> str:
    """A share at a tick of an axis: `0.1 %`, `20 %`."""
    return f"{fraction * 100:.6g}{SPACE}%"


def size(number: int) -> str:
    """Bytes as `4.00 MiB`."""
    return format_bytes(number).replace(" ", SPACE)


def ratio(part: float, whole: float) -> float | None:
    """`part / whole`; None where there is no whole."""
    return part / whole if whole else None


def plain(text: object, longest: int = _LONGEST) -> str:
    r"""`text` on one line, at most `longest` characters, with what cannot be seen written out.

    Control characters, marks that turn the direction of writing and lone surrogates become
    escapes such as `\x00`.
    """
    given = str(text)
    seen = "".join(
        one if one.isprintable() or one == SPACE else one.encode("unicode_escape").decode("ascii")
        for one in given[:longest]
    )
    short = seen if len(seen) <= longest else seen[: longest - 1]
    return short if len(given) <= longest and short == seen else f"{short[: longest - 1]}…"


def escaped(text: object, longest: int = _LONGEST) -> str:
    """`text` as HTML content or as a quoted attribute's value, without markup of its own."""
    return html.escape(plain(text, longest), quote=True)
