"""Two data sets and their reports, made once, and reports whose pictures are quick."""

from __future__ import annotations

import pytest

from fae.logs.files import find_logs
from fae.logs.schema_files import load_schema
from fae.reporting import vega
from fae.reporting.report import Report
from fae.synthetic.log import write_log
from tests.support.oracle import Options
from tests.support.report_pages import Page, write_page
from tests.support.small_logs import Stages, stages


@pytest.fixture(scope="session")
def criteo(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """Return a data set of 4,000 rows and 26 tables, with folded ids and rejects."""
    directory = tmp_path_factory.mktemp("criteo")
    log = directory / "log.tsv"
    write_log("criteo", 4_000, log, 0, lambda _: None)
    log.write_bytes(log.read_bytes() + b"bad\n1\t2\n")
    schema = load_schema("criteo-kaggle")
    options = Options(budget=100_000, min_count=(("", 2),))
    return stages(find_logs([str(log)], schema), schema, directory, options)


@pytest.fixture(scope="session")
def criteo_report(criteo: Stages, tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, Report]:
    return write_page(criteo.dataset, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def shop_report(shop: Stages, tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, Report]:
    return write_page(shop.dataset, tmp_path_factory.mktemp("report"))


@pytest.fixture
def quick_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing, where a test looks at other parts of a report."""
    monkeypatch.setattr(vega, "draw_pictures", lambda _: ("<svg></svg>", b"\x89PNG\r\n"))
