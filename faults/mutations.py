"""Damage data sets: `fae verify` must find it, and training must not learn from it unnoticed.

Each mutation damages a copy of a small finished data set in one way (`damage.py`). Verification
must name a damaged file. Training with `--verify` must stop at the first damaged file that it
reads, in one line; without, at wrong sizes, types and ids. If it does not stop, its results must be
those of the undamaged data set, unless the file has the right size and its checksum was not asked
for. Forged damage has matching checksums: the programs must end cleanly, but need not find it.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from fae.format.errors import FaeError
from faults import damage, forgery
from faults.damage import Damage, Target
from faults.outcome import Outcome
from tests.support.forked import CONTEXT

#: Kinds of damage and their weights: the more there is to try of one, the higher.
KINDS: dict[Callable[[Target], Damage], int] = {
    damage.flip: 4,
    damage.cut: 2,
    damage.lengthen: 1,
    damage.zero: 1,
    damage.drop: 1,
    damage.drop_folder: 1,
    damage.duplicate: 1,
    damage.swap: 2,
    damage.rename: 1,
    damage.directory: 1,
    damage.link: 1,
    damage.stray_link: 1,
    damage.mix: 2,
    forgery.edit: 3,
    forgery.respace: 1,
    forgery.forge_manifest: 3,
    forgery.forge_path: 1,
    forgery.forge_file: 3,
}
#: After this a check counts as hanging.
_TIMEOUT_SECONDS = 120.0
_OPTIONS = ["--bottom-mlp", "4", "--top-mlp", "4-1", "--batch-size", "8", "--device", "cpu"]
_OPTIONS += ["--threads", "1", "--epochs", "2", "--quiet"]


@dataclass(frozen=True)
class Ending:
    """How a check ended; `clear` if without a traceback, a hang or a crash.

    `message` has its complaints; `results` what a successful training has learned.
    """

    clear: bool
    message: str
    results: str = ""


def campaign(seed: int, amount: int, folder: Path) -> Outcome:
    """Damage `amount` copies of data sets, in ways drawn from `seed`."""
    outcome, passed = Outcome(), Counter[str]()
    wholes = [(whole, _twin(whole)) for whole in make_data_sets(folder)]
    with contextlib.closing(_Checks()) as checks:
        known = {whole: checks.train(whole, verify=False) for whole, _ in wholes}
        for number in range(amount):
            draw = random.Random(f"{seed}/{number}")
            whole, twin = draw.choice(wholes)
            copy = folder / "copy" / "DIR"
            shutil.copytree(whole, copy)
            # Each kind once, and then as often as its weight says.
            (kind,) = [*KINDS][number:][:1] or draw.choices([*KINDS], [*KINDS.values()])
            done = kind(Target(copy, twin, draw))
            verified = checks.verify(copy)
            trained = {verify: checks.train(copy, verify) for verify in (False, True)}
            wrong = judge(done, verified, trained, known[whole], _sized(copy), passed)
            shutil.rmtree(copy.parent)
            if wrong:
                lost = sum("undetected" in one for one in wrong)
                what = f"mutation {number} of seed {seed}, {whole.parent.name}, {done.what}: "
                outcome.fail(what + "; ".join(wrong), undetected=lost)
            else:
                outcome.survive()
    outcome.notes |= {f"mutations: {what}": f"{count:,}" for what, count in passed.items()}
    return outcome


def make_data_sets(folder: Path) -> list[Path]:
    """Make data sets with lists, hashed ids and many files, each with a twin of other rows."""
    from fae.dataset.shuffle import rounds
    from fae.logs.schema import Schema
    from tests.support.oracle import Options
    from tests.support.shop_days import SHOP_PARAMETERS, added, at_once
    from tests.support.small_logs import SHOP, SHOP_BUDGET, SHOP_LOG, parameters_of, written

    header, *lines = SHOP_LOG.splitlines(keepends=True)
    document = SHOP.document()
    plain = Schema.model_validate({**document, "columns": document["columns"][:-1]})
    hashed = parameters_of(Options(budget=SHOP_BUDGET, cold_buckets=2))
    made: list[Path] = []
    for name, seed in [("one", 0), ("two", 1)]:
        draw = random.Random(seed)
        mixed = draw.sample(lines, len(lines)) if seed else lines
        many = "".join(line for _ in range(9) for line in draw.sample(mixed, 20))
        several = (",".join(line.split(",")[:-1]) + "\n" for line in many.splitlines())
        logs = written(
            folder / name,
            {
                "first.csv": "".join([header, *mixed[:10]]),
                "second.csv": "".join([header, *mixed[10:]]),
                "several.csv": header.replace(",seen", "") + "".join(several),
            },
        )
        shop = folder / name / "shop" / "DIR"
        at_once(logs[:1], SHOP, shop, SHOP_PARAMETERS, keep_work=True)
        added(logs[1:2], SHOP, shop)
        shutil.rmtree(shop.with_name("DIR.work"))
        at_once(logs[:2], SHOP, folder / name / "hashed" / "DIR", hashed)
        sizes = rounds.ROWS_PER_FILE, rounds.ROWS_PER_ROW_GROUP
        rounds.ROWS_PER_FILE, rounds.ROWS_PER_ROW_GROUP = 20, 8
        try:
            at_once(logs[2:], plain, folder / name / "files" / "DIR", SHOP_PARAMETERS)
        finally:
            rounds.ROWS_PER_FILE, rounds.ROWS_PER_ROW_GROUP = sizes
        made = made or [folder / name / kind / "DIR" for kind in ("shop", "hashed", "files")]
    return made


def _twin(whole: Path) -> Path:
    return whole.parents[2] / "two" / whole.parent.name / "DIR"


def judge(
    done: Damage,
    verified: Ending,
    trained: Mapping[bool, Ending],
    whole: Ending,
    sized: bool,
    passed: Counter[str],
) -> list[str]:
    """Return what is wrong with how verification and training ended; count the rest in `passed`.

    `trained` has the endings with and without `--verify`, `whole` that of the undamaged data set;
    `sized` says that every file still has the size that the manifest states.
    """
    wrong = []
    if not verified.clear:
        wrong.append(f"verify: {verified.message}")
    elif not verified.message:
        if not done.forged or done.escapes:
            wrong.append("verify: undetected")
    elif not done.forged and not any(name in verified.message for name in done.files):
        wrong.append(f"verify does not name the file: {verified.message}")
    for verify, ending in trained.items():
        how = f"train{' --verify' * verify}"
        if not ending.clear:
            wrong.append(f"{how}: {ending.message}")
        elif ending.message:
            passed[f"{how} refused"] += 1
            named = any(name in ending.message for name in done.files)
            if not (named or done.forged):
                wrong.append(f"{how} does not name the file: {ending.message}")
        elif done.escapes and _read(done):
            wrong.append(f"{how}: undetected, it would read outside")
        elif ending.results == whole.results:
            passed[f"{how} had the results of the whole"] += 1
        elif done.forged or (sized and not verify):
            passed[f"{how} accepted what only a checksum or a signature shows"] += 1
        else:
            wrong.append(f"{how}: undetected, other results")
    return wrong


def _read(done: Damage) -> bool:
    """Return whether training reads what was damaged."""
    return any(name.startswith(("split=", "manifest", "_SUCCESS")) for name in done.files)


def _sized(copy: Path) -> bool:
    """Return whether every file has the size that the manifest states."""
    manifest = copy / "manifest.json"
    if not manifest.is_file():  # a link to /dev/zero has no end
        return False
    try:
        text = manifest.read_text(encoding="utf-8")
        leaves = [leaf for split in json.loads(text)["splits"].values() for leaf in split.values()]
        files = [file for leaf in leaves for file in leaf["files"]]
        return all((copy / file["path"]).stat().st_size == file["bytes"] for file in files)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


class _Checks:
    """Checks in a process of their own, which damage may crash or hang."""

    def __init__(self) -> None:
        self._pool = self._new()

    def verify(self, dataset: Path) -> Ending:
        """Verify a data set."""
        return self._checked(_verified, str(dataset), False)

    def train(self, dataset: Path, verify: bool) -> Ending:
        """Train on a data set."""
        return self._checked(_trained, str(dataset), verify)

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()

    def _checked(self, check: object, dataset: str, verify: bool) -> Ending:
        future = self._pool.submit(_ending, check, dataset, verify)
        try:
            return future.result(_TIMEOUT_SECONDS)
        except (BrokenProcessPool, TimeoutError) as error:
            for process in list(self._pool._processes.values()):
                process.kill()
            self._pool.shutdown(cancel_futures=True)
            self._pool = self._new()
            died = isinstance(error, BrokenProcessPool)
            return Ending(False, "the process died" if died else "it hangs")

    @staticmethod
    def _new() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, CONTEXT)


def _ending(check: object, dataset: str, verify: bool) -> Ending:
    """Run a check and return its ending, whatever it raises."""
    assert callable(check)
    try:
        ending: Ending = check(dataset, verify)
    except BaseException:
        return Ending(False, " | ".join(traceback.format_exc().splitlines()[-5:]))
    return ending


def _verified(dataset: str, _verify: bool) -> Ending:
    from fae.dataset.verify import verify
    from fae.execution.executor import Executor

    try:
        return Ending(True, "; ".join(verify(dataset, Executor(1)).faults))
    except FaeError as error:
        return Ending(True, str(error))


def _trained(dataset: str, verify: bool) -> Ending:
    from fae_trainer.__main__ import main

    run = Path(dataset).with_name("run")
    shutil.rmtree(run, ignore_errors=True)
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = main(["train", dataset, "--out", str(run), *_OPTIONS, *["--verify"] * verify])
    if code:
        text = said.getvalue()
        one_line = code == 1 and text.startswith("error: ") and text.count("\n") == 1
        return Ending(one_line, text.strip())
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    for timed in ("seconds", "samples_per_second"):
        del metrics[timed]
    return Ending(True, "", json.dumps(metrics) + (run / "curve.csv").read_text(encoding="utf-8"))
