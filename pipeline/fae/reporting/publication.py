"""Publication: the page and its figures appear together, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from fae.format.errors import DatasetError


def places(dataset: Path, out: Path) -> tuple[Path, Path]:
    """Where the page and the folder of its figures go.

    Raises DatasetError where one of them would replace something that no report wrote, or where
    they would lie in the data set, all of whose files its manifest names.
    """
    page = Path(os.path.abspath(out))  # noqa: PTH100 (resolve would follow links)
    folder = page.with_name(f"{page.stem}-figures")
    if page.resolve().is_relative_to(dataset.resolve()):
        raise DatasetError(f"{out} lies in the data set. Choose a place outside {dataset}.")
    if page == folder or page.is_dir():
        raise DatasetError(f"{out} cannot be a page. Choose a file such as report.html.")
    if folder.exists() and not _only_figures(folder):
        raise DatasetError(f"{folder} holds more than figures; it is not replaced. Move it away.")
    return page, folder


def _only_figures(folder: Path) -> bool:
    return folder.is_dir() and all(
        one.is_file() and one.suffix == ".png" for one in folder.iterdir()
    )


def publish(page: Path, text: str, folder: Path, figures: Mapping[str, bytes]) -> None:
    """Write the page and the figures (file name → bytes) beside their places, then rename both.

    On an error nothing is left of the new, and what was there stays as it was.
    """
    page.parent.mkdir(parents=True, exist_ok=True)
    new_page, new_folder, old_folder = (
        one.with_name(f"{one.name}.{kind}")
        for one, kind in ((page, "partial"), (folder, "partial"), (folder, "old.partial"))
    )
    for left_over in (new_folder, old_folder):
        shutil.rmtree(left_over, ignore_errors=True)
    moved = False
    try:
        new_folder.mkdir()
        for name, data in figures.items():
            (new_folder / name).write_bytes(data)
        new_page.write_text(text, encoding="utf-8")
        if folder.exists():
            folder.rename(old_folder)
        new_folder.rename(folder)
        moved = True
        new_page.replace(page)
    except BaseException:
        new_page.unlink(missing_ok=True)
        shutil.rmtree(folder if moved else new_folder, ignore_errors=True)
        if old_folder.exists():
            old_folder.rename(folder)
        raise
    shutil.rmtree(old_folder, ignore_errors=True)
