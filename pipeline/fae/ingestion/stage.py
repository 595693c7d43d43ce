"""The ingest stage: parses logs block by block and stages their rows as typed columns."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import polars as pl
import pyarrow as pa

from fae.commit import outputs
from fae.execution.executor import Executor
from fae.format.errors import LogError
from fae.ingestion.cast.rows import ParsedLines
from fae.ingestion.histories import add_histories
from fae.ingestion.parameters import IngestParameters
from fae.ingestion.parser import convert_arrow_table, parse_fields, parse_table, parse_text
from fae.ingestion.part import write_part
from fae.ingestion.quoted_records import read_quoted_records
from fae.ingestion.rejects import REJECTS_FOLDER, Reject, remove_rejects, write_rejects
from fae.ingestion.staging import Part, StagedLog, Staging, fingerprint_logs
from fae.logs.blocks import BLOCK_BYTES, Block, cut_blocks, read_block, row_groups_held
from fae.logs.checksums import checksum_logs
from fae.logs.files import Log, check_sizes, open_parquet, suggest_separator
from fae.logs.schema import Schema
from fae.storage.folder import Folder, FolderLike

_EXAMPLES_SHOWN = 5
#: Rows of Parquet that are read at once; writers make row groups of a million rows or fewer.
MAX_ROWS_AT_ONCE = 1 << 22
#: Memory to stage a block, in blocks: its text, its columns twice, and what is written.
_BLOCKS_IN_MEMORY = 6


@dataclass(frozen=True)
class _Task:
    """One block of the log numbered `log`, to be staged into `directory`."""

    log: int
    number: int
    block: Block
    schema: Schema
    directory: str
    block_bytes: int


@dataclass(frozen=True)
class _StagedBlock:
    """The result of a task: its parts, its number of lines, and the rejects among them."""

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
    checksums: Sequence[str] | None = None,
    overwrite: bool = False,
    block_bytes: int = BLOCK_BYTES,
) -> Staging:
    """Stage `logs` into the directory `out`, or read the staging there if it is up to date.

    `checksums` are the logs', if known already. Raises LogError where a log cannot be read, where
    no line gives a row, or where more lines are malformed than `parameters` allow; `OUT.rejects`
    then lists the malformed lines.
    """
    out = Folder.of(out)
    checksums = checksums or checksum_logs(logs, executor)
    made_from = parameters.fingerprint(*fingerprint_logs(logs, checksums, schema))
    if outputs.is_made(out, made_from, overwrite):
        return Staging.read(out)
    executor.timings.begin_stage("ingest")
    with outputs.build_output(out, made_from) as partial:
        tasks = [
            _Task(index, number, block, schema, str(partial), block_bytes)
            for index, log in enumerate(logs)
            for number, block in enumerate(cut_blocks(log, block_bytes))
        ]
        needs = _BLOCKS_IN_MEMORY * block_bytes
        blocks = executor.run(
            "ingest", _stage_block, tasks, task_log=partial, rows=attrgetter("lines"), needs=needs
        )
        check_sizes(logs)
        rejects = _locate_rejects(logs, blocks)
        lines = sum(part.rows for block in blocks for part in block.parts) + len(rejects)
        if len(rejects) > parameters.max_reject_share * lines:
            listed_in = write_rejects(rejects, out.beside(f".{REJECTS_FOLDER}"))
            allowed = parameters.max_reject_share
            hint = _suggest_separator(rejects, schema)
            raise LogError(_describe_excess(rejects, lines, allowed, listed_in) + hint)
        remove_rejects(out.beside(f".{REJECTS_FOLDER}"))
        write_rejects(rejects, partial / REJECTS_FOLDER)
        if lines == len(rejects):
            example = f", all malformed; the first: {rejects[0].describe()}" if rejects else ""
            hint = _suggest_separator(rejects, schema)
            raise LogError(f"the logs hold no rows: {lines:,} lines{example}.{hint}")
        staging = _build_staging(partial, schema, logs, checksums, blocks, rejects)
        _check_splits(staging, rejects)
        add_histories(staging, executor).write()
    return Staging.read(out)


def _check_splits(staging: Staging, rejects: Sequence[Reject]) -> None:
    """Raise LogError where logs were given for a split and none of them holds a row.

    Other rows would become that split in their place.
    """
    for split in {log.split for log in staging.logs}:
        logs = [log for log in staging.logs if log.split == split]
        if any(log.rows for log in logs):
            continue
        names = {log.name for log in logs}
        first = next((reject for reject in rejects if reject.file in names), None)
        example = f" The first malformed line: {first.describe()}" if first else ""
        raise LogError(
            f"the logs given for {split or 'training'} hold no rows: "
            f"{sum(log.lines for log in logs):,} lines, all malformed.{example}"
        )


def _stage_block(task: _Task) -> _StagedBlock:
    """Parse one block and write its rows, one part for each text that it is read in."""
    parts: list[Part] = []
    rejects: list[Reject] = []
    sparse = [column.name for column in task.schema.sparse if column.history is None]
    lines = 0
    for parsed in parse_block(task.block, task.schema, task.block_bytes):
        name = f"parts/{task.log:05d}-{task.number:06d}-{len(parts):06d}"
        if parsed.rows.height + len(parsed.rejects) != parsed.lines + parsed.surplus:
            raise LogError(
                f"{task.block.log.name}: {parsed.lines} lines gave {parsed.rows.height} rows and "
                f"{len(parsed.rejects)} rejects. This is a bug in fae; please report it."
            )
        if parsed.rows.height:
            values = write_part(parsed.rows, sparse, Folder.of(task.directory), name)
            parts.append(Part(name, parsed.rows.height, task.block.log.split, values))
        rejects += [replace(reject, line=lines + reject.line) for reject in parsed.rejects]
        lines += parsed.lines
    return _StagedBlock(task.log, parts, lines, rejects)


def parse_block(block: Block, schema: Schema, block_bytes: int) -> Iterator[ParsedLines]:
    """Yield the parsed rows of a block, text by text, or a row group by pieces of many rows."""
    log = block.log
    if not log.parquet:
        if schema.quoted_line_breaks:
            for one in read_quoted_records(log, schema, block_bytes):
                parsed = parse_fields(one.fields, one.rejects, one.lines, schema)
                yield replace(parsed, surplus=parsed.surplus - one.joined)
            return
        for text in read_block(block, block_bytes):
            yield parse_text(text, log.fields, schema)
        return
    partitions = [pl.lit(value, pl.String()).alias(name) for name, value in log.partitions]
    for table in _read_row_group(block, schema):
        try:
            frame = convert_arrow_table(table).with_columns(partitions)
            parsed = parse_table(frame, schema)
        except LogError as error:
            raise LogError(f"{log.name}: {error}") from None
        yield parsed


def parse_head(log: Log, schema: Schema, head_bytes: int) -> ParsedLines | None:
    """Return the parsed rows of about the first `head_bytes` of a log; None where it has none."""
    blocks = cut_blocks(log, head_bytes)
    return next(parse_block(blocks[0], schema, head_bytes), None) if blocks else None


def _read_row_group(block: Block, schema: Schema) -> Iterator[pa.Table]:
    """Yield the columns of a Parquet log's row group that the schema uses.

    A group of more rows than writers put into one comes in pieces: equal values take no bytes, so a
    small file can hold any number of rows.
    """
    used = (*schema.plain_columns, *schema.raw_fields)
    names = [name for name in block.log.fields if name in used]
    with open_parquet(block.log) as file:
        try:
            with row_groups_held(block.log, file, [block.start], names, MAX_ROWS_AT_ONCE):
                if file.metadata.row_group(block.start).num_rows <= MAX_ROWS_AT_ONCE:
                    tables = iter([file.read_row_group(block.start, columns=names)])
                else:
                    batches = file.iter_batches(MAX_ROWS_AT_ONCE, [block.start], names)
                    tables = (pa.Table.from_batches([batch]) for batch in batches)
                for table in tables:
                    table.validate(full=True)
                    yield table.select(names)
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise LogError(f"{block.log.name} is damaged: {error}") from None


def _locate_rejects(logs: Sequence[Log], blocks: Sequence[_StagedBlock]) -> list[Reject]:
    """Return the rejects of all blocks, each with its file's name and its line there, from 1."""
    located = []
    next_line = [log.first_line for log in logs]
    for block in blocks:
        name, first = logs[block.log].name, next_line[block.log]
        located += [replace(one, file=name, line=first + one.line) for one in block.rejects]
        next_line[block.log] += block.lines
    return located


