"""Documents to fuzz their readers with: schemas, options, and every JSON file that is read back."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any

import yaml
from rich.console import Console

from fae.cli import printing
from fae.commit.lock import lock_output
from fae.commit.task_log import make_steps, perform_step, read_finished
from fae.dataset.parameters import PartitionParameters
from fae.dataset.verify import verify
from fae.execution.executor import Executor
from fae.format.errors import FaeError, SchemaError
from fae.format.manifest import Manifest
from fae.format.units import parse_bytes
from fae.hotset.device_profile import DeviceProfile
from fae.hotset.hot_set import HotSet
from fae.hotset.parameters import CalibrateParameters
from fae.ingestion.parameters import IngestParameters
from fae.ingestion.staging import Staging
from fae.logs.schema import list_presets, parse_schema
from fae.preparation import PreparationParameters
from fae.profiling.frequencies import Frequencies
from fae.profiling.parameters import ProfileParameters, parse_min_counts
from fae.storage.folder import Folder
from faults.fuzzed_logs import check_alike
from faults.mutators import VALUES, edited, mutated
from faults.trials import Trial, WrongError
from tests.support.shop_days import SHOP_PARAMETERS, added, at_once, shop_days
from tests.support.small_logs import SHOP, shop_stages

#: Texts that an option may be given, next to those of VALUES.
_OPTIONS = (
    "0.1", "0", "1d", "0d", "999999999999999999999d", "-1d", "1", "1.5", "nan", "inf", "1e-400",
    "50%", "120", "120B", "1KiB", "1,5GiB", "1e3", "-1", "0x10", "9" * 400 + "PiB", "9" * 5000,
    "1Q", "10", "item=2", "item=", "=3", "none=1", "item=99999999999999999999", "²", "１", "hashed",
    "exact", "inputs", "accesses", "threshold", "per-table", "time", "float16", "adam", "sgd",
)  # fmt: skip


class Documents:
    """Trials of documents; those of data sets are copies of ones made once, in `folder`."""

    def __init__(self, folder: Path) -> None:
        if folder.exists():
            shutil.rmtree(folder)
        stages = shop_stages(folder / "stages")
        paths = shop_days(folder)
        at_once(paths[:1], SHOP, folder / "added", SHOP_PARAMETERS, keep_work=True)
        added(paths[1:], SHOP, folder / "added", keep_work=True)
        root = folder / "stages"
        self._folder = folder
        self._files: dict[str, tuple[Path, str, Callable[[Path], None]]] = {
            "manifest": (stages.dataset, "manifest.json", _read_dataset),
            "staging": (root / "staging", "staging.json", _read_staging),
            "frequencies": (root / "frequencies", "frequencies.json", _read_frequencies),
            "hot set": (root / "hot_set", "hot_set.json", _read_hot_set),
            "addition": (folder / "added", "drift.json", _read_dataset),
            "rejects": (folder / "added.work" / "staging", "rejects/rejects.jsonl", _read_rejects),
        }
        self._schemas = [
            (resources.files("fae.logs.presets") / f"{name}.yaml").read_text("utf-8")
            for name in list_presets()
        ]
        self._schemas.append(yaml.safe_dump(SHOP.document(), allow_unicode=True))

    def trial(self, random: Random) -> Trial:
        """One document, mutated as text or as data."""
        what = random.choice((*("schema", "options") * 3, "small", *self._files))
        times = random.choice((1, 1, 2, 4))
        if what == "schema":
            text = random.choice(self._schemas)
            if random.random() < 0.5:
                document = edited(random, yaml.safe_load(text), times)
                data = yaml.safe_dump(document).encode("utf-8", "surrogatepass")
            else:
                data = mutated(random, text.encode(), times)
            return Trial("schema", data, _check_schema)
        if what == "options":
            return Trial("options", json.dumps(_options(random)).encode(), _check_options)
        if what == "small":
            name, text, check = random.choice(_SMALL)
            return Trial(name, _changed(random, text.encode(), times), check)
        directory, name, read = self._files[what]
        data = _changed(random, (directory / name).read_bytes(), times)
        return Trial(what, data, partial(_check_file, directory, name, read))


def _changed(random: Random, data: bytes, times: int) -> bytes:
    """A JSON document, edited as data or mutated as text."""
    if random.random() < 0.3 or not data.startswith(b"{"):
        return mutated(random, data, times)
    return json.dumps(edited(random, json.loads(data), times), indent=1).encode()


def _check_schema(data: bytes, _folder: Path) -> None:
    """A schema is refused in words, or lines are read by it, fast and slowly alike."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    try:
        schema = parse_schema(text, "fuzzed.yaml")
    except SchemaError as error:
        if not str(error).startswith("fuzzed.yaml"):
            raise WrongError(f"no place in the message: {error}") from error
        return
    if len(schema.fields) > 500:
        return
    again = type(schema).model_validate(json.loads(json.dumps(schema.document())))
    if again != schema:
        raise WrongError("a schema is not what it is written as")
    for value in ("1", "0a", ""):
        line = schema.separator.join([value] * len(schema.fields)).encode() + b"\n"
        check_alike(line * 2, tuple(c.name for c in schema.fields), schema)


