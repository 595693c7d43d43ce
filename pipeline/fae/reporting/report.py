"""Write a report: a page about a finished data set, and its figures as PNGs beside it."""

import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from fae.execution.executor import Executor
from fae.format.atomic_files import replace_file
from fae.format.errors import DatasetError, require
from fae.hotset.problem import Problem
from fae.reporting.comparison import Comparison, compare_rules
from fae.reporting.data import read_held_out_samples, read_rows, read_train_samples
from fae.reporting.facts import read_facts
from fae.reporting.figures import draw_comparison, draw_dataset
from fae.reporting.training import read_runs


@dataclass(frozen=True)
class Report:
    """A written report: the page, its figures, and how the rules compare."""

    page: Path
    figures: tuple[Path, ...]
    comparison: Comparison


def write_report(
    dataset: Path,
    out: Path,
    *,
    runs: Sequence[Path] = (),
    compare_rows: int = 1_000_000,
    seed: int = 0,
) -> Report:
    """Write the page `out` about the data set `dataset`, and its figures as `STEM-figures/*.png`.

    The rules are compared on at most `compare_rows` train samples, drawn by `seed`, and on as many
    held-out ones. `runs` are folders of runs trained on it. The same data set and runs give the
    same bytes. Raises DatasetError where one of them is absent or damaged, or where `out` would
    replace something that is not a report, and MissingExtraError where jinja2 or vl_convert is not
    installed.
    """
    for library in ("jinja2", "vl_convert"):
        require(library, extra="report", purpose="The report")
    from fae.reporting.page import render_page
    from fae.reporting.vega import draw_pictures

    page, folder = output_paths(dataset, out)
    trained = read_runs(runs)
    executor = Executor()
    facts = read_facts(dataset)
    leaves = sum(len(of_split) for of_split in facts.manifest.splits.values())
    with executor.track("read", len(facts.tables) + leaves) as end_step:
        rows = read_rows(dataset, facts, end_step)
        source = (dataset, facts, rows, compare_rows, seed, end_step)
        compared, samples = read_train_samples(*source)
        held_out = read_held_out_samples(*source)
    problem = Problem(
        compared,
        lambda: samples,
        facts.manifest.budget.bytes,
        seed=seed,
        all_accesses=None if samples.count == facts.rows("train") else rows.stacked.access_counts,
        track=executor.track,
        threads=executor.threads,
    )
    hot_rows, accesses = rows.hot_rows(facts.manifest), rows.stacked.accesses
    access_share = int(accesses[hot_rows].sum()) / max(int(accesses.sum()), 1)

    # Ranking leaves another thread time to draw: kernels hold no lock.
    with ThreadPoolExecutor(1, "draw") as artist:
        figures = draw_dataset(facts, rows.stacked, hot_rows, trained)
        drawn = artist.map(draw_pictures, figures)
        comparison = compare_rules(problem, held_out)
        compared_figures = draw_comparison(comparison)
        all_drawn = chain(drawn, artist.map(draw_pictures, compared_figures))
        figures += compared_figures
        pictures, pngs = {}, {}
        with executor.track("draw", len(figures) + 1) as end_step:
            for figure, picture in zip(figures, all_drawn, strict=True):
                pictures[figure.name], pngs[f"{figure.name}.png"] = picture
                end_step()
            text = render_page(facts, access_share, comparison, figures, pictures, trained)
            end_step()
    publish(page, text, folder, pngs)
    return Report(page, tuple(folder / name for name in pngs), comparison)


def output_paths(dataset: Path, out: Path) -> tuple[Path, Path]:
    """Return the paths of the page and of the folder of its figures.

    Raises DatasetError where one of them would replace something that is not a report, or would
    lie in the data set, whose manifest names all its files.
    """
    page = Path(os.path.abspath(out))  # noqa: PTH100 (resolve would follow links)
    folder = page.with_name(f"{page.stem}-figures")
    if page.resolve().is_relative_to(dataset.resolve()):
        raise DatasetError(f"{out} is inside the data set. Choose a path outside {dataset}.")
    if page == folder or page.is_dir():
        raise DatasetError(f"{out} is not a file name for a page. Choose one such as report.html.")
    if folder.exists() and not _has_only_figures(folder):
        raise DatasetError(
            f"{folder} contains more than figures, so it is not replaced. Move it away."
        )
    return page, folder


def _has_only_figures(folder: Path) -> bool:
    return folder.is_dir() and all(
        path.is_file() and path.suffix == ".png" for path in folder.iterdir()
    )


def publish(page: Path, text: str, folder: Path, figures: Mapping[str, bytes]) -> None:
    """Write the page and the figures (file name → bytes) beside their paths, then rename both.

    After an error nothing new is left, and what was there is unchanged.
    """
    page.parent.mkdir(parents=True, exist_ok=True)
    new_folder = folder.with_name(f"{folder.name}.partial")
    old_folder = folder.with_name(f"{folder.name}.old.partial")
    for remains in (new_folder, old_folder):
        shutil.rmtree(remains, ignore_errors=True)
    moved = False
    try:
        with replace_file(page) as new_page:
            new_page.write_text(text, encoding="utf-8")
            new_folder.mkdir()
            for name, data in figures.items():
                (new_folder / name).write_bytes(data)
            # A folder cannot replace another in one step: keep the old one until both have moved.
            if folder.exists():
                folder.rename(old_folder)
            new_folder.rename(folder)
            moved = True
    except BaseException:
        shutil.rmtree(folder if moved else new_folder, ignore_errors=True)
        if old_folder.exists():
            old_folder.rename(folder)
        raise
    shutil.rmtree(old_folder, ignore_errors=True)
