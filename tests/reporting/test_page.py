"""The page shows the data set's numbers, escapes what it shows, and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from fae.logs.files import find_logs
from fae.reporting.report import Report
from fae.reporting.style import format_share
from tests.support.oracle import Options
from tests.support.report_pages import FIGURES, Page, spaced, write_page
from tests.support.small_logs import (
    SHOP,
    SHOP_BUDGET,
    SHOP_LOG,
    Stages,
    edit_manifest,
    leaf_rows,
    stages,
    written,
)

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def shop_page(shop_report: tuple[Page, Report]) -> Page:
    return shop_report[0]


@pytest.fixture(scope="module")
def criteo_page(criteo_report: tuple[Page, Report]) -> Page:
    return criteo_report[0]


def test_the_key_figures_are_those_of_the_data_set(shop: Stages, shop_page: Page) -> None:
    leaves = leaf_rows(shop.dataset, shop.manifest, SHOP)
    hot, cold = len(leaves["train", "hot"]), len(leaves["train", "cold"])
    assert shop_page.figure("Samples") == "20"
    assert shop_page.figure("Hot samples in train") == f"{100 * hot / (hot + cold):.1f} %"
    # 16 train rows: cities 16 accesses of which Oslo 8, Rome 4; items 23, of which 7: 12, 5: 6.
    assert shop_page.figure("Accesses to hot rows") == f"{100 * (12 + 18) / (16 + 23):.1f} %"
    assert shop_page.figure("Hot rows") == f"{100 * 6 / 11:.1f} %"
    assert shop_page.figure("Budget used") == "100.0 %"
    assert "120 B of 120 B" in spaced(shop_page.text)


def test_the_share_of_accesses_is_the_manifests_where_all_samples_were_counted(
    criteo: Stages, criteo_page: Page
) -> None:
    known = criteo.manifest.preparation["access_share"]
    assert criteo_page.figure("Accesses to hot rows") == spaced(format_share(known))


def test_the_tables_on_the_page_have_the_manifests_numbers(
    criteo: Stages, criteo_page: Page
) -> None:
    page = criteo_page
    manifest = criteo.manifest
    rows = page.table("Rows of each embedding table")
    assert [row["table"] for row in rows] == [table.name for table in manifest.tables]
    assert [row["hot rows"] for row in rows] == [f"{t.hot_rows:,}" for t in manifest.tables]
    for row in page.table("Samples by split"):
        leaves = manifest.splits[row["split"]]
        assert (row["hot"], row["cold"]) == (
            f"{leaves['hot'].rows:,}",
            f"{leaves['cold'].rows:,}",
        )
    found = {row["column"]: row for row in page.table("Share of accesses out of vocabulary")}
    for name, splits in leaf_misses(criteo).items():
        assert {split: found[name][split] for split in splits} == splits
    folded = page.table("Ids folded")
    told = [t for t in manifest.preparation["tables"] if t["folded_ids"]]
    assert [row["folded ids"] for row in folded] == [f"{t['folded_ids']:,}" for t in told]


def leaf_misses(made: Stages) -> dict[str, dict[str, str]]:
    """Return each column's share of id 0 by split, counted in the files."""
    shares: dict[str, dict[str, str]] = {}
    for split in ("train", "valid", "test"):
        frame = pl.read_parquet(made.dataset / f"split={split}", hive_partitioning=False)
        for feature in made.manifest.features.sparse:
            misses = (frame[feature.name] == 0).mean()
            assert isinstance(misses, float)
            shares.setdefault(feature.name, {})[split] = format_share(misses)
    return shares


def test_rejects_are_counted_and_shown(criteo_page: Page) -> None:
    page = criteo_page
    assert {row["reason"]: row["lines"] for row in page.table("Rejected lines")} == {
        "1 fields, not 40": "1",
        "2 fields, not 40": "1",
    }
    examples = page.table("The first rejected lines")
    assert [(row["line"], row["text"]) for row in examples] == [
        ("4,001", "bad"),
        ("4,002", r"1\t2"),
    ]
    assert page.table("The logs")[0]["lines"] == "4,002"


