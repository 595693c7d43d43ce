"""Read sizes in bytes as people write them: 512KiB, 256MiB, 2GiB."""

import re

SIZE_HELP = "a number with a unit: 512KiB, 256MiB, 2GiB, or 256MB for millions of bytes"
_FACTORS = {
    prefix + end: base**power
    for power, prefix in enumerate(("", "k", "m", "g", "t", "p", "e"))
    for end, base in (("b", 1000), ("ib", 1024), ("", 1000))
}


def parse_bytes(size: str | float) -> int:
    """Return the bytes that `size` means, in whole bytes rounded down.

    A number counts bytes; a text is a number with a unit, whose case does not matter. Raises
    ValueError for anything else, with the accepted notation in the message.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(size))
    if found is None or (factor := _FACTORS.get(found[2].lower())) is None:
        raise ValueError(f"is not a valid size. Write {SIZE_HELP}")
    number = found[1]
    return int(float(number) * factor) if "." in number else int(number) * factor
