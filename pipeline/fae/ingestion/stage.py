"""Staging: logs as typed columns in Parquet, one part for each block, in the order of the lines.

A row's number over all parts, in order, is its identity in every later stage: it does not depend
on how the logs were cut into blocks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from fae.arrays.arrow import to_numpy
from fae.commit import outputs
from fae.execution.executor import Executor
from fae.format.errors import LogError
from fae.ingestion.casting import TIME, Parsed, Reject
from fae.ingestion.parameters import IngestParameters
from fae.ingestion.parser import parse_table, parse_text
from fae.ingestion.part import StagedPart, Times, write_part
from fae.logs.checksums import checksums
from fae.logs.files import BLOCK_BYTES, Block, Log, blocks, check_sizes, parquet_file, texts
from fae.logs.schema import Schema
from fae.storage.folder import Folder, FolderLike

FILE_NAME = "staging.json"
REJECTS = "rejects"
_EXAMPLES = 5
#: What staging a block needs, in blocks: its text, its columns twice, and what is written.
_BLOCKS = 6


@dataclass(frozen=True)
class Part:
    """One staged file: its rows, and the split that the user gave its log for, if any.

    `values` is the number of distinct values in each of the schema's sparse columns.
    """

    path: str
    rows: int
    split: str | None
    values: tuple[int, ...]


@dataclass(frozen=True)
class StagedLog:
    """What became of one log: `lines` = `rows` + `rejects`; `split` is the one it was given for."""

    name: str
    bytes: int
    xxh3: str
    lines: int
    rows: int
    rejects: int
    split: str | None


@dataclass(frozen=True)
class Staging:
    """A finished staging directory."""

    directory: Folder
    schema: Schema
    parts: tuple[Part, ...]
    logs: tuple[StagedLog, ...]
    reasons: dict[str, int]

    @property
    def rows(self) -> int:
        """Rows over all parts."""
        return sum(part.rows for part in self.parts)

    def first_row(self, part: int) -> int:
        """The number of a part's first row; for the part after the last, of all rows."""
        return self._first_rows[part]

    @cached_property
    def _first_rows(self) -> list[int]:
        return [0, *accumulate(part.rows for part in self.parts)]

    def times(self, part: int) -> Times:
        """The time of each row of a part, in seconds since 1970; 0 where the schema has none."""
        if self.schema.time is None:
            return np.zeros(self.parts[part].rows, dtype=np.int64)
        times: Times = to_numpy(self.part(part).columns([TIME])[TIME].chunk(0))
        return times

    def entries(self, table: str) -> int:
        """The distinct values of a table's columns, counted part by part."""
        places = [i for i, one in enumerate(self.schema.sparse) if one.table_name == table]
        return sum(part.values[place] for part in self.parts for place in places)

    def part(self, index: int, *, passing: bool = False) -> StagedPart:
        """One part, open for reading; `passing` as in StagedPart."""
        return StagedPart(self.directory, self.parts[index].path, passing=passing)

    def write(self) -> None:
        """Write `staging.json`, once all that it names is in the directory."""
        document = {
            "schema": self.schema.document(),
            "parts": [asdict(part) for part in self.parts],
            "logs": [asdict(log) for log in self.logs],
            "reasons": self.reasons,
        }
        outputs.write_document(self.directory, FILE_NAME, document)

    @classmethod
    def read(cls, directory: FolderLike) -> Staging:
        """The staging in a finished directory; DatasetError where there is none."""
        return outputs.read_dataclass(cls, Folder.of(directory), FILE_NAME)


@dataclass(frozen=True)
class _Task:
    """One block of the log numbered `log`, staged into `directory`."""

    log: int
    number: int
    block: Block
    schema: Schema
    directory: str
    block_bytes: int


@dataclass(frozen=True)
class _Staged:
    """What a task made: its parts, its lines and those of them that were set aside."""

    log: int
    parts: list[Part]
    lines: int
    rejects: list[Reject]


def ingest(
    logs: Sequence[Log],
    schema: Schema,
    out: FolderLike,
    executor: Executor,
    parameters: IngestParameters,
    *,
    digests: Sequence[str] | None = None,
    overwrite: bool = False,
    block_bytes: int = BLOCK_BYTES,
) -> Staging:
    """Stage `logs` into the directory `out`; nothing to do where it is staged already.

    Raises LogError where more of the lines are malformed than `parameters` allow; they then lie in
    `OUT.rejects`. `digests` are the logs', where they are known already.
    """
    out = Folder.of(out)
    digests = digests or checksums(logs, executor)
    made_from = parameters.fingerprint(*log_fingerprints(logs, digests, schema))
    if outputs.is_made(out, made_from, overwrite):
        return Staging.read(out)
    with outputs.build_output(out, made_from) as partial:
        tasks = [
            _Task(index, number, block, schema, str(partial), block_bytes)
            for index, log in enumerate(logs)
            for number, block in enumerate(blocks(log, block_bytes))
        ]
        staged = executor.run(
            "ingest",
            _stage_block,
            tasks,
            task_log=partial,
            rows=lambda done: done.lines,
            needs=_BLOCKS * block_bytes,
        )
        check_sizes(logs)
        rejects = _numbered(logs, staged)
        lines = sum(one.lines for one in staged)
        folder = partial / REJECTS
        too_many = len(rejects) > parameters.max_reject_share * lines
        if too_many:
            folder = out.beside(f".{REJECTS}")
        write_rejects(rejects, folder)
        if too_many:
            raise LogError(_too_many(rejects, lines, parameters.max_reject_share, folder))
        if lines == len(rejects):
            malformed = f", all of them malformed, as {sentence(rejects[0])}" if rejects else ""
            raise LogError(f"the logs hold no rows: {lines:,} lines{malformed}.")
        _write(partial, schema, logs, digests, staged, rejects)
    return Staging.read(out)


