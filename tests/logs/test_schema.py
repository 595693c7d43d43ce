"""Schemas: the presets have the published shapes, and every mistake is named with its remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from fae.format.errors import SchemaError
from fae.logs.schema import Schema
from fae.logs.schema_files import list_presets, load_schema, parse_schema
from tests.support.random_logs import schemas

SMALL = """\
name: small
columns:
  - {name: label, role: label}
  - {name: when, role: time}
  - {name: I1..I3, role: dense}
  - {name: C1, role: sparse, encoding: hex, digits: 8}
  - {name: seen, role: sparse, encoding: hex, digits: 8, table: C1, multi: {separator: " "}}
"""


def mistake(text: str) -> str:
    """The message that a schema of this text gives."""
    with pytest.raises(SchemaError) as caught:
        parse_schema(text, "mine.yaml")
    return str(caught.value)


def with_column(column: str) -> str:
    return f"{SMALL}  - {column}\n"


def test_the_presets_are_these() -> None:
    assert list_presets() == ["avazu", "criteo-kaggle", "criteo-terabyte", "taobao"]


@pytest.mark.parametrize(("name", "dim"), [("criteo-kaggle", 16), ("criteo-terabyte", 64)])
def test_criteo_has_13_counts_and_26_categories_of_8_digits(name: str, dim: int) -> None:
    schema = load_schema(name)
    names = [column.name for column in schema.fields]
    assert names == ["label", *(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27))]
    assert {(c.missing, c.transform) for c in schema.dense} == {(0.0, "log1p")}
    assert {(c.encoding, c.digits, schema.dim(c)) for c in schema.sparse} == {("hex", 8, dim)}
    assert (schema.separator, schema.header, schema.time) == ("\t", False, None)


def test_avazu_has_a_header_an_hour_and_21_tables() -> None:
    schema = load_schema("avazu")
    assert schema.header
    assert len(schema.fields) == 24
    assert len(schema.tables) == 21
    assert schema.time is not None
    assert (schema.time.name, schema.time.format) == ("hour", "%y%m%d%H")
    assert schema.label.name == "click"
    assert schema.dense == ()


def test_taobao_histories_share_the_tables_of_the_candidates() -> None:
    schema = load_schema("taobao")
    tables = {name: [column.name for column in columns] for name, columns in schema.tables.items()}
    assert tables == {
        "user": ["user"],
        "item": ["item", "item_history"],
        "category": ["category", "category_history"],
    }
    assert [column.multi is not None for column in schema.sparse] == [False] * 3 + [True] * 2


def test_a_range_of_names_is_a_column_each() -> None:
    schema = parse_schema(SMALL, "small")
    assert [column.name for column in schema.dense] == ["I1", "I2", "I3"]
    assert [column.name for column in schema.columns][:5] == ["label", "when", "I1", "I2", "I3"]


def test_a_users_own_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SMALL)
    assert load_schema(str(path)) == parse_schema(SMALL, "small")


@given(schema=schemas())
def test_a_schema_survives_its_document(schema: Schema) -> None:
    assert Schema.model_validate(schema.document()) == schema


def test_derived_columns_are_features_but_not_fields() -> None:
    text = with_column(
        "{name: hour, role: sparse, encoding: integer, source: when, derive: hour_of_day}"
    )
    schema = parse_schema(text, "mine.yaml")
    assert [column.name for column in schema.sparse] == ["C1", "seen", "hour"]
    assert "hour" not in [column.name for column in schema.fields]


@pytest.mark.parametrize(
    ("column", "named"),
    [
        ("{name: x, role: sparse, encodin: hex}", ["'x'", "`encodin`", "encoding, digits, multi"]),
        ("{name: x, role: dense, log: true}", ["'x'", "`log`", "missing, transform"]),
        ("{name: x, role: spars}", ["'x'", "label, dense, sparse, time, weight, key, split, drop"]),
        ("{name: x}", ["'x'", "label, dense, sparse, time, weight, key, split, drop"]),
        ("{role: drop}", ["`name`", "missing"]),
        (
            "{name: x, role: sparse, encoding: octal}",
            ["'hex', 'integer', 'unsigned'", "'octal'"],
        ),
        ("{name: x, role: dense, transform: log}", ["'none' or 'log1p'", "'log'"]),
        ("{name: x, role: dense, missing: .nan}", ["'x'", "`missing`", "finite"]),
        ("{name: x, role: sparse, dim: 0}", ["'x'", "`dim`", "greater than or equal to 1"]),
        ("{name: x, role: sparse, digits: 4}", ["'x'", "`digits` needs `encoding: hex`"]),
        ("{name: x, role: sparse, multi: {sep: ' '}}", ["`multi`", "`sep`", "max_length"]),
        ("{name: x, role: sparse, multi: {separator: ab}}", ["`separator`", "at most 1"]),
        ("{name: C1, role: dense}", ["two columns are called 'C1'"]),
        ("{name: w, role: label, threshold: 1, positive: [a]}", ["give one of", "`map`"]),
        ("{name: w, role: label, map: {a: 2}}", ["`map`", "found 2"]),
        ("{name: w, role: dense, clip: [2, 1]}", ["`clip` must be [lowest, highest]"]),
        ("{name: x, role: sparse, buckets: [1]}", ["`buckets` needs `encoding: integer`"]),
        (
            "{name: x, role: dense, standardize: 5}",
            ["write true, or its keys: {mean, std} (found 5"],
        ),
        ("{name: x, role: sparse, history: 5}", ["`history`", "{of, by, length} (found 5)"]),
        ("{name: x, role: sparse, history: {of: [C1], by: C1, length: 2}}", ["`of`", "string"]),
        (
            "{name: x, role: sparse, history: {of: I1, by: C1, length: 2}}",
            ["'x': `of` must name a sparse column without `multi` and `buckets`"],
        ),
        (
            "{name: x, role: sparse, history: {of: C1, by: I1, length: 2}}",
            ["'x': `by` must name a key or a sparse column that is no list"],
        ),
        (
            "{name: x, field: y, role: sparse, history: {of: C1, by: C1, length: 2}}",
            ["'x'", "a column made from others takes no values from the log"],
        ),
        (
            "{name: x, role: sparse, table: x, history: {of: C1, by: C1, length: 2}}",
            ["'x': its table must be that of 'C1'"],
        ),
        ("{name: k, role: key, function: x}", ["'k'", "`function`"]),
        ("{name: t2, role: time}", ["at most one column may have `role: time`"]),
        ("{name: a/b, role: sparse}", ["'a/b' cannot be a column's name; use letters"]),
        ("{name: '@split', role: dense}", ["'@split' cannot be a column's name; use letters"]),
        ("{name: x, role: sparse, table: ../x}", ["'../x' cannot be a table's name"]),
        (
            "{name: I9..I3, role: dense}",
            ["'I9..I3' is not a valid range", "the smaller number first"],
        ),
        ("{name: x, role: sparse, table: C1}", ["'C1' and 'x' share", "must be the same"]),
        (
            "{name: x, role: sparse, encoding: hex, digits: 8, table: C1, dim: 3}",
            ["'C1' and 'x' share a table but not `dim`"],
        ),
        ("{name: x, role: sparse, derive: hour_of_day}", ["`source`", "go together"]),
        (
            "{name: x, role: sparse, encoding: integer, source: I1, derive: hour_of_day}",
            ["'x': `source` must name the column of `role: time`"],
        ),
        (
            "{name: x, role: sparse, source: when, derive: month}",
            ["'hour_of_day' or 'day_of_week'", "'month'"],
        ),
    ],
)
def test_a_wrong_column_is_named_with_what_is_valid(column: str, named: list[str]) -> None:
    message = mistake(with_column(column))
    assert message.startswith("mine.yaml")
    for words in named:
        assert words in message


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (
            "{name: x, role: sparse, encoding: integer, source: when, derive: hour_of_day, "
            "multi: {separator: ' '}}",
            "a derived column is no list",
        ),
        ("{name: x, role: dense, missing: 1.0e+39}", "more than a float32 holds"),
        ("{name: split, role: sparse}", "the folders split= would hide it from readers"),
        ("{name: temperature, role: dense}", "the folders temperature= would hide it"),
    ],
)
def test_a_column_that_no_data_set_can_hold_is_refused(column: str, why: str) -> None:
    assert "mine.yaml" in mistake(with_column(column)), why


@pytest.mark.parametrize(
    ("line", "named"),
    [
        (
            "sep: ','",
            ["`sep`: unknown key", "name, format, separator, header"],
        ),
        ("format: xml", ["`format`", "'text', 'parquet' or 'json'", "'xml'"]),
        ("separator: ''", ["`separator`", "at least 1"]),
        ("separator: '||'\nquote: '|'", ["`quote` needs a `separator` of one character"]),
        ("quoted_line_breaks: true", ["`quoted_line_breaks` needs `quote`"]),
        ("charset: utf-16", ["`charset`", "'utf-8' or 'latin-1'", "'utf-16'"]),
        ("nulls: [.nan]", ["`nulls`", "put the log's text between quotes"]),
        ("slots: ':'", ["`slots`", "a column's `slot`", "go together"]),
        ("split_by: C9", ["`split_by` must be random, or name a key or a sparse column"]),
        ("header: perhaps", ["`header`", "'perhaps'"]),
        ('quote: "\\t"', ["`quote` and `separator` must differ"]),
        ("embedding: {dim: 0}", ["`embedding`", "`dim`", "greater than or equal to 1"]),
        ("explode: items", ["`explode`", "{field, separator, between, into}", "'items'"]),
        ("embedding: {dims: 8}", ["`dims`: unknown key", "dim"]),
    ],
)
def test_a_wrong_key_is_named_with_what_is_valid(line: str, named: list[str]) -> None:
    message = mistake(f"{line}\n{SMALL}")
    for words in named:
        assert words in message


@pytest.mark.parametrize("separator", ["→", "\\n", "\\r"])
def test_a_separator_is_one_byte_and_no_line_end(separator: str) -> None:
    assert "separator" in mistake(f'separator: "{separator}"\n{SMALL}')


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a: [", "is not valid YAML"),
        ("name: a\nname: b", "the key 'name' occurs twice; remove one"),
        ("[a]: 1", "unhashable key"),
        ("just words", "a schema must be a mapping with the keys name, format"),
        ("- {name: x}", "a schema must be a mapping"),
        ("", "a schema must be a mapping"),
        ("name: x", "`columns`: missing"),
        ("name: x\ncolumns: C1", "`columns`"),
        ("name: x\ncolumns: []", "a column must have `role: label`"),
        ("name: x\ncolumns: [C1]", "column 1"),
        ("name: x\ncolumns: [{name: y, role: label}]", "at least one column must have"),
    ],
)
def test_what_is_no_schema_is_refused(text: str, named: str) -> None:
    assert named in mistake(text)


@pytest.mark.parametrize("role", ["dense", "sparse"])
def test_only_the_label_may_be_called_label(role: str) -> None:
    text = f"name: x\ncolumns: [{{name: y, role: label}}, {{name: label, role: {role}}}]"
    if role == "dense":
        text = text.removesuffix("]") + ", {name: z, role: sparse}]"
    assert "only the label may be called 'label'" in mistake(text)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SchemaError) as caught:
        load_schema("criteo")
    for name in list_presets():
        assert name in str(caught.value)


@pytest.mark.parametrize("data", [None, b"name: \xff"])
def test_an_unreadable_file_is_named(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "mine.yaml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SchemaError, match=r"cannot read the schema .*mine\.yaml"):
        load_schema(str(path))


def test_several_mistakes_are_told_at_once() -> None:
    document: Any = with_column("{name: x, role: sparse, encoding: octal}")
    message = mistake(f"separator: ''\n{document}")
    assert "`separator`" in message
    assert "column 'x'" in message


def test_only_so_many_mistakes_and_columns_are_told() -> None:
    many = "".join(f"  - {{name: x{i}, role: sprse}}\n" for i in range(50))
    lines = mistake(SMALL + many).splitlines()
    assert len(lines) == 22
    assert lines[-1] == "  and 30 more mistakes."
    ranges = "".join(f"  - {{name: x{i}_1..x{i}_10000, role: drop}}\n" for i in range(11))
    assert "more than 100,000 columns" in mistake(SMALL + ranges)


def test_a_mistake_of_nested_lists_is_told_in_a_few_words() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )
    told = mistake(f"{bomb}{SMALL}embedding: *t\n")
    assert "`embedding`: write its keys" in told
    assert len(told) < 5000
