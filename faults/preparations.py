"""Cases to prepare in many ways: small logs of several kinds, and their data sets."""

from __future__ import annotations

import gzip
import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from fae.synthetic.log import write_log
from faults.programs import FAE, Launch, run_program
from faults.visits import SCHEMA, visits
from tests.support.small_logs import digests

Digests = dict[str, str]


@dataclass(frozen=True)
class Case:
    """Logs to prepare in order, with options, and the plain preparation with its digests."""

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
        launch: Launch | None = None,
    ) -> Digests:
        """Run `fae prepare` in the folder `place`, or as `launch` says, and return the digests.

        `more` are further options; `logs` and `out` replace the usual ones.
        """
        launch = launch or Launch(place)
        arguments = ["prepare", *(logs or self.logs), "--schema", self.schema, *self.options]
        run_program(FAE, *arguments, *more, "--out", out, launch=launch)
        made: Digests = digests(out if "://" in str(out) else launch.folder / out)
        return made


def make_cases(seed: int, folder: Path, rows: int, names: Collection[str] = ()) -> Iterator[Case]:
    """Yield the cases, or those of `names`, of `rows` rows each, prepared plainly in `folder`."""
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
            made[kind] = write_logs(kind, seed, folder / f"{kind} logs", rows)
        plain = folder / name / "plain"
        plain.mkdir(parents=True)
        mine = common[2:] if "--hot-share" in options else common
        case = Case(name, kinds[kind], made[kind], (*mine, *options.split()), plain, {})
        yield replace(case, digests=case.prepare(plain, "--threads", "1", "--keep-work"))


def write_logs(kind: str, seed: int, folder: Path, rows: int) -> tuple[Path, ...]:
    """Write three logs, the second of them compressed, and return their paths in order."""
    folder.mkdir()
    paths = [folder / name for name in ("day_1.log", "day_2.log.gz", "day_3.log")]
    for day, path in enumerate(paths):
        if kind == "criteo":
            write_log("criteo", rows // 3, path, seed + day)
        else:
            text = visits(seed, day, rows // 3)
            path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return tuple(paths)