def _options(random: Random) -> dict[str, Any]:
    """Some options with any values."""
    every = ["valid", "test", "min_count", "sample", "seed", "hot_budget", "hot_share", "dtype"]
    every += ["optimizer", "rule", "objective", "cold_ids", "cold_buckets", "max_reject_share"]
    chosen = random.sample(every, random.choice((1, 1, 2, 3)))
    return {name: random.choice((*_OPTIONS, *VALUES[:17])) for name in chosen}


def _check_options(data: bytes, folder: Path) -> None:
    """Options are refused in words, or a data set is made with them that holds every row."""
    try:
        given = json.loads(data)
        given.setdefault("hot_budget", None if "hot_share" in given else 10_000)
        given["min_count"] = parse_min_counts(
            [str(given["min_count"])] if "min_count" in given else []
        )
    except (FaeError, json.JSONDecodeError, AttributeError, UnicodeDecodeError):
        return
    if isinstance(given["hot_budget"], str):
        with contextlib.suppress(ValueError):
            parse_bytes(given["hot_budget"])
    stages = (IngestParameters, ProfileParameters, CalibrateParameters, PartitionParameters)
    try:
        parameters = PreparationParameters(
            *(
                stage.of(
                    **{key: value for key, value in given.items() if key in stage.model_fields}
                )
                for stage in stages
            )  # type: ignore[arg-type]
        )
        manifest = at_once(shop_days(folder), SHOP, folder / "out", parameters)
    except FaeError:
        return
    rows = sum(leaf.rows for leaves in manifest.splits.values() for leaf in leaves.values())
    if rows != 20:
        raise WrongError(f"{rows} rows, not 20", 20 - rows)


def _check_file(
    directory: Path, name: str, read: Callable[[Path], None], data: bytes, folder: Path
) -> None:
    """A directory with another file in a file's place is refused in words, or read."""
    place = folder / "copy"
    shutil.copytree(directory, place)
    (place / name).write_bytes(data)
    with contextlib.suppress(FaeError, OSError):  # of an OSError the command line makes one line
        read(place)


def _read_dataset(place: Path) -> None:
    """What `fae summary`, `fae verify` and `fae prepare --append` read of a data set."""
    manifest = Manifest.read(place)
    with contextlib.suppress(FaeError):
        verify(place, Executor(1))
    with contextlib.suppress(FaeError):
        PreparationParameters.from_manifest(manifest)
    _quietly(printing.print_dataset, manifest, Folder.of(place))


def _read_staging(place: Path) -> None:
    _quietly(printing.print_staging, Staging.read(place))


def _read_frequencies(place: Path) -> None:
    _quietly(printing.print_frequencies, Frequencies.read(place))


def _read_hot_set(place: Path) -> None:
    _quietly(printing.print_hot_set, HotSet.read(place))


def _read_rejects(place: Path) -> None:
    from fae.appending.merge_stagings import read_rejects

    staging = Staging.read(place)
    read_rejects(staging, [log.name for log in staging.logs])


def _quietly(show: Callable[..., None], *arguments: Any) -> None:
    """Show something to nobody."""
    usual, printing.output = printing.output, Console(quiet=True)
    try:
        show(*arguments)
    finally:
        printing.output = usual


@dataclass(frozen=True)
class _Sum:
    total: int
    of: dict[str, tuple[int, ...]]


def _add(numbers: tuple[int, ...]) -> _Sum:
    return _Sum(sum(numbers), {"é": numbers})


def _check_journal(data: bytes, folder: Path) -> None:
    """A damaged entry is a task to do again, or says something of the result's type."""
    (step,) = make_steps("sums", _add, [(1, 2)], folder / "output")
    assert step.entry is not None
    Path(step.entry).parent.mkdir(parents=True)
    Path(step.entry).write_bytes(data)
    for found in (*read_finished([step]).values(), perform_step(step)):
        if type(found) is not _Sum or type(found.total) is not int or type(found.of) is not dict:
            raise WrongError(f"a journal gave {found!r}")


def _check_lock(data: bytes, folder: Path) -> None:
    """A lock of whatever content is taken over, or refused in words."""
    (folder / "out.lock").write_bytes(data)
    with contextlib.suppress(FaeError), lock_output(Folder.of(folder / "out")):
        pass


def _check_profile(data: bytes, folder: Path) -> None:
    (folder / "device.json").write_bytes(data)
    with contextlib.suppress(FaeError):
        _ = DeviceProfile.read(folder / "device.json").objective


_DEVICE: Mapping[str, Any] = {
    "device": "none",
    "batch_size": 4,
    "seconds_per_hot_input": 1e-6,
    "seconds_per_cold_input": 2e-6,
    "seconds_per_cold_access": 1e-7,
}
_HOLDER = {"host": "h", "pid": 1, "since": "now", "token": "0"}
_SMALL: tuple[tuple[str, str, Callable[[bytes, Path], None]], ...] = (
    ("journal", '{"total": 3, "of": {"é": [1, 2]}}', _check_journal),
    ("lock", json.dumps(_HOLDER), _check_lock),
    ("device profile", json.dumps(_DEVICE), _check_profile),
)
