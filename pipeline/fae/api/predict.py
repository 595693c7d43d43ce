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
from fae.api.served_logs import AUTO, LABELS, find_served_logs, parse_served_logs
from fae.arrays.arrow import Int64Array
from fae.dataset.encoder import Encoder
from fae.format.atomic_files import replace_file
from fae.format.errors import DatasetError, LogError, ParameterError
from fae.format.manifest import SUCCESS

#: The columns of the rows' numbers, where the schema has no key, of the samples' numbers in a line
#: that holds several, both from 0, and of the scores.
ROW_COLUMN, ELEMENT_COLUMN, SCORE_COLUMN = "row", "element", "score"
_FORMATS = (".csv", ".parquet")
#: The keys of some rows, no column if there are none, and their scores.
Scored = tuple[pl.DataFrame, npt.NDArray[np.float64]]


def predict(
    logs: Paths,
    *,
    run: PathLike,
    out: PathLike,
    data: PathLike | None = None,
    split: str = "test",
    device: str = "auto",
    labels: str = AUTO,
    own_functions: bool = False,
) -> int:
    """Write the score of each row of `logs` to the file `out`; return the number of rows.

    Logs are like those of the data set `data`, by default the one that `run` was trained on; labels
    may be absent, and are not looked at; `labels` is `present` or `absent` where lines do not tell.
    In place of logs, a data set may be given, of which a `split` is scored. `out`, a .csv or
    .parquet, has the keys of the schema, or else `row`, the number of the row from 0, in all logs
    or as `Dataset.read` returns the split, and `score`, the probability that the first label is 1.
    Of a line that holds several samples, each has a score: `row` is then the line's, and `element`
    the sample's number in it from 0. Functions of a user's own in the schema run only with
    `own_functions`. Raises LogError at the first malformed line, as every row needs a score, and
    where there is no row.
    """
    run, out, patterns = Path(run), Path(out), to_texts(logs)
    if out.suffix not in _FORMATS:
        raise ParameterError(f"--out {out}: name a file that ends in {' or '.join(_FORMATS)}.")
    if labels not in LABELS:
        raise ParameterError(f"--labels {labels!r}: must be one of {', '.join(LABELS)}.")
    if len(patterns) == 1 and (Path(patterns[0]) / SUCCESS).is_file():
        scored = _score_split(Path(patterns[0]), run, split, device)
    else:
        data = Path(data) if data is not None else _read_data_path(run)
        scored = _score_logs(patterns, data, run, device, labels, own_functions)
    rows = 0
    with replace_file(out) as partial, _open_output(partial, out.suffix) as write:
        for keys, scores in scored:
            numbers = pl.DataFrame({ROW_COLUMN: range(rows, rows + len(scores))})
            named = keys if keys.width else numbers
            if SCORE_COLUMN in keys.columns:
                raise ParameterError(
                    f"the key {SCORE_COLUMN!r} has the name of the scores. Prepare the logs with "
                    f"another `name` for it, and `field: {SCORE_COLUMN}`."
                )
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


def _score_logs(
    patterns: list[str], data: Path, run: Path, device: str, labels: str, own_functions: bool
) -> Iterator[Scored]:
    """Yield the keys and the scores of the rows of logs, piece by piece."""
    from fae_trainer.run.evaluate import open_scorer

    encoder = Encoder(data, own_functions)
    found = find_served_logs(patterns, encoder, labels)
    score = open_scorer(data, run, device=device)
    names = [column.name for column in encoder.schema.key_columns]
    lines = 0
    for parsed in parse_served_logs(found):
        rows = parsed.rows.select(names)
        if encoder.schema.explode is not None:
            line, element = _number_elements(parsed.row_lines)
            if not names:
                rows = pl.DataFrame({ROW_COLUMN: line + lines})
            if ELEMENT_COLUMN not in names:
                rows = rows.with_columns(pl.Series(ELEMENT_COLUMN, element))
            lines += int(line[-1]) + 1 if line.size else 0
        yield rows, score(encoder.encode_staged(parsed.rows).to_arrow())


def _number_elements(row_lines: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return the line of each row and its place among the rows of that line, both from 0."""
    _, first, line = np.unique(row_lines, return_index=True, return_inverse=True)
    return line, np.arange(row_lines.size) - first[line]


def _read_data_path(run: Path) -> Path:
    """Return the data set that a run was trained on, as its parameters say."""
    if not run.is_dir():
        raise DatasetError(f"there is no run at {run}. Train one: fae train DIR --out {run}.")
    try:
        return Path(json.loads((run / "parameters.json").read_text("utf-8"))["data"])
    except (OSError, ValueError, LookupError, TypeError):
        raise DatasetError(
            f"{run} does not say what it was trained on; name the data set with --data."
        ) from None


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
