"""What figures, numbers and text look like.

Everything in a data set is untrusted: names come from a schema, texts from a log. All of it passes
through `to_printable` before it enters a figure or the page; the page escapes it as well.
"""

from dask.utils import format_bytes

#: Name → (light, dark). People with any colour vision can tell the series apart, and each has a
#: contrast of 3:1 or more against the page.
PALETTE = {
    "page": ("#ffffff", "#0f1419"), "ink": ("#1c2128", "#e8edf2"), "muted": ("#57606a", "#a3adb8"),
    "grid": ("#d5dbe1", "#333c46"), "faint": ("#b3bac2", "#59636f"),
    "panel": ("#f5f7f9", "#182029"), "link": ("#0a58ad", "#7ab8ff"),
    "hot": ("#c4450c", "#ff9b5e"), "cold": ("#0b6cad", "#63b3ed"),
    "series-1": ("#c4460d", "#ff9b5f"), "series-2": ("#0b6cae", "#63b3ee"),
    "series-3": ("#0d7a55", "#4fd1a1"), "series-4": ("#8f3f97", "#dd9ce3"),
    "series-5": ("#7d6608", "#e3c64f"),
}  # fmt: skip
LIGHT = {name: light for name, (light, _) in PALETTE.items()}

#: Keeps a number and its unit on one line.
NO_BREAK_SPACE = "\u00a0"


def format_count(number: int) -> str:
    """Return `1234` as `1,234`."""
    return f"{number:,}"


def format_share(fraction: float | None) -> str:
    """Return `0.123` as `12.3 %`, never rounded to 0 or 100 %; a dash for None."""
    if fraction is None:
        return "–"
    if 0 < fraction < 0.0005:
        return f"<{NO_BREAK_SPACE}0.1{NO_BREAK_SPACE}%"
    if 0.9995 <= fraction < 1:
        return f">{NO_BREAK_SPACE}99.9{NO_BREAK_SPACE}%"
    return f"{fraction * 100:.1f}{NO_BREAK_SPACE}%"


def format_size(number: int) -> str:
    """Return a number of bytes as `4.00 MiB`."""
    return format_bytes(number).replace(" ", NO_BREAK_SPACE)


def ratio(part: float, whole: float) -> float | None:
    """Return `part / whole`; None where `whole` is 0."""
    return part / whole if whole else None


def to_printable(text: object, max_length: int) -> str:
    r"""Return `text` on one line, cut to `max_length` characters, with the invisible written out.

    Control characters, marks that change the direction of writing and lone surrogates become
    escapes such as `\x00`.
    """
    full = str(text)
    printable = "".join(
        character
        if character.isprintable() or character == NO_BREAK_SPACE
        else character.encode("unicode_escape").decode("ascii")
        for character in full[:max_length]
    )
    is_whole = len(full) <= max_length and len(printable) <= max_length
    return printable if is_whole else f"{printable[: max_length - 1]}…"
