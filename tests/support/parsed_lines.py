"""Lines of text, parsed for tests to look at."""

from __future__ import annotations

from typing import Any

from fae.ingestion.casting import ParsedLines
from fae.ingestion.parser import parse_text
from fae.logs.schema import Schema
from tests.support.small_logs import LABEL, schema_of

CITY = {"name": "city", "role": "sparse"}


def parsed(data: bytes | str, schema: Schema) -> ParsedLines:
    data = data.encode() if isinstance(data, str) else data
    return parse_text(data, tuple(column.name for column in schema.fields), schema)


def value(text: str, column: dict[str, Any]) -> Any:
    """The staged value of one field, or the reason why there is none."""
    schema = schema_of([LABEL, {"name": "x", **column}, CITY], separator="|")
    found = parsed(f"1|{text}|a\n0|{text}|a\n", schema)
    if found.rejects:
        assert found.rows.is_empty()
        assert [reject.line for reject in found.rejects] == [0, 1]
        return found.rejects[0].reason
    one, two = found.rows["x"].to_list()
    assert one == two
    return one


def reasons(found: ParsedLines) -> list[tuple[int, str | None, str, str]]:
    return [(one.line, one.column, one.reason, one.text) for one in found.rejects]
