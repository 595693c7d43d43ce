"""The options that several commands share, with their help, stated once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Logs = Annotated[
    list[str],
    typer.Argument(
        metavar="LOGS...",
        help="Logs: paths, quoted globs or URLs; TSV, CSV or Parquet; plain, .gz or .zst.",
        show_default=False,
    ),
]
SchemaName = Annotated[
    str,
    typer.Option(
        "--schema",
        help="criteo-kaggle, criteo-terabyte, avazu, taobao, or the path of your own .yaml.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", help="The directory to make.", show_default=False)]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what other inputs or parameters made.")
]
ValidLogs = Annotated[
    list[str] | None, typer.Option("--valid-logs", help="Logs that are the valid split, whole.")
]
TestLogs = Annotated[
    list[str] | None, typer.Option("--test-logs", help="Logs that are the test split, whole.")
]
MaxRejectShare = Annotated[
    float, typer.Option(help="The share of malformed lines above which the run stops.")
]
Valid = Annotated[
    str, typer.Option(help="Held out for validation: a share of the rows (0.1) or days (1d).")
]
Test = Annotated[
    str, typer.Option(help="Held out for the test, after the validation rows: likewise.")
]
MinCount = Annotated[
    list[str] | None,
    typer.Option(
        help="Fold ids with fewer train accesses into out-of-vocabulary: N, or TABLE=N; repeatable."
    ),
]
Sample = Annotated[
    float, typer.Option(help="Calibrate on this share of the train rows; FAE used 0.05.")
]
Seed = Annotated[int, typer.Option(help="The seed of the shuffle and of the sample.")]
HotBudget = Annotated[
    str,
    typer.Option(
        "--hot-budget",
        help="GPU bytes for hot rows and their optimiser state: 512KiB, 256MiB, 2GiB.",
        show_default=False,
    ),
]
Dtype = Annotated[str, typer.Option(help="An embedding element: float32, float16, bfloat16.")]
Optimizer = Annotated[
    str,
    typer.Option(help="Whose state the budget counts: sgd, rowwise_adagrad, adagrad, adam."),
]
Rule = Annotated[str, typer.Option(help="How rows are ranked: accesses (the FAE paper's).")]
Threads = Annotated[int | None, typer.Option(help="Threads of this process; all cores by default.")]
Workers = Annotated[
    int | None, typer.Option(help="Run on a local Dask cluster of this many processes.")
]
Scheduler = Annotated[
    str | None, typer.Option(help="Run on the Dask cluster at this address: tcp://host:8786.")
]
