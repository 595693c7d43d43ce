"""Preparations: small logs of several shapes, and the data set that each is to become."""

from __future__ import annotations

import gzip
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fae.synthetic import write_log
from faults.programs import FAE, Way, ran
from faults.visits import SCHEMA, visits
from tests.support.small_logs import digests

Digests = dict[str, str]


@dataclass(frozen=True)
class Case:
    """Logs to prepare, in order, and how; `digests` are of the plain preparation, at `plain`."""

    name: str
    schema: str
    logs: tuple[Path, ...]
    options: tuple[str, ...]
    plain: Path
    digests: Digests

    def prepare(
        self,
        place: Path,
        *more: str,
        logs: tuple[Path | str, ...] = (),
        out: Path | str = "out",
        way: Way | None = None,
    ) -> Digests:
        """The digests of what `fae prepare` makes, in the folder `place` unless `way` has another.

        `more` are further options; `logs` and `out` stand in place of the usual ones.
        """
        way = way or Way(place)
        arguments = ["prepare", *(logs or self.logs), "--schema", self.schema, *self.options]
        ran(FAE, *arguments, *more, "--out", out, way=way)
        made: Digests = digests(out if "://" in str(out) else way.folder / out)
        return made


def cases(seed: int, folder: Path, rows: int, names: Collection[str] = ()) -> Iterator[Case]:
    """The cases, or those of `names`: logs of `rows` in all, prepared plainly below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    schema = folder / "visits.yaml"
    schema.write_text(SCHEMA, encoding="utf-8")
    kinds = {"criteo": "criteo-kaggle", "visits": str(schema)}
    common = ("--hot-budget", "300KiB", "--seed", str(random.Random(seed).randrange(2**31)))
    made: dict[str, tuple[Path, ...]] = {}
    for name, options in (
        ("criteo", ""),
        ("visits", "--min-count item=2"),
        ("criteo by accesses", "--rule accesses --sample 0.3"),
        ("visits by accesses", "--rule accesses --valid 0.05 --test 1d"),
        ("criteo hashed", "--cold-ids hashed --cold-buckets 500"),
        ("visits hashed", "--cold-ids hashed --cold-buckets 77 --hot-share 0.6"),
    ):
        if names and name not in names:
            continue
        kind = name.split()[0]
        if kind not in made:
            made[kind] = logs_of(kind, seed, folder / f"{kind} logs", rows)
        plain = folder / name / "plain"
        plain.mkdir(parents=True)
        mine = common[2:] if "--hot-share" in options else common
        case = Case(name, kinds[kind], made[kind], (*mine, *options.split()), plain, {})
        yield replace(case, digests=case.prepare(plain, "--threads", "1", "--keep-work"))


def logs_of(kind: str, seed: int, folder: Path, rows: int) -> tuple[Path, ...]:
    """Three logs, in the order of their names, the second of which is packed."""
    folder.mkdir()
    paths = [folder / name for name in ("day_1.log", "day_2.log.gz", "day_3.log")]
    for day, path in enumerate(paths):
        if kind == "criteo":
            write_log("criteo", rows // 3, path, seed + day)
        else:
            text = visits(seed, day, rows // 3)
            path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return tuple(paths)
