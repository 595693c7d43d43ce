"""Samples to come: the hot set that is expected to make the most samples outside train hot.

Peeling the train samples themselves buys whole samples, and with them rows that train accesses
once. Few of those come back, and a value that has no row is always hot (it is id 0), so such a hot
set is worth less on new samples than in train. Here each train sample stands for a new one: it is
looked at as if it had been left out when the accesses were counted (leave-one-out).

- A value that it alone has would have no row, and be hot. The sample leaves the row out.
- A row that c samples access would have been chosen on the evidence of the c - 1 others, so its
  worth counts in the proportion (c - 1) / c.

Rows of one access are therefore worth nothing to peeling; they follow it. What a value that was
seen once brings from now on is 2 N(2) / N(1) accesses, where N(c) values were seen c times (Good,
"The population frequencies of species", Biometrika 1953, after Turing). It is computed for each
table, since the values of some come back more often.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from fae.arrays.arrow import BoolArray, Int32Array, Int64Array
from fae.arrays.jit import kernel
from fae.hotset.contested import find_contested
from fae.hotset.loads import Floats
from fae.hotset.problem import Problem, Ranking, StackedRows, StackedSamples, buy_rows
from fae.hotset.rules.accesses import rank_by_accesses
from fae.hotset.rules.peeling import choose_core, rank_by_peeling

#: Further passes gain nothing on held-out samples: see benchmarks/RESULTS.md.
MAX_PASSES = 20


def rank_by_samples(problem: Problem) -> Ranking:
    """Rank rows by peeling, for train samples or, if the objective is `future`, for new ones."""
    return rank_for_future(problem) if problem.objective.future else rank_by_peeling(problem)


def rank_for_future(problem: Problem) -> Ranking:
    """Rank rows that several samples access by peeling, then the others by expected accesses.

    Both are per byte; ties among the others are by table, then by access rank. Every row that train
    accesses is ranked, sampled or not. Deterministic.
    """
    rows = problem.rows
    by_accesses = rank_by_accesses(problem).ranked_rows
    core = choose_core(problem, buy_rows(rows, by_accesses, problem.budget_bytes))
    # All samples of a row outside the core are contested, so the core changes no count of holders.
    samples = find_contested(problem, core).samples
    accesses = problem.train_accesses.to_numpy()
    holders = np.bincount(samples.rows, minlength=rows.count)  # samples that access each row
    is_core = np.zeros(rows.count, dtype=np.bool_)
    is_core[core.to_rows()] = True
    is_rare = accesses <= 1
    if problem.is_exact:  # a list may access a row several times
        is_rare |= holders <= 1
    is_rare[rows.oov_rows] = False
    is_rare[is_core] = False
    supported = is_core | (holders > 1) & ~is_rare
    kept = StackedSamples(*_leave_out(samples.rows, samples.offsets, is_rare))
    counts = np.where(supported, rows.accesses, 0)
    counts[rows.oov_rows] = rows.accesses[rows.oov_rows]
    shared = StackedRows.from_accesses(rows.tables, rows.table_offsets, counts, rows.row_bytes)
    left_out = replace(problem, rows=shared, read_samples=lambda: kept, read_contested=None)
    support = np.where(supported, (holders - 1) / np.maximum(holders, 1), 0.0)
    peeled = rank_by_peeling(left_out, support, MAX_PASSES, core)
    order = peeled.ranked_rows.to_rows()
    is_other = accesses > 0
    is_other[order] = False
    others = np.flatnonzero(is_other)
    density = _expect_accesses(problem, accesses, is_rare)[others] / rows.cost_bytes[others]
    others = others[np.argsort(-density, kind="stable")]
    # The loads bound the samples that were left out, not those of train, so they are not returned.
    return Ranking(rows.to_ranges(np.concatenate([order, others])), notes=peeled.notes)


def _expect_accesses(problem: Problem, accesses: Int64Array, is_rare: BoolArray) -> Floats:
    """Return the accesses to expect of each row, (rows,), from as many samples as train has.

    Those of rare rows are Good and Turing's estimate; others are expected to go on as in train.
    """
    rows = problem.rows
    expected = accesses.astype(np.float64)
    for begin, end in itertools.pairwise(rows.table_offsets.tolist()):
        own = slice(begin + 1, end)
        once, twice = (int(np.count_nonzero(accesses[own] == count)) for count in (1, 2))
        expected[own][is_rare[own]] = 2 * twice / max(once, 1)
    return expected


@kernel
def _leave_out(
    rows: Int32Array, offsets: Int64Array, is_left_out: BoolArray
) -> tuple[Int32Array, Int64Array]:
    """Return the rows and offsets of samples without some rows."""
    kept = np.empty_like(rows)
    kept_offsets = np.zeros_like(offsets)
    end = 0
    for sample in range(offsets.size - 1):
        for access in range(offsets[sample], offsets[sample + 1]):
            if not is_left_out[rows[access]]:
                kept[end] = rows[access]
                end += 1
        kept_offsets[sample + 1] = end
    return kept[:end].copy(), kept_offsets
