"""Print what stages and data sets hold: tables for people, on standard output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

from dask.utils import format_bytes
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fae.appending.drift import Drift
from fae.commit import outputs
from fae.execution.progress import VisibleConsole
from fae.execution.progress import console as messages
from fae.format.errors import DatasetError
from fae.format.manifest import SPLITS, Manifest
from fae.hotset.cold_hash import Sharing
from fae.hotset.hot_set import HotSet, HotShares, SampleCheck
from fae.ingestion.staging import Staging
from fae.profiling.frequencies import Frequencies
from fae.storage.folder import Folder

Arguments = ParamSpec("Arguments")
#: How many tables are named as having changed most.
_CHANGED_TABLES = 5
#: Headings of the three shares of hot samples.
_SHARES = ("train", "held out", "known")

output = VisibleConsole(soft_wrap=True)


def _raising_on_damage(show: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Return `show` with a DatasetError where the document that it prints lacks something.

    The error names the last argument.
    """

    @wraps(show)
    def print_or_raise(*arguments: Arguments.args, **options: Arguments.kwargs) -> None:
        with outputs.damage_reported(str(arguments[-1])):
            show(*arguments, **options)

    return print_or_raise


@_raising_on_damage
def print_staging(staging: Staging) -> None:
    """Print rows and rejects of each log."""
    table = _table("log", "lines", "rows", "rejects")
    for log in staging.logs:
        table.add_row(log.name, f"{log.lines:,}", f"{log.rows:,}", f"{log.rejects:,}")
    output.print(table)
    _print_rejects(staging.reasons, staging.directory)
    output.print(f"staging in {staging.directory}")


@_raising_on_damage
def print_frequencies(frequencies: Frequencies) -> None:
    """Print rows, folded ids and out-of-vocabulary shares of each table's columns."""
    output.print("rows: " + ", ".join(f"{s} {n:,}" for s, n in frequencies.split_rows.items()))
    table = _table("column", "table rows", "folded ids", "OOV train", "OOV valid", "OOV test")
    for counted in frequencies.tables:
        for column, splits in counted.columns.items():
            shares = [
                _oov(splits[split].accesses, splits[split].out_of_vocabulary) for split in SPLITS
            ]
            table.add_row(column, f"{counted.rows:,}", f"{counted.folded_ids:,}", *shares)
    output.print(table)
    output.print(f"frequencies in {frequencies.directory}")


@_raising_on_damage
def print_hot_set(hot_set: HotSet) -> None:
    """Print the curve around the chosen budget, its knee, and the proven bound."""
    points = hot_set.read_curve()
    budget, knee = hot_set.budget.bytes, hot_set.knee_bytes
    columns = [(name, title) for name, title in _CURVE.items() if name in points.columns]
    table = _table("budget", "hot rows", *(title for _, title in columns), "")
    last = points.height - 1
    for index, point in enumerate(points.iter_rows(named=True)):
        size = point["budget_bytes"]
        if size not in (budget, knee) and (last - index) % 6:
            continue
        values = [_CURVE_FORMAT[name].format(point[name]) for name, _ in columns]
        mark = " ".join(["chosen"] * (size == budget) + ["knee"] * (size == knee))
        style = "bold green" if size == budget else None
        table.add_row(format_bytes(size), f"{point['hot_rows']:,}", *values, mark, style=style)
    output.print(table)
    hot = hot_set.hot_share("train") or 0.0
    if hot_set.bound:
        output.print(
            f"{hot:.2%} of training samples are hot; best possible at this budget: "
            f"{hot_set.bound:.2%} of the counted training samples"
        )
    for name, value in hot_set.notes.items():
        output.print(f"{name.replace('_', ' ')}: {value:,}")
    _print_shares(hot_set.shares, hot_set.objective)
    if hot_set.sample is not None:
        _print_sample(hot_set.sample, hot_set.objective)
    _print_sharing(hot_set.parameters, hot_set.sharing, len(hot_set.tables))
    output.print(
        f"knee at {format_bytes(knee)}: beyond it, bytes gain less than on average; to ask for a "
        "share instead of a budget, use --hot-share 0.8"
    )
    output.print(f"hot set in {hot_set.directory}")


