"""A finished data set as an object: to look at, to read, to verify, to encode new rows like it."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fae.commit.outputs import read_manifest
from fae.format.errors import ParameterError
from fae.format.manifest import SPLITS, TEMPERATURES, Manifest
from fae.storage.folder import Folder

if TYPE_CHECKING:
    import polars as pl

    from fae.dataset.encoder import Encoder
    from fae.dataset.verify import Verification
    from fae.reporting.report import Report


@dataclass(frozen=True)
class Split:
    """The rows of one split by temperature."""

    hot: int
    cold: int

    @property
    def rows(self) -> int:
        """Rows of both temperatures."""
        return self.hot + self.cold

    @property
    def hot_share(self) -> float | None:
        """The share of rows that touch hot embedding rows alone; None for an empty split."""
        return self.hot / self.rows if self.rows else None


class Dataset:
    """A finished data set in a directory or at a URL.

    `manifest` is its contract: features, tables, files, and how it came about.
    """

    def __init__(self, location: str | os.PathLike[str], manifest: Manifest | None = None) -> None:
        """Open the data set at `location`; DatasetError where none is finished there."""
        self.folder = Folder.of(os.fspath(location))
        self.manifest = manifest or read_manifest(self.folder)

    @property
    def location(self) -> str:
        """The directory's path, or the URL."""
        return str(self.folder)

    @property
    def splits(self) -> dict[str, Split]:
        """Hot and cold rows of train, valid and test."""
        return {
            name: Split(*(leaves[temperature].rows for temperature in TEMPERATURES))
            for name, leaves in self.manifest.splits.items()
        }

    def read(
        self, split: str = "train", temperature: str | None = None, columns: list[str] | None = None
    ) -> pl.DataFrame:
        """Read a split's rows: the hot ones, then the cold ones, each in their shuffled order.

        `temperature` is "hot" or "cold" to read only these, `columns` are the columns to read.
        Raises ParameterError for a name that is none of these.
        """
        import polars as pl

        from fae.storage.decoding import read_parquet

        chosen = TEMPERATURES if temperature is None else (temperature,)
        for what, name, known in (
            ("split", split, SPLITS),
            *(("temperature", name, TEMPERATURES) for name in chosen),
        ):
            if name not in known:
                raise ParameterError(f"{what} {name!r} is unknown: choose {' or '.join(known)}.")
        files = [file.path for name in chosen for file in self.manifest.splits[split][name].files]
        frames = []
        for file in files:
            with self.folder.read(file) as path:
                frames.append(read_parquet(path, columns, self.folder / file))
        return pl.concat(frames) if frames else self._empty(columns)

    def encoder(self, own_functions: bool = False) -> Encoder:
        """Return the encoder of new rows into this data set's features and ids.

        `own_functions` runs the functions that its schema names, which are code of a user's own.
        """
        from fae.dataset.encoder import Encoder

        return Encoder(self.folder, own_functions)

    def verify(self, threads: int | None = None) -> Verification:
        """Check every file against the manifest; see `faults` of the result."""
        from fae.dataset.verify import verify
        from fae.execution.executor import Executor

        return verify(self.folder, Executor(threads))

    def report(
        self,
        out: str | os.PathLike[str] = "report.html",
        *,
        runs: Sequence[str | os.PathLike[str]] = (),
        compare_rows: int = 1_000_000,
        seed: int = 0,
    ) -> Report:
        """Write an HTML page about this data set to `out`, its figures as PNGs beside it.

        `runs` are folders of runs trained on it, whose learning curves and speeds it shows.

        The rules that choose hot rows are compared on at most `compare_rows` training rows, drawn
        by `seed`. Needs the extra `report`.
        """
        from fae.reporting.report import write_report

        return write_report(
            self.folder.path,
            Path(out),
            runs=[Path(run) for run in runs],
            compare_rows=compare_rows,
            seed=seed,
        )

    def __repr__(self) -> str:
        splits = "".join(f"\n  {name:5} {text}" for name, text in self._lines())
        return f"Dataset({self.location!r}): {self._title()}{splits}"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td>{text}</td></tr>"
            for name, text in self._lines()
        )
        title = html.escape(f"{self.location}: {self._title()}")
        return f"<table><caption style='text-align:left'>{title}</caption>{rows}</table>"

    def _title(self) -> str:
        tables = self.manifest.tables
        rows = sum(table.rows for table in tables)
        hot = sum(table.hot_rows for table in tables)
        name = self.manifest.schema.get("name", "")
        return f"{name}, {len(tables)} tables, {rows:,} embedding rows, {hot:,} hot"

    def _lines(self) -> list[tuple[str, str]]:
        """Return each split's name and what to say of it."""
        known = self.manifest.preparation.get("known_hot_share", {})
        lines = []
        for name, split in self.splits.items():
            text = f"{split.rows:,} rows"
            if split.hot_share is not None:
                text += f", {split.hot_share:.1%} hot"
            if known.get(name) is not None:
                text += f" ({known[name]:.1%} of those with known values)"
            lines.append((name, text))
        return lines

    def _empty(self, columns: list[str] | None) -> pl.DataFrame:
        """Return no rows, with the columns of those that other leaves have."""
        for split in SPLITS:
            for temperature in TEMPERATURES:
                if self.manifest.splits[split][temperature].files:
                    return self.read(split, temperature, columns).clear()
        raise AssertionError("a data set has training rows")


def open_dataset(location: str | os.PathLike[str]) -> Dataset:
    """Open the finished data set in a directory or at a URL; DatasetError where there is none."""
    return Dataset(location)
