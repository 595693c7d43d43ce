"""Polars by hand: hex to u32 Parquet, counts by group, ids by streaming joins.

python polars_expressions.py LOG OUT
"""

import sys
from pathlib import Path

import polars as pl
from columns import ALL, DENSE, SPARSE

log, out = sys.argv[1], Path(sys.argv[2])
out.mkdir()
types = {name: pl.String if name in SPARSE else pl.Int32 for name in ALL}
pl.scan_csv(log, separator="\t", has_header=False, quote_char=None, schema=types).with_columns(
    pl.col(SPARSE).str.to_integer(base=16, dtype=pl.UInt32),
    pl.col(DENSE).fill_null(0).clip(0).log1p().cast(pl.Float32),
    pl.col("label").cast(pl.Int8),
).sink_parquet(out / "typed.parquet")

typed = pl.scan_parquet(out / "typed.parquet")
counted = pl.collect_all([typed.group_by(name).len() for name in SPARSE], engine="streaming")
encoded = typed
for name, counts in zip(SPARSE, counted, strict=True):
    ids = counts.sort("len", name, descending=[True, False]).with_columns(
        pl.int_range(1, pl.len() + 1, dtype=pl.Int32).alias("id")
    )
    ids.write_parquet(out / f"vocabulary-{name}.parquet")
    encoded = encoded.join(
        ids.lazy().select(name, pl.col("id").alias(f"{name}_id")),
        on=name,
        how="left",
        nulls_equal=True,
    )
encoded.select(
    "label", *DENSE, *(pl.col(f"{name}_id").alias(name) for name in SPARSE)
).sink_parquet(out / "rows.parquet")
(out / "typed.parquet").unlink()