def _print_shares(shares: Sequence[HotShares], objective: str) -> None:
    """Print what the hot set is worth on train and held-out samples, by rule, and what that says.

    The first of `shares` are those of the data set's own rule.
    """
    if not shares:
        return
    table = _table("hot share by rule", *_SHARES)
    for row, of_rule in enumerate(shares):
        rule = of_rule.rule
        if rule == "inputs" and objective != "inputs":
            rule = f"{rule} ({objective})"
        values = (of_rule.train, of_rule.held_out, of_rule.known)
        style = "bold green" if row == 0 else None
        table.add_row(rule, *map(_share, values), style=style)
    output.print(table)
    if shares[0].held_out is None:
        output.print(
            "no samples are held out, so nothing says what the hot set is worth on new ones"
        )
        return
    output.print(
        "train is what speeds up training; held out is what new rows gain, where a value without a "
        "row of its own is hot; known: held-out samples whose values all have one"
    )
    for other in shares[1:]:
        if shares[0].is_reversed(other):
            output.print(
                f"{shares[0].rule} is better than {other.rule} on training samples, but "
                "worse on held-out ones: it keeps rows that training accesses once, and few of "
                "these come back. If new rows matter more than training time, use --objective "
                "future, or --min-count 2 to give values seen once no row",
                style="yellow",
            )


def _print_sample(check: SampleCheck, objective: str) -> None:
    """Print the hot share of the sample, and that of the other training samples."""
    output.print(
        f"calibrated on a sample: {check.sampled:.2%} of it is hot, and {check.others:.2%} of the "
        f"other training samples (95 % interval {check.low:.2%} to {check.high:.2%})"
    )
    if check.too_small:
        remedy = "raise --sample"
        if objective != "future":
            remedy += ", or use --rule inputs --objective future"
        output.print(f"the sample is too small to be representative: {remedy}", style="yellow")


def _print_sharing(parameters: Mapping[str, Any], shared: Sequence[Sharing], tables: int) -> None:
    """Print which tables have hashed cold ids, and how many values and accesses share rows."""
    if parameters.get("cold_ids") != "hashed":
        return
    if shared:
        table = _table("hashed cold ids", "cold values", "rows", "sharing values", "their accesses")
        for sharing in shared:
            share = f"{sharing.shared / sharing.values:.1%}"
            cells = (f"{sharing.values:,}", f"{sharing.rows:,}", share)
            table.add_row(sharing.table, *cells, f"{sharing.access_share:.1%}")
        output.print(table)
    output.print(
        f"{tables - len(shared)} of {tables} tables have at most {parameters['cold_buckets']:,} "
        "cold values and keep exact ids"
    )


#: Columns of the curve → their headings, and how their values are written.
_CURVE = {
    "access_share": "accesses hot",
    "train_hot_share": "train hot",
    "held_out_hot_share": "held out",
    "known_hot_share": "known",
    "bound": "at most",
    "speedup": "speed-up",
}
_CURVE_FORMAT = {
    "access_share": "{:.1%}",
    "train_hot_share": "{:.1%}",
    "held_out_hot_share": "{:.1%}",
    "known_hot_share": "{:.1%}",
    "bound": "{:.1%}",
    "speedup": "{:.2f}x",
}


@_raising_on_damage
def print_dataset(manifest: Manifest, directory: Folder) -> None:
    """Print rows and hot share by split, budget, rejects and where the files are."""
    preparation = manifest.preparation
    table = _table("split", "rows", "hot", "cold", "hot share", "of known", "OOV accesses")
    for split in SPLITS:
        leaves = manifest.splits[split]
        hot, cold = leaves["hot"].rows, leaves["cold"].rows
        share = _share(hot / (hot + cold) if hot + cold else None)
        known = _share(preparation.get("known_hot_share", {}).get(split))
        row = (f"{hot + cold:,}", f"{hot:,}", f"{cold:,}", share, known)
        table.add_row(split, *row, _oov_of_split(manifest, split))
    output.print(table)
    hot_rows = sum(table.hot_rows for table in manifest.tables)
    rows = sum(table.rows for table in manifest.tables)
    budget = manifest.budget
    output.print(
        f"{len(manifest.tables)} tables, {rows:,} rows; {hot_rows:,} hot ({hot_rows / rows:.1%}) "
        f"serve {manifest.preparation['access_share']:.1%} of the training accesses"
    )
    output.print(
        f"budget: {format_bytes(budget.used_bytes)} of {format_bytes(budget.bytes)} used "
        f"({budget.used_bytes / budget.bytes:.1%}); rule {budget.rule!r}; "
        f"{manifest.embedding.dtype} rows with {manifest.embedding.optimizer} state"
    )
    if manifest.preparation.get("bound"):
        output.print(
            f"best possible at this budget: {manifest.preparation['bound']:.2%} of the counted "
            "training samples hot"
        )
    shares = [HotShares(**fields) for fields in preparation.get("shares", ())]
    _print_shares(shares, preparation.get("objective", "inputs"))
    if preparation.get("sample_check"):
        check = SampleCheck(**preparation["sample_check"])
        _print_sample(check, preparation.get("objective", "inputs"))
    _print_sharing(
        preparation.get("parameters", {}).get("calibrate", {}),
        [Sharing(**fields) for fields in preparation.get("sharing", ())],
        len(manifest.tables),
    )
    drift = Drift.read(directory, manifest)
    if drift is not None:
        _print_drift(drift)
    _print_rejects(manifest.preparation["rejects"], directory)
    output.print(f"data set in {directory}")


