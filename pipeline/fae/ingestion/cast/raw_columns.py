"""Make a log's fields the raw columns of its schema: named, nulls told, the schema's rules applied.

Casting then reads them as it reads a log that was written that way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from fae.ingestion.cast.missing_values import is_present
from fae.ingestion.cast.own_functions import call_function
from fae.ingestion.rejects import Reject, preview_value
from fae.logs.columns import Column, LabelColumn, SplitColumn
from fae.logs.forms import ListText
from fae.logs.schema import Schema

#: In raw frames, the number of each row's line, from 0.
LINE_COLUMN = "@line"
#: The text of an element between quotes.
_QUOTED = r"""^("[^"]*"|'[^']*')$"""


@dataclass(frozen=True)
class _Rule:
    """What a rule of the schema makes of raw values, and where and why it cannot."""

    values: pl.Expr
    fault: pl.Expr
    reason: str


def name_columns(
    frame: pl.DataFrame, rejects: list[Reject], schema: Schema, typed: frozenset[str] = frozenset()
) -> tuple[pl.DataFrame, pl.DataFrame, list[Reject], frozenset[str]]:
    """Return a frame of the log's fields as one of the schema's raw columns.

    `frame` has `@line` and the fields by the log's names; those named in `typed` have their final
    type. Rows to which a rule does not apply join the `rejects`. Return the raw columns, the rows
    of `frame` that they are from, the rejects, and the names of the typed columns. Raises
    SchemaError where a function of the user's fails.
    """
    if schema.is_plain:
        return frame, frame, rejects, typed
    columns = [frame[LINE_COLUMN]]
    faults: list[tuple[Column, pl.Series, str]] = []
    columns_by_name = frame.to_dict()
    for column in schema.fields:
        if column.role == "drop":
            continue
        if column.log_name not in columns_by_name:  # a label that the log may lack
            absent = pl.Series(column.name, [None], pl.String())
            columns.append(absent.new_from_index(0, frame.height))
            continue
        raw = columns_by_name[column.log_name].alias(column.name)
        if column.log_name not in typed:
            nulls = column.nulls if column.nulls is not None else schema.nulls
            raw = _drop_nulls(raw, nulls)
            if column.function is not None:
                raw = call_function(raw, column.function, column.name)
            rule = _choose_rule(column, raw.dtype, bool(nulls))
            if rule is not None:
                fault = raw.to_frame().select(rule.fault.fill_null(False)).to_series()
                if fault.any():
                    faults.append((column, fault, rule.reason))
                raw = raw.to_frame().select(rule.values.alias(raw.name)).to_series()
            raw = _drop_null_elements(raw, nulls)
        columns.append(raw)
    final = frozenset(column.name for column in schema.fields if column.log_name in typed)
    named = pl.DataFrame(columns)
    if faults:
        is_faulty, found = _reject(frame, faults)
        named, frame, rejects = named.filter(~is_faulty), frame.filter(~is_faulty), rejects + found
    return named, frame, rejects, final


def _reject(
    frame: pl.DataFrame, faults: Sequence[tuple[Column, pl.Series, str]]
) -> tuple[pl.Series, list[Reject]]:
    """Return which rows have a fault, and a reject for each about its first."""
    masks = pl.DataFrame([mask.alias(str(number)) for number, (_, mask, _) in enumerate(faults)])
    is_faulty = masks.select(pl.any_horizontal(pl.all())).to_series()
    found = []
    for row in is_faulty.arg_true():
        column, _, reason = next(fault for fault in faults if fault[1][row])
        text = preview_value(frame[column.log_name][row])
        found.append(Reject(frame[LINE_COLUMN][row], column.name, reason, text))
    return is_faulty, found


def _drop_nulls(raw: pl.Series, nulls: tuple[str, ...]) -> pl.Series:
    """Return raw values with those in `nulls` null."""
    if not nulls or raw.dtype.is_nested():
        return raw
    value = pl.col(raw.name)
    is_null = _is_one_of(value, raw.dtype, nulls)
    return raw.to_frame().select(pl.when(~is_null).then(value).alias(raw.name)).to_series()


def _drop_null_elements(raw: pl.Series, nulls: tuple[str, ...]) -> pl.Series:
    """Return raw lists without their elements in `nulls`, which fill up lists to a length."""
    if not nulls or not isinstance(raw.dtype, pl.List):
        return raw
    element, inner = pl.element(), raw.dtype.inner
    assert isinstance(inner, pl.DataType)
    kept = pl.col(raw.name).list.eval(element.filter(~_is_one_of(element, inner, nulls)))
    return raw.to_frame().select(kept).to_series()


