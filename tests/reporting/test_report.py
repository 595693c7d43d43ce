"""The report: figures that are right, a page that is safe and whole, and the same bytes twice."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fae.dataset.verify import verify
from fae.execution.executor import Executor
from fae.format.errors import DatasetError
from fae.hotset.problem import Problem
from fae.hotset.problem_data import stack_rows, stack_samples
from fae.hotset.rules import RULES
from fae.logs.files import find_logs
from fae.reporting import Report, report
from fae.reporting.canvas import PALETTE
from fae.reporting.facts import facts
from fae.reporting.formats import count, escaped, plain, share, size
from fae.reporting.publication import places
from fae.reporting.sections import MEANING
from fae.reporting.stacked import tables, train_inputs
from fae.synthetic import write_log
from tests.support.oracle import Options
from tests.support.small_logs import (
    LABEL,
    SHOP,
    SHOP_BUDGET,
    SHOP_LOG,
    Stages,
    digests,
    edit_manifest,
    leaf_rows,
    schema_of,
    shop_stages,
    stages,
    written,
)

VOID = {"meta", "br", "img", "link", "input", "hr"}
FIGURES = {
    "access-skew", "cumulative-accesses", "hot-share-by-budget", "rules", "hot-rows",
    "out-of-vocabulary", "splits",
}  # fmt: skip


class Page(HTMLParser):
    """A page taken apart: tags with attributes, tables as lists of rows, text; nesting checked."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.open: list[str] = []
        self.words: list[str] = []
        self._caption, self._rows = "", []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._caption, self._rows = "", []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)
        if "caption" in self.open:
            self._caption += data
        elif {"td", "th"} & set(self.open):
            self._rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def table(self, caption: str) -> list[dict[str, str]]:
        """The lines of the table whose caption begins so, by its columns' names."""
        (rows,) = (rows for said, rows in self.tables.items() if said.startswith(caption))
        return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]

    def figure(self, card: str) -> str:
        """The number on a card."""
        place = self.words.index(card)
        return spaced(self.words[place + 1])


def reported(dataset: Path, directory: Path, **options: Any) -> tuple[Page, Report]:
    done = report(dataset, directory / "report.html", **options)
    return Page(done.page), done


def spaced(text: str) -> str:
    return text.replace("\xa0", " ")


