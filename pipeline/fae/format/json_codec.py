"""Convert dataclasses to plain JSON data and back, with every type checked."""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from fae.format.errors import DatasetError

T = TypeVar("T")


_OPTIONAL = "optional"


def optional(default: T) -> T:
    """Return a dataclass's field that a document may lack, and lacks at its default."""
    return dataclasses.field(default=default, metadata={_OPTIONAL: True})


def encode(value: Any) -> Any:
    """Return `value` with dataclasses as dictionaries, in their fields' order, tuples as lists.

    Optional fields are left out at their defaults.
    """
    if dataclasses.is_dataclass(value):
        return {
            f.name: encode(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if not (_OPTIONAL in f.metadata and getattr(value, f.name) == f.default)
        }
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    return value


def decode(kind: type[T], value: Any, where: str) -> T:
    """Return `value`, as JSON has it, as an instance of `kind`.

    Takes dataclasses with their fields and no others, tuples of any length (`tuple[T, ...]`),
    mappings, text, booleans, integers from 0 to below 2**63, finite numbers and `T | None`. Raises
    DatasetError, which names the entry that does not fit; `where` is the file.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return typing.cast(T, value)
    if dataclasses.is_dataclass(kind):
        hints = _find_types(kind)
        optional_keys = {f.name for f in dataclasses.fields(kind) if _OPTIONAL in f.metadata}
        needed = set(hints) - optional_keys
        if not isinstance(value, dict) or set(value) - optional_keys != needed:
            keys = sorted(value) if isinstance(value, dict) else type(value).__name__
            raise DatasetError(f"{where}: expected the keys {sorted(needed)}, found {keys}.")
        fields = {key: decode(hints[key], found, f"{where}: {key}") for key, found in value.items()}
        return typing.cast(T, kind(**fields))
    if origin is tuple and isinstance(value, list):
        items = (decode(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
        return typing.cast(T, tuple(items))
    if origin in (Mapping, typing.get_origin(Mapping[str, Any])) and isinstance(value, dict):
        entries = {k: decode(arguments[1], v, f"{where}: {k}") for k, v in value.items()}
        return typing.cast(T, entries)
    if origin is types.UnionType:
        rest = next(argument for argument in arguments if argument is not types.NoneType)
        return typing.cast(T, None if value is None else decode(rest, value, where))
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return typing.cast(T, float(value))
    out_of_range = isinstance(value, int) and not 0 <= value < 2**63
    if type(value) is kind is not float and not out_of_range and not _has_lone_surrogate(value):
        return value
    name = getattr(kind, "__name__", str(kind))
    raise DatasetError(f"{where}: expected {name}, found {value!r:.60}.")


#: The type of each field of a dataclass; finding them takes longer than to read a value.
_find_types = functools.cache(typing.get_type_hints)


def _has_lone_surrogate(value: Any) -> bool:
    """Return whether this is text that JSON can hold and UTF-8 cannot."""
    return isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value)
