"""Make a row of each of the samples that one field of a line holds."""

import polars as pl

from fae.ingestion.cast.raw_columns import LINE_COLUMN
from fae.ingestion.rejects import Reject, preview
from fae.logs.schema import Explosion


def explode_samples(
    frame: pl.DataFrame, rejects: list[Reject], explosion: Explosion
) -> tuple[pl.DataFrame, list[Reject]]:
    """Return a row for each sample of a field, in their order, and rejects for malformed ones.

    `frame` has the log's fields as text, and `@line`; the parts of a sample become the fields
    `explosion.into`. A line without a sample is a reject.
    """
    field, into = pl.col(explosion.field), explosion.into
    text = field.str.strip_chars(" \t")
    if frame.schema[explosion.field] != pl.String():  # a list of Parquet or JSON
        texts = field.list.eval(pl.element().cast(pl.String()))
        samples = pl.when(texts.list.len() > 0).then(
            texts
        )  # null, unlike an empty list, stays a row
    else:
        samples = pl.when(text != "").then(text.str.split(explosion.separator))
    rows = frame.with_columns(samples).explode(explosion.field)
    parts = field.str.split(explosion.between)
    missing, short = field.is_null() | (field == ""), parts.list.len() < len(into)
    rows = rows.with_columns(missing.alias("@missing"), short.fill_null(False).alias("@short"))
    form = explosion.between.join(name.upper() for name in into)
    for row in rows.filter(pl.col("@missing") | pl.col("@short")).iter_rows(named=True):
        reason = "no sample" if row["@missing"] else f"not a sample of the form {form}"
        value = preview(str(row[explosion.field] or "").encode())
        rejects = [*rejects, Reject(row[LINE_COLUMN], explosion.field, reason, value)]
    rows = rows.filter(~pl.col("@missing") & ~pl.col("@short")).drop("@missing", "@short")
    # The last parts have no mark in them, so the first has what is left.
    last = len(into) - 1
    first = parts.list.head(parts.list.len() - last).list.join(explosion.between)
    others = [parts.list.get(at - last - 1, null_on_oob=True) for at in range(1, len(into))]
    named = zip(into, [first, *others], strict=True)
    columns = [pl.when(part != "").then(part).alias(name) for name, part in named]
    return rows.with_columns(columns).drop({explosion.field} - set(into)), rejects
