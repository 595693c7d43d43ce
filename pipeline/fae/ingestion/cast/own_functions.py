"""Call the functions of the user's own that a schema names: Polars expressions in and out."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl

from fae.format.errors import SchemaError
from fae.logs.schema import Schema

#: Rows at a block's beginning for which a function must give what it gives them in the block.
_PROBED_ROWS = 3


def load_function(name: str, column: str) -> Callable[[pl.Expr], pl.Expr]:
    """Return the user's function `module:name`; the module may be in the working directory.

    Raises SchemaError where there is none.
    """
    module_name, _, function_name = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # whatever the user's module raises
        raise SchemaError(
            f"column {column!r}: cannot load the function {name}: {error}. Name a module in the "
            "working directory or an installed one, and a function in it."
        ) from None
    if not callable(function):
        raise SchemaError(f"column {column!r}: {name} is not a function.")
    return function  # type: ignore[no-any-return]


def read_sources(schema: Schema) -> list[str]:
    """Return the text of the modules of a schema's functions, which decide what is staged."""
    modules = []
    for column in schema.fields:
        if column.function is not None:
            module = sys.modules[load_function(column.function, column.name).__module__]
            modules.append(Path(module.__file__).read_text("utf-8") if module.__file__ else "")
    return modules


def call_function(raw: pl.Series, name: str, column: str) -> pl.Series:
    """Return what the user's function makes of raw values.

    Raises SchemaError where it fails, and where it does not work row by row.
    """
    function = load_function(name, column)
    try:
        expression = function(pl.col(raw.name)).alias(raw.name)
        result = raw.to_frame().select(expression).to_series()
        probed = raw.head(_PROBED_ROWS).to_frame().select(expression).to_series()
    except Exception as error:  # whatever the user's function raises
        raise SchemaError(f"column {column!r}: the function {name} failed: {error}.") from None
    if len(result) != len(raw) or not probed.equals(result.head(_PROBED_ROWS)):
        raise SchemaError(
            f"column {column!r}: the function {name} does not work row by row. What it makes of a "
            "value may not depend on other rows."
        )
    return result
