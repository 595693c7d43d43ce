"""Reports written and taken apart, and train samples as plain sets."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from fae.reporting.report import Report, write_report

VOID = {"meta", "br", "img", "link", "input", "hr"}
FIGURES = {
    "access-skew", "cumulative-accesses", "hot-share-by-budget", "rules", "rules-held-out",
    "hot-rows", "out-of-vocabulary", "splits",
}  # fmt: skip


class Page(HTMLParser):
    """A parsed page: tags with attributes, tables as lists of rows, text; checks nesting."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.open: list[str] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
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
        if not {"style", "script"} & set(self.open):
            self.words.append(data)
        if "script" in self.open:
            self.scripts.append(data)
        if "caption" in self.open:
            self._caption += data
        elif {"td", "th"} & set(self.open):
            self._rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def table(self, caption: str) -> list[dict[str, str]]:
        """Return the rows of the table whose caption begins so, by its columns' names."""
        (rows,) = (rows for said, rows in self.tables.items() if said.startswith(caption))
        return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]

    def figure(self, card: str) -> str:
        """Return the number on a card."""
        place = self.words.index(card)
        return spaced(self.words[place + 1])


def write_page(dataset: Path, directory: Path, **options: Any) -> tuple[Page, Report]:
    done = write_report(dataset, directory / "report.html", **options)
    return Page(done.page), done


def spaced(text: str) -> str:
    return text.replace("\xa0", " ")


def as_sets(samples: Any) -> list[tuple[int, ...]]:
    bounds = zip(samples.offsets[:-1], samples.offsets[1:], strict=True)
    return [tuple(sorted(samples.rows[begin:end].tolist())) for begin, end in bounds]
