"""The report: a finished data set as one page of figures and tables, and the figures as PNGs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fae.reporting import bars, figures
from fae.reporting.canvas import canvas
from fae.reporting.comparison import Comparison, compare
from fae.reporting.facts import facts
from fae.reporting.page import page
from fae.reporting.publication import places, publish
from fae.reporting.stacked import tables, train_inputs

__all__ = ["Report", "report"]


@dataclass(frozen=True)
class Report:
    """A report as written: the page, its figures, and the rules compared on `compared.inputs`."""

    page: Path
    figures: tuple[Path, ...]
    compared: Comparison


def report(dataset: Path, out: Path, *, compare_rows: int = 1_000_000, seed: int = 0) -> Report:
    """Write the page `out` about the finished data set, and its figures as `STEM-figures/*.png`.

    The rules are compared on at most `compare_rows` train inputs, drawn by `seed`. The same data
    set gives the same bytes. Raises DatasetError where the data set is absent or damaged, or where
    something that is no report stands in the way.
    """
    out_page, folder = places(dataset, out)
    known = facts(dataset)
    stacked = tables(dataset, known)
    sample = train_inputs(dataset, known, stacked, compare_rows, seed)
    compared = compare(*sample, known.manifest.budget.bytes, seed)
    rows, hot = stacked.rows, stacked.hot(known.manifest)
    access_share = int(rows.accesses[hot].sum()) / max(int(rows.accesses.sum()), 1)
    with canvas():
        drawings = {
            one.name: one
            for one in (
                figures.skew(rows),
                figures.cumulative(rows, hot),
                figures.budgets(known),
                figures.rules(compared),
                bars.hot_rows(known),
                bars.out_of_vocabulary(known),
                bars.splits(known),
            )
        }
    text = page(known, rows, access_share, compared, drawings)
    pictures = {f"{name}.png": one.png for name, one in drawings.items()}
    publish(out_page, text, folder, pictures)
    return Report(out_page, tuple(folder / name for name in pictures), compared)