def _is_one_of(raw: pl.Expr, dtype: pl.DataType, values: tuple[str, ...]) -> pl.Expr:
    """Return whether a raw value is one of `values`, which are as text has them; null is none."""
    if not dtype.is_float():
        return raw.cast(pl.String()).is_in(values).fill_null(False)
    numbers = []
    for value in values:
        try:
            numbers.append(float(value))
        except ValueError:
            continue
    return raw.is_in(pl.Series(numbers, dtype=dtype).implode()).fill_null(False)


def _choose_rule(column: Column, dtype: pl.DataType, has_nulls: bool) -> _Rule | None:
    """Return the rule of a column for raw values of `dtype`, where it has one."""
    if isinstance(column, LabelColumn):
        return _label_rule(column, dtype)
    if isinstance(column, SplitColumn) and column.map is not None:
        return _map_rule(pl.col(column.name), dtype, column.map, "not in `map`")
    shape = column.list_text
    if shape is None or dtype != pl.String():
        return None
    if shape.brackets:
        return _bracket_rule(pl.col(column.name), shape)
    if not has_nulls and column.role == "sparse":
        return None
    text = pl.col(column.name).str.strip_suffix(shape.separator)
    lists = pl.when(text != "").then(text.str.split(shape.separator))
    return _Rule(lists, pl.lit(False), "")


def _label_rule(column: LabelColumn, dtype: pl.DataType) -> _Rule | None:
    """Return the rule that makes a label of a value; a missing one stays missing."""
    raw = pl.col(column.name)
    present = is_present(raw, dtype)
    if column.threshold is not None:
        number = raw.str.strip_chars(" \t") if dtype == pl.String() else raw
        number = number.cast(pl.Float64(), strict=False)
        fault = present & ~number.is_finite().fill_null(False)
        return _Rule((number >= column.threshold).cast(pl.Int8()), fault, "not a finite number")
    if column.positive is not None:
        is_positive = _is_one_of(raw, dtype, column.positive)
        return _Rule(pl.when(present).then(is_positive.cast(pl.Int8())), pl.lit(False), "")
    if column.map is None:
        return None
    return _map_rule(raw, dtype, column.map, "no label is given for this value in `map`")


def _map_rule(
    raw: pl.Expr, dtype: pl.DataType, mapping: Mapping[str, str | int], reason: str
) -> _Rule:
    """Return the rule that replaces each value by another; a missing one stays missing."""
    groups = {target: [v for v, t in mapping.items() if t == target] for target in mapping.values()}
    values, known = pl.lit(None), pl.lit(False)
    for target, group in groups.items():
        is_in_group = _is_one_of(raw, dtype, tuple(group))
        values = pl.when(is_in_group).then(pl.lit(target)).otherwise(values)
        known = known | is_in_group
    return _Rule(values, is_present(raw, dtype) & ~known, reason)


def _bracket_rule(raw: pl.Expr, shape: ListText) -> _Rule:
    """Return the rule that splits lists such as `[1, 2]` or `['a', "b"]`; quotes are taken off."""
    text, element = raw.str.strip_chars(" \t"), pl.element()
    present = text.is_not_null() & (text != "")
    is_list = text.str.starts_with("[") & text.str.ends_with("]") & (text.str.len_chars() >= 2)
    inside = text.str.slice(1, text.str.len_chars() - 2).str.strip_chars(" \t")
    empty = pl.lit([], pl.List(pl.String()))
    split = pl.when(inside == "").then(empty).otherwise(inside.str.split(shape.separator))
    parts = split.list.eval(element.str.strip_chars(" \t"))
    quoted = element.str.contains(_QUOTED)
    # A separator between quotes has cut an element, of which a part has a single quote at an end.
    cut = parts.list.eval(~quoted & element.str.contains(r"""^["']|["']$""")).list.any()
    bare = element.str.slice(1, element.str.len_chars() - 2)
    lists = parts.list.eval(pl.when(quoted).then(bare).otherwise(element))
    return _Rule(
        pl.when(present & is_list).then(lists),
        present & (~is_list | cut),
        f"not a list such as [1{shape.separator} 2]",
    )
