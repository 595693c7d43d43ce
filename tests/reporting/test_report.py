"""A report has the same bytes twice, and is published whole or not at all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fae.dataset.verify import verify
from fae.execution.executor import Executor
from fae.format.errors import DatasetError, MissingExtraError, StorageError
from fae.reporting.comparison import CHOICES, RANKING_STEPS
from fae.reporting.report import Report, output_paths, write_report
from tests.support.report_pages import FIGURES, Page
from tests.support.shown_progress import ShownProgress
from tests.support.small_logs import Stages, digests, written


def test_the_same_data_set_gives_the_same_bytes(
    shop: Stages, shop_report: tuple[Page, Report], tmp_path: Path
) -> None:
    before = digests(shop.dataset)
    write_report(shop.dataset, tmp_path / "report.html")
    assert digests(tmp_path) == digests(shop_report[1].page.parent)
    assert digests(shop.dataset) == before


def test_the_figures_lie_beside_the_page(shop_report: tuple[Page, Report]) -> None:
    _, done = shop_report
    folder = done.page.parent
    assert sorted(path.name for path in folder.iterdir()) == ["report-figures", "report.html"]
    assert {path.name for path in (folder / "report-figures").iterdir()} == {
        f"{name}.png" for name in FIGURES
    }
    assert {path.stem for path in done.figures} == FIGURES
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n") for path in done.figures)


@pytest.mark.usefixtures("quick_pictures")
@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
def test_a_failure_leaves_what_was_there(
    shop: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    out = tmp_path / "report.html"
    if again:
        written(tmp_path, {"report.html": "former", "report-figures/rules.png": "former"})
    before = digests(tmp_path)

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match="No space left"):
        write_report(shop.dataset, out)
    assert digests(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == (
        {"report.html", "report-figures"} if again else set()
    )


def test_nothing_of_the_users_is_replaced(shop: Stages, tmp_path: Path) -> None:
    folder = tmp_path / "report-figures"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="more than figures"):
        write_report(shop.dataset, tmp_path / "report.html")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["notes.txt", "report-figures"]
    with pytest.raises(DatasetError, match="is not a file name for a page"):
        write_report(shop.dataset, folder)


def test_a_report_does_not_go_into_the_data_set(shop_copy: Path) -> None:
    with pytest.raises(DatasetError, match="is inside the data set"):
        write_report(shop_copy, shop_copy / "report.html")
    assert verify(shop_copy, Executor(1)).faults == ()


def test_the_figures_folder_is_named_for_the_page(shop: Stages, tmp_path: Path) -> None:
    page, folder = output_paths(shop.dataset, tmp_path / "a.b.html")
    assert (page.name, folder.name) == ("a.b.html", "a.b-figures")


@pytest.mark.usefixtures("quick_pictures")
def test_each_table_leaf_ranking_and_picture_moves_the_progress(
    shop: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = ShownProgress(monkeypatch)
    report = write_report(shop.dataset, tmp_path / "report.html")
    comparison = report.comparison
    rankings = [
        len(comparison.ranked_budgets.get(name, comparison.budgets))
        for name, choice in CHOICES.items()
        if choice.is_by_samples
    ]
    leaves = sum(map(len, shop.manifest.splits.values()))
    assert shown.steps() == {
        "read": len(shop.manifest.tables) + leaves,
        "compare": RANKING_STEPS * sum(rankings),
        "draw": len(report.figures) + 1,
    }


@pytest.mark.parametrize("library", ["vl_convert", "jinja2"])
def test_a_missing_library_is_named_with_the_extra_that_has_it(
    shop: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        MissingExtraError, match=rf"needs {library}.* pip install 'fae-recsys\[report\]'"
    ):
        write_report(shop.dataset, tmp_path / "report.html")