@pytest.fixture(scope="module")
def shop_page(shop: Stages, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return reported(shop.dataset, tmp_path_factory.mktemp("report"))[0]


@pytest.fixture(scope="module")
def criteo_report(criteo: Stages, tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, Report]:
    return reported(criteo.dataset, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def criteo_page(criteo_report: tuple[Page, Report]) -> Page:
    return criteo_report[0]


@pytest.fixture(scope="module")
def criteo(tmp_path_factory: pytest.TempPathFactory) -> Stages:
    """Four thousand rows of 26 tables, folded and with rejects."""
    from fae.logs.schema import load_schema

    directory = tmp_path_factory.mktemp("criteo")
    log = directory / "log.tsv"
    write_log("criteo", 4_000, log, 0, lambda _: None)
    log.write_bytes(log.read_bytes() + b"bad\n1\t2\n")
    schema = load_schema("criteo-kaggle")
    options = Options(budget=100_000, min_count=(("", 2),))
    return stages(find_logs([str(log)], schema), schema, directory, options)


def test_the_key_figures_are_those_of_the_data_set(shop: Stages, shop_page: Page) -> None:
    leaves = leaf_rows(shop.dataset, shop.manifest, SHOP)
    hot, cold = len(leaves["train", "hot"]), len(leaves["train", "cold"])
    assert shop_page.figure("Inputs") == "20"
    assert shop_page.figure("Hot inputs in train") == f"{100 * hot / (hot + cold):.1f} %"
    # 16 train rows: cities 16 accesses of which Oslo 8, Rome 4; items 23, of which 7: 12, 5: 6.
    assert shop_page.figure("Accesses to hot rows") == f"{100 * (12 + 18) / (16 + 23):.1f} %"
    assert shop_page.figure("Hot rows") == f"{100 * 6 / 11:.1f} %"
    assert shop_page.figure("Budget used") == "100.0 %"
    assert "120 B of 120 B" in spaced(shop_page.text)


def test_the_share_of_accesses_is_the_manifests_where_all_inputs_were_counted(
    criteo: Stages, criteo_page: Page
) -> None:
    known = criteo.manifest.preparation["access_share"]
    assert criteo_page.figure("Accesses to hot rows") == spaced(share(known))


def test_the_tables_on_the_page_have_the_manifests_numbers(
    criteo: Stages, criteo_page: Page
) -> None:
    page = criteo_page
    manifest = criteo.manifest
    rows = page.table("Rows of each embedding table")
    assert [row["table"] for row in rows] == [table.name for table in manifest.tables]
    assert [row["hot rows"] for row in rows] == [f"{t.hot_rows:,}" for t in manifest.tables]
    for row in page.table("Inputs by split"):
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
    """Each column's share of id 0 by split, counted in the files."""
    shares: dict[str, dict[str, str]] = {}
    for split in ("train", "valid", "test"):
        frame = pl.read_parquet(made.dataset / f"split={split}", hive_partitioning=False)
        for feature in made.manifest.features.sparse:
            misses = (frame[feature.name] == 0).mean()
            assert isinstance(misses, float)
            shares.setdefault(feature.name, {})[split] = share(misses)
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


def test_the_rows_are_stacked_as_calibration_stacked_them(
    shop: Stages, criteo: Stages, tmp_path: Path
) -> None:
    for made, schema in ((shop, SHOP), (criteo, criteo.staging.schema)):
        right = stack_rows(made.frequencies, schema, made.manifest.embedding)
        inputs = stack_samples(made.staging, made.frequencies, right)
        known = facts(made.dataset)
        mine = tables(made.dataset, known)
        rows, sets = train_inputs(made.dataset, known, mine, 1_000_000, 0)
        for found in (mine.rows, rows):
            assert found.tables == right.tables
            for name in ("table_offsets", "accesses", "row_bytes"):
                np.testing.assert_array_equal(getattr(found, name), getattr(right, name))
        assert Counter(as_sets(sets)) == Counter(as_sets(inputs))


def as_sets(inputs: Any) -> list[tuple[int, ...]]:
    bounds = zip(inputs.offsets[:-1], inputs.offsets[1:], strict=True)
    return [tuple(sorted(inputs.rows[begin:end].tolist())) for begin, end in bounds]


def test_every_rule_is_compared_at_every_budget(
    criteo: Stages, criteo_report: tuple[Page, Report]
) -> None:
    page, done = criteo_report
    compared = done.compared
    assert set(compared.hot) == set(RULES) == set(MEANING)
    everything = sum(table.rows for table in criteo.manifest.tables) * (16 * 4 + 4)
    shares = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
    budgets = sorted({100_000, *(int(one * everything) for one in shares)})
    assert list(compared.budgets) == [one for one in budgets if one >= 26 * 68]
    assert compared.inputs == sum(one.rows for one in criteo.manifest.splits["train"].values())
    # The data set was made by `accesses`, from the same inputs and with the same budget.
    at = compared.budgets.index(100_000)
    made = criteo.manifest.preparation["hot_share"]["train"]
    assert compared.hot["accesses"][at] == made
    for place in range(len(budgets)):
        best = max(found[place] for found in compared.hot.values())
        assert best == compared.hot["inputs"][place]
        assert best <= (compared.bounds[place] or 1)
    lines = page.table("Share of the compared inputs")
    assert [row["budget"] for row in lines] == [size(one) for one in compared.budgets]
    assert lines[at]["accesses"] == share(made)


def test_the_compared_shares_are_right(shop: Stages, tmp_path: Path) -> None:
    """Against sets in plain Python; and no rule beats the best of all choices of rows."""
    _, done = reported(shop.dataset, tmp_path)
    schema = shop.staging.schema
    rows = stack_rows(shop.frequencies, schema, shop.manifest.embedding)
    given = stack_samples(shop.staging, shop.frequencies, rows)
    inputs = [set(one) for one in as_sets(given)]
    for place, budget in enumerate(done.compared.budgets):
        for name in ("accesses", "threshold", "per-table"):
            placed = (
                RULES[name](Problem(rows, lambda: given, budget)).ranked_rows.to_rows().tolist()
            )
            hot = set(placed[: budget // 20])
            right = sum(one <= hot for one in inputs) / 16
            assert done.compared.hot[name][place] == right
        spare = min(budget // 20 - 2, rows.seen_rows.size)
        choices = combinations(rows.seen_rows.tolist(), spare)
        best = max(sum(one <= set(choice) for one in inputs) for choice in choices) / 16
        assert done.compared.hot["inputs"][place] <= best <= (done.compared.bounds[place] or 1)


def test_a_sample_is_said_to_be_one_and_drawn_by_the_seed(criteo: Stages, tmp_path: Path) -> None:
    page, done = reported(criteo.dataset, tmp_path, compare_rows=500)
    assert 498 <= done.compared.inputs <= 500
    assert f"a random sample of {done.compared.inputs} of the 3,200 train inputs" in page.text
    known = facts(criteo.dataset)
    mine = tables(criteo.dataset, known)
    one, inputs = train_inputs(criteo.dataset, known, mine, 500, 0)
    two, _ = train_inputs(criteo.dataset, known, mine, 500, 1)
    assert one.accesses.sum() == 26 * inputs.count
    assert (one.accesses != two.accesses).any()
    counted = np.bincount(inputs.rows, minlength=one.accesses.size)
    counted[one.oov_rows] = one.accesses[one.oov_rows]
    np.testing.assert_array_equal(counted, one.accesses)


def test_the_page_asks_for_nothing_and_runs_nothing(criteo_report: tuple[Page, Report]) -> None:
    page, done = criteo_report
    text = done.page.read_text(encoding="utf-8")
    assert "://" not in text
    assert "@import" not in text
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "img"} == set()
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert all(one.startswith("#") for one in re.findall(r"url\(([^)]*)\)", text))


def test_links_lead_somewhere_and_ids_are_unique(criteo_report: tuple[Page, Report]) -> None:
    page, done = criteo_report
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert set(ids.values()) == {1}
    text = done.page.read_text(encoding="utf-8")
    targets = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', text)
    assert targets
    assert {one or other for one, other in targets} <= set(ids)


def test_who_does_not_see_the_figures_is_told_what_they_show(shop_page: Page) -> None:
    images = [attributes for _, attributes in shop_page.tags if attributes.get("role") == "img"]
    assert len(images) == len(FIGURES)
    assert all(len(image["aria-label"] or "") > 40 for image in images)
    assert [tag for tag, _ in shop_page.tags if re.fullmatch("h[1-6]", tag)] == ["h1"] + ["h2"] * 7
    captions = [tag for tag, _ in shop_page.tags].count("caption")
    assert captions == [tag for tag, _ in shop_page.tags].count("table")
    assert ("html", {"lang": "en"}) in shop_page.tags


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_stand_out_from_the_page(scheme: int) -> None:
    colours = {name: luminance(pair[scheme]) for name, pair in PALETTE.items()}
    words, marks = ("ink", "muted", "link"), ("hot", "cold", *(f"series-{i}" for i in range(1, 6)))
    for under in ("page", "panel"):
        for name in words:
            assert contrast(colours[name], colours[under]) >= 4.5, name
        for name in marks:
            assert contrast(colours[name], colours[under]) >= 3, name
    assert len({light for light, _ in PALETTE.values()}) == len(PALETTE)


def luminance(colour: str) -> float:
    """Relative luminance as the WCAG define it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


HOSTILE = "<script>alert(1)</script>\"'&amp;"


def test_what_a_log_and_a_schema_say_is_never_markup(tmp_path: Path) -> None:
    document = SHOP.model_dump(mode="json") | {"name": HOSTILE}
    log_name = "<img src=x onerror=alert(1)>.csv"
    bad = f"u,1,{HOSTILE},1,Oslo,7,\nv,1,\u202e<b>\x00,1,Oslo,7,\n"
    schema = type(SHOP).model_validate(document)
    paths = written(tmp_path, {log_name: SHOP_LOG + bad})
    made = stages(find_logs(paths, schema), schema, tmp_path, Options(budget=SHOP_BUDGET))
    edit_manifest(made.dataset, "budget", "rule", value=HOSTILE)
    edit_manifest(made.dataset, "preparation", "rejects", value={HOSTILE: 2})
    page, done = reported(made.dataset, tmp_path)
    assert {tag for tag, _ in page.tags} & {"script", "img", "b"} == set()
    assert HOSTILE in page.text
    texts = [row["text"] for row in page.table("The first rejected lines")]
    assert HOSTILE in texts[0]
    assert r"\u202e<b>\x00" in texts[1]
    assert page.table("The logs")[0]["log"] == log_name
    raw = done.page.read_text(encoding="utf-8")
    assert "<script" not in raw
    assert "\u202e" not in raw


def test_names_that_matplotlib_would_take_for_more_than_text_are_drawn(tmp_path: Path) -> None:
    names = ["_hidden", "a" * 80, "Ж 類 ", "x+-. "]
    columns = [LABEL, *({"name": name, "role": "sparse"} for name in names)]
    schema = schema_of(columns)
    lines = "".join(f"1,{i % 2},{i % 3},{i % 5},{i}\n" for i in range(40))
    paths = written(tmp_path, {"log.csv": lines})
    options = Options(budget=400, valid="0.2", test="0")
    made = stages(find_logs(paths, schema), schema, tmp_path, options)
    page, _ = reported(made.dataset, tmp_path)
    assert "_hidden" in page.text
    assert "empty" in page.text
    assert "No id was folded." in page.text


def test_other_shapes_of_data_sets(tmp_path: Path) -> None:
    """No dense feature, no valid or test split, tables of several dims, lists that share one."""
    multi = {"encoding": "integer", "multi": {"separator": " "}}
    columns = [
        LABEL,
        {"name": "item", "role": "sparse", "encoding": "integer", "dim": 8},
        {"name": "seen", "role": "sparse", "table": "item", "dim": 8, **multi},
        {"name": "tags", "role": "sparse", "encoding": "hex", "multi": {"separator": " "}},
    ]
    schema = schema_of(columns)
    lines = "".join(
        f"{i % 2},{i % 7},{i % 3} {i % 4},{' '.join(f'{x:x}' for x in range(8, 8 + i % 20))}\n"
        for i in range(60)
    )
    paths = written(tmp_path, {"log.csv": lines})
    options = Options(budget=500, valid="0", test="0", sample=0.5)
    made = stages(find_logs(paths, schema), schema, tmp_path, options)
    page, done = reported(made.dataset, tmp_path)
    splits = {row["split"]: row for row in page.table("Inputs by split")}
    assert (splits["test"]["inputs"], splits["test"]["hot share"]) == ("0", "–")
    assert "sample of 50.0 %" in spaced(page.text)
    right = stack_rows(made.frequencies, schema, made.manifest.embedding)
    known = facts(made.dataset)
    exact = np.concatenate(
        [[0, *made.frequencies.read_accesses(table)["accesses"]] for table in right.tables]
    )
    np.testing.assert_array_equal(tables(made.dataset, known).rows.accesses, exact)
    assert done.compared.inputs == 60


def test_the_curve_of_a_device_profile_has_its_speed_up(shop: Stages, tmp_path: Path) -> None:
    dataset = shop_stages(tmp_path).dataset
    curve = pl.read_csv(dataset / "curve.csv").with_columns(speedup=pl.lit(1.5))
    curve.write_csv(dataset / "curve.csv")
    page, _ = reported(dataset, tmp_path)
    assert {row["speed-up"] for row in page.table("Hot inputs by split")} == {"1.50×"}


def test_the_same_data_set_gives_the_same_bytes(shop: Stages, tmp_path: Path) -> None:
    for name in ("one", "two"):
        report(shop.dataset, tmp_path / name / "report.html")
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    before = digests(shop.dataset)
    report(shop.dataset, tmp_path / "one" / "report.html")
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert digests(shop.dataset) == before


def test_the_figures_lie_beside_the_page(shop: Stages, tmp_path: Path) -> None:
    _, done = reported(shop.dataset, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report-figures", "report.html"]
    assert {path.name for path in (tmp_path / "report-figures").iterdir()} == {
        f"{name}.png" for name in FIGURES
    }
    assert {path.stem for path in done.figures} == FIGURES
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n") for path in done.figures)


@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
def test_a_failure_leaves_what_was_there(
    shop: Stages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    out = tmp_path / "report.html"
    if again:
        report(shop.dataset, out)
        (tmp_path / "report-figures" / "rules.png").write_bytes(b"the last one")
    before = digests(tmp_path)

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        report(shop.dataset, out)
    assert digests(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == (
        {"report.html", "report-figures"} if again else set()
    )


def test_nothing_of_the_users_is_replaced(shop: Stages, tmp_path: Path) -> None:
    folder = tmp_path / "report-figures"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="more than figures"):
        report(shop.dataset, tmp_path / "report.html")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["notes.txt", "report-figures"]
    with pytest.raises(DatasetError, match="cannot be a page"):
        report(shop.dataset, folder)


def test_a_report_does_not_go_into_the_data_set(shop_copy: Path) -> None:
    with pytest.raises(DatasetError, match="lies in the data set"):
        report(shop_copy, shop_copy / "report.html")
    assert verify(shop_copy, Executor(1)).faults == ()


def test_what_is_no_data_set_or_a_damaged_one_is_refused(shop_copy: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a finished data set"):
        report(tmp_path / "nothing", tmp_path / "report.html")
    (shop_copy / "curve.csv").unlink()
    with pytest.raises(DatasetError, match="does not tell how it was prepared"):
        report(shop_copy, tmp_path / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset"]


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("preparation", "logs", 0, "rows"), "many"),
        (("preparation", "tables", 0, "name"), "other"),
        (("preparation", "tables", 0, "columns", "city"), {}),
        (("preparation", "sample"), None),
        (("schema", "columns"), []),
        (("budget", "bytes"), 123_456),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    shop_copy: Path, tmp_path: Path, keys: tuple[str | int, ...], value: Any
) -> None:
    edit_manifest(shop_copy, *keys, value=value)
    with pytest.raises(DatasetError, match=r"does not tell how it was prepared \(.+\)"):
        report(shop_copy, tmp_path / "report.html")


@pytest.mark.parametrize("column", ["id", "accesses"])
def test_a_damaged_vocabulary_is_refused(shop_copy: Path, tmp_path: Path, column: str) -> None:
    path = shop_copy / "vocabulary" / "city.parquet"
    frame = pl.read_parquet(path)
    changed = frame.with_columns(pl.col("id") + 1) if column == "id" else frame.drop("accesses")
    changed.write_parquet(path)
    with pytest.raises(DatasetError, match=r"city\.parquet"):
        report(shop_copy, tmp_path / "report.html")


def test_ids_outside_their_table_are_refused(shop_copy: Path, tmp_path: Path) -> None:
    path = next((shop_copy / "split=train" / "temperature=hot").iterdir())
    frame = pl.read_parquet(path).with_columns(city=pl.lit(99, dtype=pl.Int32()))
    frame.write_parquet(path)
    with pytest.raises(DatasetError, match="'city' has ids outside its table"):
        report(shop_copy, tmp_path / "report.html")


def test_numbers_are_written_for_people() -> None:
    assert count(1234567) == "1,234,567"
    assert [spaced(share(x)) for x in (0, 1e-6, 0.123, 0.9999, 1)] == [
        "0.0 %", "< 0.1 %", "12.3 %", "> 99.9 %", "100.0 %",
    ]  # fmt: skip
    assert share(None) == "–"
    assert spaced(size(4 << 20)) == "4.00 MiB"


def test_text_is_made_safe_and_short() -> None:
    assert plain("a\tb\x00\u202e\ud800é") == r"a\tb\x00\u202e\ud800é"
    assert plain("x" * 100) == "x" * 59 + "…"
    assert len(plain("\x00" * 100)) <= 60
    assert escaped("<a href='x'>&\"") == "&lt;a href=&#x27;x&#x27;&gt;&amp;&quot;"


def test_the_figures_folder_is_named_for_the_page(shop: Stages, tmp_path: Path) -> None:
    page, folder = places(shop.dataset, tmp_path / "a.b.html")
    assert (page.name, folder.name) == ("a.b.html", "a.b-figures")
