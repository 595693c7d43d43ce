"""Time the encoder: one row at a time, and a million at once.

python benchmarks/encoder.py DIR LOG    (a data set, and a log of its schema, text without header)
"""

import statistics
import sys
import time

import polars as pl

import fae


def main(directory: str, log: str) -> None:
    """Print the median times."""
    began = time.perf_counter()
    encoder = fae.Encoder(directory)
    print(f"load: {time.perf_counter() - began:.2f} s")
    fields = [column.name for column in encoder.schema.fields]
    used = [column.name for column in encoder.schema.fields if column.role not in ("drop", "label")]
    frame = pl.read_csv(
        log,
        has_header=False,
        separator=encoder.schema.separator,
        quote_char=encoder.schema.quote,
        schema=dict.fromkeys(fields, pl.String()),
        n_rows=1_000_000,
    ).select(used)
    rows = frame[:1000].to_dicts()
    encoder.encode(rows[:1])  # compiles
    seconds = median_seconds(encoder, [[row] for row in rows])
    print(f"one row, median of 1,000: {1000 * seconds:.3f} ms")
    encoder.encode(frame)
    seconds = median_seconds(encoder, [frame] * 5)
    print(f"{frame.height:,} rows of text, median of 5: {frame.height / seconds:,.0f} rows/s")
    many = [frame[:100_000].to_dicts()] * 3
    print(f"100,000 mappings, median of 3: {100_000 / median_seconds(encoder, many):,.0f} rows/s")


def median_seconds(encoder: fae.Encoder, calls: list) -> float:
    """Return the median time of a call with each of these rows."""
    times = []
    for rows in calls:
        began = time.perf_counter()
        encoder.encode(rows)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


if __name__ == "__main__":
    main(*sys.argv[1:])
