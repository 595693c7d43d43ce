"""Read the logs whose rows are to be scored: like those of a data set, with or without labels."""

from __future__ import annotations

from collections.abc import Iterator

from fae.dataset.encoder import Encoder
from fae.format.errors import LogError
from fae.ingestion.cast.rows import ParsedLines
from fae.ingestion.stage import parse_block, parse_head
from fae.logs.blocks import BLOCK_BYTES, cut_blocks
from fae.logs.columns import Column, DroppedColumn
from fae.logs.files import Log, find_logs
from fae.logs.schema import Schema

#: What of a log is read to see whether its lines have labels.
_HEAD_BYTES = 1 << 20
#: The roles of columns that a model is asked with, and of keys.
_ASKED = {"dense", "sparse", "key"}
#: Whether logs have labels: as their lines say, or as the user does.
AUTO, PRESENT, ABSENT = LABELS = ("auto", "present", "absent")


def find_served_logs(
    patterns: list[str], encoder: Encoder, labels: str = AUTO
) -> list[tuple[Log, Schema]]:
    """Return the logs, and the schema to read each by: without labels and what else is not used.

    Fields without names and samples of one field may have all parts of the schema, or all but the
    labels. Raises LogError where `labels` is AUTO and a log's lines do not tell.
    """
    schema = encoder.schema
    lists = ", ".join(column.name for column in encoder.histories)
    used = _ASKED | ({"time"} if encoder.needs_time else set())
    named = _keep_columns(schema, used, labelled=False, has_names=True)
    served = []
    try:
        logs = find_logs(patterns, named)
    except LogError as error:
        hint = f" New rows bring their histories with them, as lists: {lists}." if lists else ""
        raise LogError(f"{error}{hint}") from None
    for log in logs:
        has_names = schema.header or schema.format != "text" or log.parquet
        if has_names and schema.explode is None:
            served.append((log, named))
            continue
        shapes = [_keep_columns(schema, used, labelled, has_names) for labelled in (True, False)]
        if labels != AUTO:
            shape = shapes[labels == ABSENT]
            served.append((find_logs([log.url], shape)[0], _drop_labels(shape)))
            continue
        if schema.slots is not None:  # a label could be any pair
            shapes.reverse()
        first, second = ((find_logs([log.url], shape)[0], shape) for shape in shapes)
        found, shape = _choose(first, second)
        served.append((found, _drop_labels(shape)))
    return served


def _choose(first: tuple[Log, Schema], second: tuple[Log, Schema]) -> tuple[Log, Schema]:
    """Return the first way to read a log, unless the second gives its beginning many more rows.

    A sample with a label could be one without, so a few more rows mean malformed samples. Raises
    LogError where lines may have further fields, so that most could be either.
    """
    rows = _count_head_rows(*first), _count_head_rows(*second)
    log, schema = first
    if _could_be_both(schema, second[1]) and 0 < rows[0] <= 2 * rows[1] <= 4 * rows[0]:
        raise LogError(
            f"{log.name}: with `ignore_rest`, its lines could have labels or not. Say which: "
            f"--labels {PRESENT} or --labels {ABSENT}."
        )
    return first if 2 * rows[0] >= rows[1] else second


def _could_be_both(labelled: Schema, unlabelled: Schema) -> bool:
    """Return whether lines may fit both schemas, which then read features from other fields."""
    if not labelled.ignore_rest or labelled.slots or labelled.explode:
        return False
    first, second = (
        [(place, column) for place, column in enumerate(shape.columns) if column.role in _ASKED]
        for shape in (labelled, unlabelled)
    )
    return first != second


def _keep_columns(schema: Schema, used: set[str], labelled: bool, has_names: bool) -> Schema:
    """Return the schema of rows with or without labels, of which only `used` roles are read.

    Where fields have names, those of other roles may be absent.
    """
    explode = schema.explode
    parts = explode.into if explode is not None else ()
    labels = {label.log_name for label in schema.labels if not has_names or label.log_name in parts}
    columns = []
    for column in schema.columns:
        if column.role in used or (labelled and column.role == "label"):
            if column.role != "label" or column.log_name in labels:
                columns.append(column)
        elif not has_names and column.role != "label":
            columns.append(_drop(column))
    if explode is not None and not labelled:
        into = tuple(part for part in parts if part not in labels)
        explode = explode.model_copy(update={"into": into}) if into else None
    return schema.replace(
        columns=tuple(columns),
        explode=explode,
        split_by=None,
        ignore_rest=has_names or schema.ignore_rest,
    )


def _drop(column: Column) -> DroppedColumn:
    """Return a column that stands in the field of another, and is not read."""
    return DroppedColumn(role="drop", name=column.name, field=column.field, slot=column.slot)


def _drop_labels(schema: Schema) -> Schema:
    columns = (_drop(column) if column.role == "label" else column for column in schema.columns)
    return schema.replace(columns=tuple(columns))


def _count_head_rows(log: Log, schema: Schema) -> int:
    """Return how many rows a log's beginning has by a schema."""
    head = parse_head(log, schema, _HEAD_BYTES)
    return 0 if head is None else head.rows.height


def parse_served_logs(logs: list[tuple[Log, Schema]]) -> Iterator[ParsedLines]:
    """Yield the rows of all logs in order; raises LogError where a line is malformed."""
    for log, schema in logs:
        line = log.first_line
        for block in cut_blocks(log, BLOCK_BYTES):
            for parsed in parse_block(block, schema, BLOCK_BYTES):
                for reject in parsed.rejects[:1]:
                    raise LogError(
                        f"{log.name}, line {line + reject.line}"
                        f"{f', column {reject.column}' if reject.column else ''}: "
                        f"{reject.reason}: {reject.text!r}. Fix the line; every row needs a score."
                    )
                line += parsed.lines
                yield parsed
