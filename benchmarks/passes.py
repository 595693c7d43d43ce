"""What further passes of peeling are worth: hot share and bound by the number of passes.

    python benchmarks/passes.py KIND=LOG ... [--work DIR]

At 10 % and 20 % of all rows' bytes, on the train inputs. The first pass is plain peeling. The last
column refills the bytes of rows that serve no hot input with rows that complete inputs by
themselves, after the last pass.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from hot_set import problem_of, profiled

from fae.hotset.problem import Problem, Ranking, bound_worth, count_affordable
from fae.hotset.rules import peeling
from fae.hotset.rules.peeling import measure_worth, rank_by_peeling

PASSES = (1, 2, 3, 5, 10, 20, 50, 100)


def after(passes: int, problem: Problem) -> Ranking:
    """Return the ranking after this many passes, without stopping early."""
    peeling.MIN_PASSES = peeling.MAX_PASSES = passes
    return rank_by_peeling(problem)


def refilled(problem: Problem, ranking: Ranking) -> int:
    """Wholly hot inputs after freed bytes have gone to the rows that complete the most inputs."""
    rows, given = problem.rows, problem.read_samples()
    hot = np.zeros(rows.count, dtype=np.bool_)
    bought = count_affordable(rows, ranking.ranked_rows, problem.budget_bytes)
    hot[ranking.ranked_rows.head(bought).to_rows()] = True
    owner = np.repeat(np.arange(given.count), np.diff(given.offsets))
    for _ in range(10):
        missing = np.bincount(owner[~hot[given.rows]], minlength=given.count)
        whole = missing == 0
        used = np.zeros_like(hot)
        used[given.rows[whole[owner]]] = True
        used[rows.oov_rows] = True
        single = given.rows[(missing[owner] == 1) & ~hot[given.rows]]
        gain = np.bincount(single, minlength=hot.size)
        free = problem.budget_bytes - int(rows.cost_bytes[used].sum())
        candidates = np.argsort(-gain / rows.cost_bytes, kind="stable")
        candidates = candidates[(gain[candidates] > 0) & ~used[candidates]]
        fits = np.cumsum(rows.cost_bytes[candidates]) <= free
        hot = used
        hot[candidates[fits]] = True
    missing = np.bincount(owner[~hot[given.rows]], minlength=given.count)
    return int((missing == 0).sum())


def main() -> None:
    """Print a line for each number of passes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="+", metavar="KIND=PATH")
    parser.add_argument("--passes", type=int, nargs="*", default=PASSES)
    parser.add_argument("--work", type=Path, default=Path("work/benchmark"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for one in options.logs:
        kind, _, path = one.partition("=")
        staging, frequencies, _, _ = profiled(kind, Path(path), options.work)
        for share in (0.1, 0.2):
            problem = problem_of(staging, frequencies, share)
            given = problem.read_samples()
            after(1, problem)
            print(f"\n{path.rsplit('/', 1)[-1]}, {share:.0%} of the bytes")
            print("passes   hot share       bound     refilled    seconds")
            for passes in options.passes:
                begin = time.perf_counter()
                ranking = after(passes, problem)
                seconds = time.perf_counter() - begin
                reached = measure_worth(problem, given, ranking.ranked_rows) / given.count
                loads = ranking.loads
                assert loads is not None
                most = bound_worth(problem.rows, loads, np.array([problem.budget_bytes]))[0]
                more = refilled(problem, ranking) / given.count
                print(
                    f"{passes:6} {reached:11.4f} {most / given.count:11.4f} {more:12.4f} "
                    f"{seconds:10.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
