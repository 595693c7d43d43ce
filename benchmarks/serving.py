"""Time an exported model: one raw row at a time, and 10,000 at once.

python benchmarks/serving.py MODEL LOG  (`fae export --to onnx`, and a log of its schema, text
                                         without header)
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

import fae
from fae.api.exported import fill_inputs


def main(directory: str, log: str) -> None:
    """Print the median times, and those of the encoder alone."""
    began = time.perf_counter()
    model = fae.load_exported(directory)
    print(f"load: {time.perf_counter() - began:.2f} s")
    schema = model.encoder.schema
    used = [column.name for column in schema.fields if column.role not in ("drop", "label")]
    frame = pl.read_csv(
        log,
        has_header=False,
        separator=schema.separator,
        quote_char=schema.quote,
        schema=dict.fromkeys((column.name for column in schema.fields), pl.String()),
        n_rows=10_000,
    ).select(used)
    singles = [[row] for row in frame[:1000].to_dicts()]
    for what, calls in (("one row", singles), (f"{frame.height:,} rows", [frame] * 20)):
        model.predict(calls[0])  # compiles
        encoded = [model.encoder.encode(rows) for rows in calls]
        steps: dict[str, tuple[Callable[[Any], Any], Sequence[Any]]] = {
            "predict": (model.predict, calls),
            "encode": (model.encoder.encode, calls),
            "fill inputs": (lambda rows: fill_inputs(rows, model.serving.inputs), encoded),
        }
        for step, (call, arguments) in steps.items():
            times = sorted(measure(call, argument) for argument in arguments)
            median, late = statistics.median(times), times[int(0.99 * len(times))]
            print(f"{what}, {step}: median {1000 * median:.3f} ms, p99 {1000 * late:.3f} ms")


def measure(call: Callable[[Any], Any], argument: Any) -> float:
    """Return the seconds of a call."""
    began = time.perf_counter()
    call(argument)
    return time.perf_counter() - began


if __name__ == "__main__":
    main(*sys.argv[1:])