def test_the_page_loads_nothing_and_runs_its_own_script_alone(
    criteo_report: tuple[Page, Report],
) -> None:
    page, report = criteo_report
    text = report.page.read_text(encoding="utf-8")
    assert len(text) < 1_900_000
    markup = re.sub("<script.*?</script>", "", text, flags=re.DOTALL)
    assert "://" not in markup
    assert "@import" not in markup
    assert {tag for tag, _ in page.tags} & {"link", "iframe", "object", "img"} == set()
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "charts"}, {}]
    digest = base64.b64encode(hashlib.sha256(page.scripts[-1].encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert policy in [attributes.get("content") for tag, attributes in page.tags if tag == "meta"]
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert all(one.startswith("#") for one in re.findall(r"url\(([^)]*)\)", markup))


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_a_browser_draws_the_charts_without_a_request_or_an_error(
    criteo_report: tuple[Page, Report], tmp_path: Path
) -> None:
    """The page's policy makes the console tell of each request."""
    assert BROWSER
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    options += [f"--user-data-dir={tmp_path}", "--enable-logging=stderr", "--dump-dom"]
    address = criteo_report[1].page.as_uri()
    command = [BROWSER, *options, "--virtual-time-budget=10000", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    charts = re.findall(r'<div data-chart="([^"]*)"[^>]*><div class="chart[^>]*><svg', done.stdout)
    assert set(charts) == FIGURES
    assert 'class="picture"' not in done.stdout


def test_links_lead_somewhere_and_ids_are_unique(criteo_report: tuple[Page, Report]) -> None:
    page, report = criteo_report
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert set(ids.values()) == {1}
    text = report.page.read_text(encoding="utf-8").partition("<script")[0]
    targets = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', text)
    assert targets
    assert {one or other for one, other in targets} <= set(ids)


def test_figures_and_tables_have_texts_for_screen_readers(shop_page: Page) -> None:
    images = [attributes for _, attributes in shop_page.tags if attributes.get("role") == "img"]
    assert len(images) == len(FIGURES)
    assert all(len(image["aria-label"] or "") > 40 for image in images)
    assert [tag for tag, _ in shop_page.tags if re.fullmatch("h[1-6]", tag)] == ["h1"] + ["h2"] * 7
    captions = [tag for tag, _ in shop_page.tags].count("caption")
    assert captions == [tag for tag, _ in shop_page.tags].count("table")
    assert ("html", {"lang": "en"}) in shop_page.tags


HOSTILE = "<script>alert(1)</script>\"'&amp;"


def test_texts_of_a_log_or_a_schema_are_never_markup(tmp_path: Path) -> None:
    document = SHOP.model_dump(mode="json") | {"name": HOSTILE}
    log_name = "<img src=x onerror=alert(1)>.csv"
    bad = f"u,1,{HOSTILE},1,Oslo,7,\nv,1,\u202e<b>\x00,1,Oslo,7,\n"
    schema = type(SHOP).model_validate(document)
    paths = written(tmp_path, {log_name: SHOP_LOG + bad})
    made = stages(find_logs(paths, schema), schema, tmp_path, Options(budget=SHOP_BUDGET))
    edit_manifest(made.dataset, "budget", "rule", value=HOSTILE)
    edit_manifest(made.dataset, "preparation", "rejects", value={HOSTILE: 2})
    page, report = write_page(made.dataset, tmp_path)
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert {tag for tag, _ in page.tags} & {"img", "b"} == set()
    assert HOSTILE in page.text
    texts = [row["text"] for row in page.table("The first rejected lines")]
    assert HOSTILE in texts[0]
    assert r"\u202e<b>\x00" in texts[1]
    assert page.table("The logs")[0]["log"] == log_name
    raw = report.page.read_text(encoding="utf-8")
    assert raw.count("<script") == raw.count("</script") == 2
    assert "\u202e" not in raw


@pytest.mark.usefixtures("quick_pictures")
def test_the_curve_of_a_device_profile_has_its_speed_up(shop_copy: Path, tmp_path: Path) -> None:
    curve = pl.read_csv(shop_copy / "curve.csv").with_columns(speedup=pl.lit(1.5))
    curve.write_csv(shop_copy / "curve.csv")
    page, _ = write_page(shop_copy, tmp_path)
    assert {row["speed-up"] for row in page.table("Hot samples by split")} == {"1.50×"}