def _describe_excess(rejects: Sequence[Reject], lines: int, allowed: float, file: Folder) -> str:
    examples = "\n".join(f"  {reject.describe()}" for reject in rejects[:_EXAMPLES_SHOWN])
    return (
        f"{len(rejects):,} of {lines:,} lines ({len(rejects) / lines:.2%}) are malformed, more "
        f"than --max-reject-share {allowed:g} allows:\n{examples}\n"
        f"All of them are listed in {file}. Check that the schema fits these logs. "
        "Fix the logs or raise --max-reject-share."
    )


def _suggest_separator(rejects: Sequence[Reject], schema: Schema) -> str:
    """Return what to try where malformed lines have one field, or nothing."""
    reject = next((one for one in rejects if one.reason.startswith("1 fields, not ")), None)
    question = suggest_separator(reject.text, schema.separator) if reject else ""
    if reject is None or not question:
        return ""
    expected = reject.reason.removeprefix("1 fields, not ")
    return f" One column where {expected} are expected{question} Set the schema's `separator`."


def _build_staging(
    directory: Folder,
    schema: Schema,
    logs: Sequence[Log],
    checksums: Sequence[str],
    blocks: Sequence[_StagedBlock],
    rejects: Sequence[Reject],
) -> Staging:
    """Return the staging of all blocks, with the totals of each log and reason."""
    lines: Counter[int] = Counter()
    rejected: Counter[int] = Counter()
    rows: Counter[int] = Counter()
    for block in blocks:
        lines[block.log] += block.lines
        rejected[block.log] += len(block.rejects)
        rows[block.log] += sum(part.rows for part in block.parts)
    staged_logs = tuple(
        StagedLog(log.name, log.bytes, xxh3, lines[i], rows[i], rejected[i], log.split)
        for i, (log, xxh3) in enumerate(zip(logs, checksums, strict=True))
    )
    reasons = Counter(
        f"{reject.column}: {reject.reason}" if reject.column else reject.reason
        for reject in rejects
    )
    parts = tuple(part for block in blocks for part in block.parts)
    return Staging(directory, schema, parts, staged_logs, dict(sorted(reasons.items())))
