"""Make a row of each of the samples that one field of a line holds."""

import re

import polars as pl

from fae.ingestion.cast.raw_columns import LINE_COLUMN
from fae.ingestion.rejects import Reject, preview_value
from fae.logs.schema import Explosion


def explode_samples(
    frame: pl.DataFrame, rejects: list[Reject], explosion: Explosion
) -> tuple[pl.DataFrame, list[Reject]]:
    """Return a row for each sample of a field, in their order, and rejects for malformed ones.

    `frame` has the log's fields as text, and `@line`; the parts of a sample become the fields
    `explosion.into`. A line without a sample is a reject.
    """
    field, into = pl.col(explosion.field), explosion.into
    if frame.schema[explosion.field] != pl.String():  # a list of Parquet or JSON
        samples = field.list.eval(pl.element().cast(pl.String()))
        samples = pl.when(samples.list.len() > 0).then(samples)  # null stays a row when exploded
    else:
        text = field.str.strip_chars(" \t")
        samples = pl.when(text != "").then(text.str.split(explosion.separator))
    rows = frame.with_columns(samples.alias(explosion.field)).explode(explosion.field)
    # The first part takes what it can, so that the last ones have no mark in them.
    pattern = f"(?s)^{re.escape(explosion.between).join('(.*)' for _ in into)}$"
    is_sample = rows.select(field.str.contains(pattern).fill_null(False)).to_series()
    form = explosion.between.join(name.upper() for name in into)
    found = []
    for row in rows.filter(~is_sample).iter_rows(named=True):
        value = row[explosion.field]
        reason = f"not a sample of the form {form}" if value else "no sample"
        found.append(Reject(row[LINE_COLUMN], explosion.field, reason, preview_value(value)))
    parts = (field.str.extract(pattern, group) for group in range(1, len(into) + 1))
    columns = [
        pl.when(part != "").then(part).alias(name) for name, part in zip(into, parts, strict=True)
    ]
    exploded = rows.filter(is_sample).with_columns(columns)
    return exploded.drop({explosion.field} - set(into)), rejects + found
