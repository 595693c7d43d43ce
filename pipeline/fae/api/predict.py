"""Score the rows of new logs with a trained model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from fae.api.conversions import PathLike, Paths, to_texts
from fae.api.dataset import Dataset
from fae.dataset.encoder import Encoder
from fae.format.atomic_files import replace_file
from fae.format.errors import DatasetError, LogError, ParameterError
from fae.format.manifest import SUCCESS
from fae.ingestion.cast.rows import ParsedLines
from fae.ingestion.stage import parse_block
from fae.logs.blocks import BLOCK_BYTES, cut_blocks
from fae.logs.columns import DroppedColumn
from fae.logs.files import Log, find_logs
from fae.logs.schema import Schema

#: The column of the rows' numbers, from 0, where the schema has no key.
ROW_COLUMN, SCORE_COLUMN = "row", "score"
_FORMATS = (".csv", ".parquet")
#: The keys of some rows, no column if there are none, and their scores.
Scored = tuple[pl.DataFrame, npt.NDArray[np.float64]]
#: What of a log is read to see whether its lines have labels.
_HEAD_BYTES = 1 << 20


def predict(
    logs: Paths,
    *,
    run: PathLike,
    out: PathLike,
    data: PathLike | None = None,
    split: str = "test",
    device: str = "auto",
) -> int:
    """Write the score of each row of `logs` to the file `out`; return the number of rows.

    Logs are like those of the data set `data`, by default the one that `run` was trained on; labels
    may be absent, and are not looked at. In place of logs, a data set may be given, of which a
    `split` is scored. `out`, a .csv or .parquet, has the keys of the schema, or else `row`, the
    number of the row from 0, in all logs or as `Dataset.read` returns the split, and `score`, the
    probability that the label is 1. Raises LogError where a line is malformed or there is no row.
    """
    run, out, patterns = Path(run), Path(out), to_texts(logs)
    if out.suffix not in _FORMATS:
        raise ParameterError(f"--out {out}: name a file that ends in {' or '.join(_FORMATS)}.")
    if len(patterns) == 1 and (Path(patterns[0]) / SUCCESS).is_file():
        scored = _score_split(Path(patterns[0]), run, split, device)
    else:
        data = Path(data) if data is not None else _read_data_path(run)
        scored = _score_logs(patterns, data, run, device)
    rows = 0
    with replace_file(out) as partial, _open_output(partial, out.suffix) as write:
        for keys, scores in scored:
            numbers = pl.DataFrame({ROW_COLUMN: range(rows, rows + len(scores))})
            named = keys if keys.width else numbers
            write(named.with_columns(pl.Series(SCORE_COLUMN, scores)))
            rows += len(scores)
        if not rows:
            raise LogError("the logs hold no rows.")
    return rows


def _score_split(data: Path, run: Path, split: str, device: str) -> Iterator[Scored]:
    """Yield the keys and the scores of a data set's split."""
    from fae_trainer.run import evaluate

    dataset = Dataset(data)
    keys = list(dataset.manifest.features.keys)
    rows = dataset.read(split, columns=keys) if keys else pl.DataFrame()
    yield rows, evaluate.predict(data, run, split, device=device)[1]


def _score_logs(patterns: list[str], data: Path, run: Path, device: str) -> Iterator[Scored]:
    """Yield the keys and the scores of the rows of logs, piece by piece."""
    from fae_trainer.run.evaluate import open_scorer

    encoder = Encoder(data)
    found, schema = _find_logs(patterns, encoder)
    score = open_scorer(data, run, device=device)
    for parsed in _parse_logs(found, schema):
        keys = parsed.rows.select(column.name for column in schema.key_columns)
        yield keys, score(encoder.encode_staged(parsed.rows).to_arrow())


def _read_data_path(run: Path) -> Path:
    """Return the data set that a run was trained on, as its parameters say."""
    try:
        return Path(json.loads((run / "parameters.json").read_text("utf-8"))["data"])
    except (OSError, ValueError, LookupError, TypeError):
        raise DatasetError(
            f"{run} does not say what it was trained on; name the data set with --data."
        ) from None


def _find_logs(patterns: list[str], encoder: Encoder) -> tuple[list[Log], Schema]:
    """Return the logs, and the schema to read them by: without labels and what else is not used.

    Lines without a header may have all fields of the schema, or all but the labels.
    """
    schema = encoder.schema
    if schema.explode is not None:
        raise ParameterError("lines that hold several samples cannot be scored; write one a line.")
    roles = ("dense", "sparse", "key", *(["time"] if encoder.needs_time else []))
    if schema.header or schema.format != "text":
        served = schema.select(*roles).replace(ignore_rest=True)
        return find_logs(patterns, served), served
    dropped = [
        column
        if column.role in roles
        else DroppedColumn(role="drop", name=column.name, field=column.field, slot=column.slot)
        for column in schema.columns
    ]
    unlabeled = [
        column
        for column, former in zip(dropped, schema.columns, strict=True)
        if former.role != "label"
    ]
    for columns in (dropped, unlabeled):
        served = schema.replace(columns=tuple(columns), split_by=None)
        found = find_logs(patterns, served)
        head = next(parse_block(cut_blocks(found[0], _HEAD_BYTES)[0], served, _HEAD_BYTES), None)
        if head is not None and head.rows.height:
            break
    return found, served


def _parse_logs(logs: list[Log], schema: Schema) -> Iterator[ParsedLines]:
    """Yield the rows of all logs in order; raises LogError where a line is malformed."""
    for log in logs:
        line = log.first_line
        for block in cut_blocks(log, BLOCK_BYTES):
            for parsed in parse_block(block, schema, BLOCK_BYTES):
                for reject in parsed.rejects[:1]:
                    raise LogError(
                        f"{log.name}, line {line + reject.line}"
                        f"{f', column {reject.column}' if reject.column else ''}: "
                        f"{reject.reason}: {reject.text!r}. Fix the line; every row needs a score."
                    )
                line += parsed.lines
                yield parsed


@contextmanager
def _open_output(path: Path, suffix: str) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Yield a function that appends a table's rows to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if suffix == ".csv":
            file = stack.enter_context(path.open("wb"))
            yield lambda frame: frame.write_csv(file, include_header=file.tell() == 0)
            return
        writers: list[pq.ParquetWriter] = []

        def write(frame: pl.DataFrame) -> None:
            table = frame.to_arrow()
            if not writers:
                writers.append(stack.enter_context(pq.ParquetWriter(path, table.schema)))
            writers[0].write_table(table)

        yield write
