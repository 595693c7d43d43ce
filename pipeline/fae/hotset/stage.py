"""Calibration: choose the hot set of a byte budget from frequencies, and write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from dask.utils import format_bytes

from fae.arrays.arrow import Int64Array
from fae.arrays.run_length import RowRanges, RunLengthArray
from fae.commit import outputs
from fae.execution.executor import Executor
from fae.format.budget import Budget
from fae.format.errors import BudgetError, ParameterError
from fae.format.manifest import SPLITS
from fae.hotset.cold_hash import Sharing, is_hashed, measure_sharing, replace_cold_ids
from fae.hotset.contested import read_contested
from fae.hotset.coverage import (
    COUNTED,
    KNOWN,
    UNCOUNTED,
    Coverage,
    Cuts,
    compute_shares,
    find_row_count,
    measure_coverage,
)
from fae.hotset.curve import choose_points, draw_curve, find_knee
from fae.hotset.hot_set import (
    COMPARED_RULE,
    CURVE,
    FILE_NAME,
    ID_DTYPE,
    IDS,
    HotSet,
    HotShares,
    HotTable,
    SampleCheck,
)
from fae.hotset.parameters import CalibrateParameters
from fae.hotset.problem import (
    ContestedSamples,
    Problem,
    Ranking,
    StackedRows,
    StackedSamples,
    count_affordable,
)
from fae.hotset.problem_data import stack_rows, stack_samples, stack_train_accesses
from fae.hotset.rules import find_rule
from fae.hotset.rules.peeling import MOST_OTHERS
from fae.hotset.selection import (
    Selection,
    append_unsampled_rows,
    assign_ids,
    check_budget,
    select_rows,
)
from fae.ingestion.staging import Staging
from fae.logs.schema import Schema
from fae.profiling.frequencies import Frequencies
from fae.storage.folder import Folder, FolderLike
from fae.storage.raw_arrays import create_numbers

#: Peak memory of ranking by all samples.
_BYTES_PER_ACCESS = 15
#: Peak memory of peeling by accesses, and of the ranking of single rows that it makes.
_CONTESTED_BYTES_PER_ACCESS, _BYTES_PER_OTHER = 14, 90


def calibrate(
    staging: Staging,
    frequencies: Frequencies,
    out: FolderLike,
    executor: Executor,
    parameters: CalibrateParameters,
    *,
    overwrite: bool = False,
) -> HotSet:
    """Choose the hot rows for the budget or the hot share of `parameters`, and write them to `out`.

    The budget counts each row's dim, dtype and optimiser state. Raises BudgetError where it cannot
    hold one row of each table, or where no budget reaches the hot share.
    """
    out = Folder.of(out)
    made_from = parameters.fingerprint(outputs.read_fingerprint(frequencies.directory))
    if outputs.is_made(out, made_from, overwrite):
        return HotSet.read(out)
    executor.timings.begin_stage("calibrate")
    with executor.track("stack", 1) as end_step:
        rows = stack_rows(frequencies, staging.schema, parameters.embedding)
        end_step()
    with outputs.build_output(out, made_from) as unfinished:
        chooser = _Chooser(staging, frequencies, rows, parameters, executor, unfinished)
        budget_bytes, ranking = chooser.choose()
        selection = select_rows(rows, ranking.ranked_rows, budget_bytes)
        points = choose_points(rows, ranking.ranked_rows, budget_bytes)
        chosen = Cuts(ranking.ranked_rows, np.unique(points[1]))
        coverage, shares = chooser.measure_beside_accesses(
            chosen, selection.hot_count, budget_bytes
        )
        aim = (parameters.weights, parameters.device_profile)
        with executor.track("write", 2) as end_step:
            curve = draw_curve(rows, ranking, points, coverage, *aim)
            with unfinished.write(CURVE) as path:
                curve.write_csv(path)
            end_step()
            sharing = _write_ids(unfinished, frequencies, rows, selection, parameters.cold_buckets)
            end_step()
        at_budget = curve.row(by_predicate=pl.col("budget_bytes") == budget_bytes, named=True)
        tables = _describe_tables(staging.schema, rows, selection, sharing)
        document = {
            "embedding": asdict(parameters.embedding),
            "budget": asdict(Budget(budget_bytes, selection.used_bytes, parameters.rule)),
            "tables": [asdict(table) for table in tables],
            **_describe_shares(chooser.train_accesses, selection, coverage),
            "shares": [asdict(of_rule) for of_rule in shares],
            "bound": at_budget.get("bound"),
            "knee_bytes": find_knee(curve),
            "notes": dict(ranking.notes),
            "objective": parameters.objective,
            "sharing": [asdict(table) for table in sharing],
            "parameters": parameters.model_dump(mode="json"),
            "frequencies": outputs.read_fingerprint(frequencies.directory),
        }
        outputs.write_document(unfinished, FILE_NAME, document)
    return HotSet.read(out)


@dataclass(frozen=True)
class _Chooser:
    """The choice of a budget and a ranking; `scratch` is the unfinished output."""

    staging: Staging
    frequencies: Frequencies
    rows: StackedRows
    parameters: CalibrateParameters
    executor: Executor
    scratch: Folder

    def choose(self) -> tuple[int, Ranking]:
        """Return the budget in bytes and the ranking for it."""
        if self.parameters.hot_budget is not None:
            budget_bytes = int(self.parameters.hot_budget)
            check_budget(self.rows, budget_bytes)
            return budget_bytes, self._rank(budget_bytes)
        # A rule ranks for a budget, which is not known yet: rank for all bytes, take the budget
        # that this ranking needs for the share, and rank for that.
        ranking = self._rank(self.rows.total_bytes)
        ranking = self._rank(self._find_budget(ranking.ranked_rows))
        return self._find_budget(ranking.ranked_rows), ranking

    def measure_beside_accesses(
        self, chosen: Cuts, hot_count: int, budget_bytes: int
    ) -> tuple[dict[str, Coverage], list[HotShares]]:
        """Return the coverage of the chosen ranking by group, and the shares to compare.

        These are of its first `hot_count` rows, and of what `budget_bytes` buy by the rule
        `accesses`, the choice with which every other is compared.
        """
        rule = self.parameters.rule
        if rule == COMPARED_RULE:
            (coverage,) = self._measure(chosen)
            return coverage, [compute_shares(rule, coverage, hot_count)]
        compared = self._rank(budget_bytes, COMPARED_RULE).ranked_rows
        compared_count = count_affordable(self.rows, compared, budget_bytes)
        coverage, other = self._measure(chosen, Cuts(compared, np.array([compared_count])))
        shares = compute_shares(COMPARED_RULE, other, compared_count)
        return coverage, [compute_shares(rule, coverage, hot_count), shares]

    def _measure(self, *rankings: Cuts) -> list[dict[str, Coverage]]:
        """Return the coverage of each ranking, by group of samples."""
        sources = (self.staging, self.frequencies)
        return measure_coverage(*sources, rankings, self.scratch, self.executor)

    @cached_property
    def train_accesses(self) -> RunLengthArray:
        """The accesses of the stacked rows in all of train, whether sampled or not."""
        is_exact = self.frequencies.sample >= 1
        return self.rows.access_counts if is_exact else stack_train_accesses(self.frequencies)

    @cached_property
    def _samples(self) -> StackedSamples:
        self._check_memory(self.rows.access_counts.total * _BYTES_PER_ACCESS)
        return stack_samples(self.staging, self.frequencies)

    def _read_contested(self, core: RowRanges) -> ContestedSamples:
        """Return the samples that a core of rows leaves open."""
        sources = (self.staging, self.frequencies, self.rows)
        contested = read_contested(*sources, core, self.scratch, self.executor)
        self._check_memory(
            contested.samples.rows.size * _CONTESTED_BYTES_PER_ACCESS
            + min(self.rows.count, MOST_OTHERS) * _BYTES_PER_OTHER
        )
        return contested

    def _rank(self, budget_bytes: int, rule: str | None = None) -> Ranking:
        """Return the ranking of a rule, by default the chosen one."""
        is_exact = self.frequencies.sample >= 1
        problem = Problem(
            self.rows,
            lambda: self._samples,
            budget_bytes,
            self.parameters.weights,
            self.frequencies.seed,
            None if is_exact else self.train_accesses,
            self._read_contested,
            self.executor.track,
            self.executor.threads,
        )
        ranking = find_rule(rule or self.parameters.rule)(problem)
        if is_exact:
            return ranking
        filled = append_unsampled_rows(self.rows, ranking.ranked_rows, self.train_accesses)
        return replace(ranking, ranked_rows=filled)

    def _check_memory(self, needed: int) -> None:
        """Raise ParameterError where so many bytes for the samples are more than memory allows."""
        if needed > self.executor.memory:
            accesses, rule = self.rows.access_counts.total, self.parameters.rule
            sample = max(self.executor.memory / needed * 0.9, 0.01)
            raise ParameterError(
                f"the rule {rule!r} ranks by {accesses:,} accesses, which takes "
                f"{format_bytes(needed)}; {format_bytes(self.executor.memory)} are available. "
                f"Raise --memory, profile with --sample {sample:.2f}, or use --rule accesses."
            )

    def _find_budget(self, ranked_rows: RowRanges) -> int:
        """Return the least budget at which `ranked_rows` reach the hot share."""
        share = self.parameters.hot_share or 0.0

        def measure(hot_rows: Int64Array) -> Coverage:
            (coverage,) = self._measure(Cuts(ranked_rows, hot_rows))
            return coverage[SPLITS[0]]

        count = find_row_count(share, ranked_rows.size, measure)
        if count is None:
            raise BudgetError(
                f"the rule {self.parameters.rule!r} makes {share:.1%} of the train samples hot at "
                "no budget. Lower --hot-share."
            )
        return self.rows.sum_bytes(ranked_rows.head(max(count, len(self.rows.tables))))


def _write_ids(
    folder: Folder, frequencies: Frequencies, rows: StackedRows, selection: Selection, buckets: int
) -> list[Sharing]:
    """Write each table's ids; return the sharing of each table whose cold ids are hashed."""
    sharing = []
    with create_numbers(folder, IDS, ID_DTYPE, rows.count) as all_ids:
        assign_ids(rows, selection.ranked_rows, all_ids)
        for t, table in enumerate(frequencies.tables):
            table_ids = all_ids[rows.table_offsets[t] : rows.table_offsets[t + 1]]
            hot_rows = int(selection.hot_rows[t])
            if is_hashed(table_ids.size, hot_rows, buckets):
                values = frequencies.read_accesses(table.name)
                table_ids[:] = replace_cold_ids(table_ids, values["value"], hot_rows, buckets)
                accesses = np.append([table.folded_accesses], values["accesses"])
                sharing.append(measure_sharing(table.name, table_ids, hot_rows, buckets, accesses))
    return sharing