def _print_drift(drift: Drift) -> None:
    """Print what the former hot set is worth on the rows that were added, and what changed."""
    table = _table("hot share of", "samples", "former hot set", "accesses", "former hot set")
    for name, coverage in (
        ("new logs", drift.new_rows),
        ("their train rows", drift.new_train_rows),
        ("their held-out rows", drift.new_held_out_rows),
        ("all logs", drift.all_rows),
    ):
        if coverage is None or not coverage.inputs:
            continue
        former, now = coverage.shares()
        table.add_row(
            name, *(f"{share:.1%}" for pair in zip(now, former, strict=True) for share in pair)
        )
    output.print(table)
    entered = sum(table.entered for table in drift.tables)
    left = sum(table.left for table in drift.tables)
    hot = sum(table.hot_rows for table in drift.tables)
    changed = sorted(drift.tables, key=lambda table: -table.entered - table.left)[:_CHANGED_TABLES]
    output.print(
        f"{hot:,} hot rows: {entered:,} entered and {left:,} left the hot set, most in "
        + ", ".join(f"{table.name} (+{table.entered:,} -{table.left:,})" for table in changed)
    )
    if drift.former_budget != drift.budget:
        output.print(
            f"the budget changed from {format_bytes(drift.former_budget)} to "
            f"{format_bytes(drift.budget)}"
        )


@_raising_on_damage
def print_run(run: Path) -> None:
    """Print a run's metrics and where it is; DatasetError where `run` holds no metrics."""
    try:
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{run} is not a finished run: {error}. Train it again.") from None
    table = _table("split", "AUC", "log loss", "accuracy")
    for split in ("valid", "test"):
        values = [metrics.get(f"{split}_{name}") for name in ("auc", "logloss", "accuracy")]
        table.add_row(split, *("–" if value is None else f"{value:.4f}" for value in values))
    output.print(table)
    output.print(
        f"{metrics['train_samples']:,} samples at {metrics['samples_per_second']:,.0f} samples/s, "
        f"placement {metrics['placement']} on {metrics['device']}"
    )
    output.print(f"run in {run}")


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _oov(accesses: int, out_of_vocabulary: int) -> str:
    return f"{out_of_vocabulary / accesses:.1%}" if accesses else "–"


def _oov_of_split(manifest: Manifest, split: str) -> str:
    """Return the share of a split's accesses that are out of vocabulary, over all columns."""
    counts = [
        splits[split]
        for table in manifest.preparation["tables"]
        for splits in table["columns"].values()
    ]
    accesses = sum(count["accesses"] for count in counts)
    return _oov(accesses, sum(count["out_of_vocabulary"] for count in counts))


def _print_rejects(reasons: Mapping[str, int], directory: Folder) -> None:
    if not reasons:
        return
    table = _table("rejected lines", "count")
    for reason, count in reasons.items():
        table.add_row(reason, f"{count:,}")
    output.print(table)
    output.print(f"see {directory / 'rejects' / 'rejects.jsonl'}")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(columns[0])
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


@contextmanager
def rows_progress(what: str, rows: int) -> Iterator[Callable[[int], Any]]:
    """Show a bar over rows on a terminal; call what it yields with the rows done since."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    hidden = not messages.is_terminal
    with Progress(*columns, console=messages, disable=hidden) as progress:
        bar = progress.add_task(what, total=rows)
        yield lambda done: progress.advance(bar, done)