def log_fingerprints(
    logs: Sequence[Log | StagedLog], digests: Sequence[str], schema: Schema
) -> list[str]:
    """What decides a staging: the schema, and each log's name, bytes and split, in order."""
    inputs = zip(logs, digests, strict=True)
    return [
        outputs.compute_fingerprint(schema.document()),
        *(f"{log.name}:{log.bytes}:{xxh3}:{log.split}" for log, xxh3 in inputs),
    ]


def _stage_block(task: _Task) -> _Staged:
    """Parse one block and write its rows, a part for each run of lines."""
    parts: list[Part] = []
    rejects: list[Reject] = []
    sparse = [column.name for column in task.schema.sparse]
    lines = 0
    for parsed in _parsed(task):
        name = f"parts/{task.log:05d}-{task.number:06d}-{len(parts):06d}"
        if parsed.rows.height + len(parsed.rejects) != parsed.lines:
            raise LogError(
                f"{task.block.log.name}: {parsed.lines} lines gave {parsed.rows.height} rows and "
                f"{len(parsed.rejects)} rejects. This is a defect of fae; please report it."
            )
        if parsed.rows.height:
            values = write_part(parsed.rows, sparse, Folder.of(task.directory), name)
            parts.append(Part(name, parsed.rows.height, task.block.log.split, values))
        rejects += [
            Reject(lines + one.line, one.column, one.reason, one.text) for one in parsed.rejects
        ]
        lines += parsed.lines
    return _Staged(task.log, parts, lines, rejects)


def _parsed(task: _Task) -> Any:
    log = task.block.log
    if log.parquet:
        used = [column.name for column in task.schema.fields if column.role != "drop"]
        with parquet_file(log) as file:
            try:
                table = file.read_row_group(task.block.start, columns=used).select(used)
                table.validate(full=True)
            except (OSError, ValueError, KeyError, pa.ArrowException) as error:
                raise LogError(f"{log.name} is damaged: {error}") from None
        frame = pl.from_arrow(pa.table(table.columns, names=used))  # without the file's metadata
        assert isinstance(frame, pl.DataFrame)
        try:
            yield parse_table(frame, task.schema)
        except LogError as error:
            raise LogError(f"{log.name}: {error}") from None
        return
    for data in texts(task.block, task.block_bytes):
        parsed: Parsed = parse_text(data, log.fields, task.schema)
        yield parsed


def _numbered(logs: Sequence[Log], staged: list[_Staged]) -> list[dict[str, Any]]:
    """The rejects of all blocks with their file's name and the line's number in it, from 1."""
    rejects = []
    line = [log.first_line for log in logs]
    for one in staged:
        for reject in one.rejects:
            place = {"file": logs[one.log].name, "line": line[one.log] + reject.line}
            rest = {"column": reject.column, "reason": reject.reason, "text": reject.text}
            rejects.append(place | rest)
        line[one.log] += one.lines
    return rejects


def write_rejects(rejects: list[dict[str, Any]], folder: Folder) -> None:
    """Write `rejects.jsonl` into `folder`."""
    text = "".join(json.dumps(reject, ensure_ascii=False) + "\n" for reject in rejects)
    folder.write_text("rejects.jsonl", text)


def _too_many(rejects: list[dict[str, Any]], lines: int, limit: float, folder: Folder) -> str:
    examples = "\n".join(f"  {sentence(reject)}" for reject in rejects[:_EXAMPLES])
    return (
        f"{len(rejects):,} of {lines:,} lines ({len(rejects) / lines:.2%}) are malformed, more "
        f"than --max-reject-share {limit:g} allows:\n{examples}\n"
        f"All of them are in {folder / 'rejects.jsonl'}. Is it the right schema? "
        "Mend the log, or allow more."
    )


def sentence(reject: dict[str, Any]) -> str:
    """A reject as a person reads it: file, line, column, what was found and why it does not do."""
    column = f", column {reject['column']}" if reject["column"] else ""
    return (
        f"{reject['file']}, line {reject['line']}{column}: {reject['reason']}: {reject['text']!r}"
    )


def _write(
    directory: Folder,
    schema: Schema,
    logs: Sequence[Log],
    digests: Sequence[str],
    staged: list[_Staged],
    rejects: list[dict[str, Any]],
) -> None:
    """Write `staging.json`."""
    lines: Counter[int] = Counter()
    rows: Counter[int] = Counter()
    for one in staged:
        lines[one.log] += one.lines
        rows[one.log] += sum(part.rows for part in one.parts)
    staged_logs = [
        StagedLog(log.name, log.bytes, xxh3, lines[i], rows[i], lines[i] - rows[i], log.split)
        for i, (log, xxh3) in enumerate(zip(logs, digests, strict=True))
    ]
    reasons = Counter(
        f"{reject['column']}: {reject['reason']}" if reject["column"] else str(reject["reason"])
        for reject in rejects
    )
    parts = tuple(part for one in staged for part in one.parts)
    Staging(directory, schema, parts, tuple(staged_logs), dict(sorted(reasons.items()))).write()
