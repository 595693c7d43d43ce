"""Parse lines of text, for tests to look at."""

from __future__ import annotations

from typing import Any

from fae.ingestion.cast.rows import ParsedLines
from fae.ingestion.parser import parse_text
from fae.logs.schema import Schema
from tests.support.small_logs import LABEL, schema_of

CITY = {"name": "city", "role": "sparse"}


def parse_lines(data: bytes | str, schema: Schema) -> ParsedLines:
    data = data.encode() if isinstance(data, str) else data
    return parse_text(data, tuple(column.name for column in schema.fields), schema)


def parse_value(text: str, column: dict[str, Any]) -> Any:
    """Return the staged value of one field, or the reason of its reject."""
    schema = schema_of([LABEL, {"name": "x", **column}, CITY], separator="|")
    parsed = parse_lines(f"1|{text}|a\n0|{text}|a\n", schema)
    if parsed.rejects:
        assert parsed.rows.is_empty()
        assert [reject.line for reject in parsed.rejects] == [0, 1]
        return parsed.rejects[0].reason
    one, two = parsed.rows["x"].to_list()
    assert one == two
    return one


def list_rejects(parsed: ParsedLines) -> list[tuple[int, str | None, str, str]]:
    return [(reject.line, reject.column, reject.reason, reject.text) for reject in parsed.rejects]
