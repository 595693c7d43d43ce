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
SchemaNameOrNone = Annotated[
    str | None,
    typer.Option(
        "--schema",
        help="criteo-kaggle, criteo-terabyte, avazu, taobao, or the path of your own .yaml; with "
        "--append it need not be given.",
        show_default=False,
    ),
]
Append = Annotated[
    bool,
    typer.Option(
        "--append",
        help="Add LOGS to the data set OUT, as if all logs had been prepared at once; it takes the "
        "staged rows that --keep-work left. Schema and parameters that are not given here stay "
        "OUT's, but for --max-reject-share, which is of the new logs.",
    ),
]
Out = Annotated[
    str,
    typer.Option(
        "--out", help="The directory to make, or its URL such as s3://….", show_default=False
    ),
]
Dataset = Annotated[str, typer.Argument(metavar="DIR", help="A data set, by path or URL.")]
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
    str | None,
    typer.Option(
        "--hot-budget",
        help="GPU bytes for hot rows and their optimiser state: 512KiB, 256MiB, 2GiB.",
        show_default=False,
    ),
]
HotShare = Annotated[
    float | None,
    typer.Option(
        "--hot-share", help="In place of a budget: the share of train inputs to make hot, 0.8."
    ),
]
Dtype = Annotated[str, typer.Option(help="An embedding element: float32, float16, bfloat16.")]
Optimizer = Annotated[
    str,
    typer.Option(help="Whose state the budget counts: sgd, rowwise_adagrad, adagrad, adam."),
]
Rule = Annotated[
    str,
    typer.Option(
        help="How rows are ranked: inputs (most wholly hot inputs), accesses (the FAE paper's), "
        "threshold (its sampled search), per-table (a share of each)."
    ),
]
Goal = Annotated[
    str,
    typer.Option(
        "--objective",
        help="What the rule inputs maximises: inputs, accesses, or time (with a device profile).",
    ),
]
DeviceFile = Annotated[
    Path | None,
    typer.Option(
        "--device-profile", help="What fae bench-device wrote: for expected speed-ups and time."
    ),
]
ColdIds = Annotated[
    str,
    typer.Option(
        help="Ids of cold rows: exact (a row for each value), or hashed (a table's cold values "
        "share --cold-buckets rows; a table with fewer of them stays exact)."
    ),
]
ColdBuckets = Annotated[
    int, typer.Option(help="With --cold-ids hashed: the most cold rows of a table.")
]
Threads = Annotated[
    int | None, typer.Option(help="Threads of this process; all cores by default.", min=1)
]
Workers = Annotated[
    int | None, typer.Option(help="Run on a local Dask cluster of this many processes.", min=1)
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        help="Run on the Dask cluster at this address: tcp://host:8786. Without an option, the "
        "environment's DASK_SCHEDULER_ADDRESS counts."
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        help="Memory for this process and its local workers, such as 8GiB: fewer tasks run at a "
        "time where it is short, and no byte changes. Half of the machine's by default."
    ),
]
SchedulerFile = Annotated[
    Path | None,
    typer.Option(
        "--scheduler-file", help="Likewise, with the file that the Dask scheduler has written."
    ),
]
