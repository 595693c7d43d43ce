"""Damage to data sets: each kind once, and that the campaign reports what is missed."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.damage import Damage, Target
from faults.mutations import KINDS, Ending, campaign, judge
from tests.support.small_logs import Stages


def test_each_kind_of_damage_is_found_and_never_learned_from(tmp_path: Path) -> None:
    found = campaign(20_26, len(KINDS), tmp_path)
    assert found.failures == []
    assert (found.faults, found.survived, found.undetected) == (len(KINDS), len(KINDS), 0)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_of_damage_changes_the_data_set(
    shop_copy: Path, shop: Stages, tmp_path: Path, kind: Callable[[Target], Damage]
) -> None:
    other = Path(shutil.copytree(shop.dataset, tmp_path / "other"))
    for path in other.rglob("*.parquet"):
        path.write_bytes(path.read_bytes() + b"x")
    before = contents(shop_copy)
    done = kind(Target(shop_copy, other, random.Random(5)))
    assert contents(shop_copy) != before
    assert done.files


def contents(folder: Path) -> dict[str, bytes | str]:
    """Return what is at each path: a file's bytes, a link's target, nothing for a folder."""
    found: dict[str, bytes | str] = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[str(path)] = str(path.readlink())
        else:
            found[str(path)] = path.read_bytes() if path.is_file() else ""
    return found


NAMED, WELL = Ending(True, "error: city is damaged"), Ending(True, "", "learned")
SILENT = Ending(True, "")
FLIPPED = Damage("a bit flipped", ("city",))


@pytest.mark.parametrize(
    ("verified", "trained", "done", "wrong"),
    [
        (NAMED, NAMED, FLIPPED, ""),
        (NAMED, WELL, FLIPPED, ""),
        (SILENT, NAMED, FLIPPED, "verify: undetected"),
        (Ending(True, "error: damaged"), NAMED, FLIPPED, "verify does not name the file"),
        (Ending(False, "Traceback"), NAMED, FLIPPED, "verify: Traceback"),
        (NAMED, Ending(False, "it hangs"), FLIPPED, "train: it hangs"),
        (NAMED, Ending(True, "", "other"), FLIPPED, "train --verify: undetected, other results"),
        (SILENT, Ending(True, "", "other"), Damage("forged", ("city",), forged=True), ""),
        (SILENT, WELL, Damage("led out", ("manifest.json",), forged=True, escapes=True), "outside"),
    ],
)
def test_missed_damage_is_a_failure(
    verified: Ending, trained: Ending, done: Damage, wrong: str
) -> None:
    endings = {False: trained, True: trained}
    found = judge(done, verified, endings, WELL, True, Counter())
    assert wrong in "; ".join(found)
    assert bool(found) == bool(wrong)