def _describe_tables(
    schema: Schema, rows: StackedRows, selection: Selection, sharing: Sequence[Sharing]
) -> list[HotTable]:
    """Return the figures of each table."""
    ranks = np.diff(rows.table_offsets).tolist()
    sizes = dict(zip(rows.tables, ranks, strict=True))
    for shared in sharing:
        sizes[shared.table] += shared.rows - shared.values
    dims = [schema.dim(columns[0]) for columns in schema.tables.values()]
    hot_rows, row_bytes = selection.hot_rows.tolist(), rows.row_bytes.tolist()
    figures = zip(rows.tables, ranks, sizes.values(), hot_rows, dims, row_bytes, strict=True)
    return [HotTable(*of_table) for of_table in figures]


def _describe_shares(
    accesses: RunLengthArray, selection: Selection, coverage: Mapping[str, Coverage]
) -> dict[str, Any]:
    """Return hot and cold samples by split, the share of accesses, and the check of the sample."""
    hot_count = np.array(selection.hot_count)
    hot = {group: int(covered.count_hot(hot_count)) for group, covered in coverage.items()}
    hot_accesses = accesses.sum_ranges(selection.ranked_rows.head(selection.hot_count))
    check = None
    if coverage[UNCOUNTED].total:
        sampled = hot[COUNTED] / max(coverage[COUNTED].total, 1)
        check = asdict(SampleCheck.of(sampled, hot[UNCOUNTED], coverage[UNCOUNTED].total))
    groups = {split: split for split in SPLITS}
    inputs, known_inputs = (
        {
            split: {"hot": hot[group], "cold": coverage[group].total - hot[group]}
            for split, group in of_splits.items()
        }
        for of_splits in (groups, KNOWN)
    )
    access_share = int(hot_accesses.sum()) / max(accesses.total, 1)
    return {
        "inputs": inputs,
        "known_inputs": known_inputs,
        "access_share": access_share,
        "sample": check,
    }
