"""Properties of hostile schemas, options, and of every JSON file that is read back."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from fae.cli import printing
from fae.commit.lock import lock_output
from fae.commit.task_log import make_steps, perform_step, read_finished
from fae.dataset.parameters import PartitionParameters
from fae.dataset.verify import verify
from fae.execution.executor import Executor
from fae.execution.progress import VisibleConsole
from fae.format.errors import FaeError, SchemaError
from fae.format.manifest import Manifest
from fae.format.memory import parse_bytes
from fae.hotset.device_profile import DeviceProfile
from fae.hotset.hot_set import HotSet
from fae.hotset.parameters import CalibrateParameters
from fae.ingestion.parameters import IngestParameters
from fae.ingestion.staging import Staging
from fae.logs.schema_files import list_presets, parse_schema
from fae.preparation import PreparationParameters
from fae.profiling.frequencies import Frequencies
from fae.profiling.parameters import ProfileParameters, parse_min_counts
from fae.storage.folder import Folder
from faults.fuzzed_logs import check_alike
from faults.fuzzing import Property, WrongError
from tests.support.hostile_input import SCALARS, edited, mutated
from tests.support.shop_days import SHOP_PARAMETERS, added, at_once, shop_days
from tests.support.small_logs import SHOP, shop_stages

#: Values of options, beside SCALARS.
_OPTIONS = (
    "0.1", "0", "1d", "0d", "999999999999999999999d", "-1d", "1", "1.5", "nan", "inf", "1e-400",
    "50%", "120", "120B", "1KiB", "1,5GiB", "1e3", "-1", "0x10", "9" * 400 + "PiB", "9" * 5000,
    "1Q", "10", "item=2", "item=", "=3", "none=1", "item=99999999999999999999", "²", "１", "hashed",
    "exact", "inputs", "accesses", "threshold", "per-table", "time", "float16", "adam", "sgd",
)  # fmt: skip


def document_properties(folder: Path) -> dict[str, Property]:
    """Return the properties of documents; those of data sets are prepared in `folder`."""
    stages = shop_stages(folder / "stages")
    logs = shop_days(folder)
    at_once(logs[:1], SHOP, folder / "added", SHOP_PARAMETERS, keep_work=True)
    added(logs[1:], SHOP, folder / "added", keep_work=True)
    root = folder / "stages"
    files = {
        "manifest": (stages.dataset, "manifest.json", _read_dataset),
        "staging": (root / "staging", "staging.json", _read_staging),
        "frequencies": (root / "frequencies", "frequencies.json", _read_frequencies),
        "hot set": (root / "hot_set", "hot_set.json", _read_hot_set),
        "drift": (folder / "added", "drift.json", _read_dataset),
        "rejects": (folder / "added.work" / "staging", "rejects/rejects.jsonl", _read_rejects),
    }
    return {
        "schema": Property(schema_texts(), check_schema),
        "options": Property(options(), check_options),
        "task log": Property(json_texts(b'{"total": 3, "of": {"a": [1, 2]}}'), check_task_log),
        "lock": Property(json_texts(json.dumps(_HOLDER).encode()), check_lock),
        "device profile": Property(json_texts(json.dumps(_DEVICE).encode()), check_device_profile),
        **{
            name: Property(
                json_texts((directory / file).read_bytes()),
                partial(check_file, directory, file, read),
            )
            for name, (directory, file, read) in files.items()
        },
    }


def json_texts(text: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy for a JSON document, edited as data or mutated as text."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError:  # JSON lines
        return mutated(text)
    return edited(document).map(lambda one: json.dumps(one, indent=1).encode()) | mutated(text)


def schema_texts() -> st.SearchStrategy[bytes]:
    """Return a strategy for schemas of presets or the shop, edited as data or mutated as text."""
    folder = resources.files("fae.logs.presets")
    texts = [(folder / f"{name}.yaml").read_text("utf-8") for name in list_presets()]
    texts.append(yaml.safe_dump(SHOP.document(), allow_unicode=True))
    return st.sampled_from(texts).flatmap(
        lambda text: (
            mutated(text.encode())
            | edited(yaml.safe_load(text)).map(
                lambda one: yaml.safe_dump(one).encode("utf-8", "surrogatepass")
            )
        )
    )


def options() -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for one to three options of a preparation with any values."""
    names = ["valid", "test", "min_count", "sample", "seed", "hot_budget", "hot_share", "dtype"]
    names += ["optimizer", "rule", "objective", "cold_ids", "cold_buckets", "max_reject_share"]
    values = st.sampled_from((*_OPTIONS, *SCALARS))
    return st.dictionaries(st.sampled_from(names), values, min_size=1, max_size=3)


def check_schema(data: bytes, _folder: Path) -> None:
    """Check that a schema is refused in words, or that both parsers read lines alike by it."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    try:
        schema = parse_schema(text, "fuzzed.yaml")
    except SchemaError as error:
        if not str(error).startswith("fuzzed.yaml"):
            raise WrongError(f"the message does not name the file: {error}") from error
        return
    if len(schema.fields) > 500:
        return
    again = type(schema).model_validate(json.loads(json.dumps(schema.document())))
    if again != schema:
        raise WrongError("a schema differs after it is written and read")
    for value in ("1", "0a", ""):
        line = schema.separator.join([value] * len(schema.fields)).encode() + b"\n"
        check_alike(line * 2, tuple(c.name for c in schema.fields), schema)


def check_options(given: dict[str, Any], folder: Path) -> None:
    """Check that options are refused in words, or give a data set that has every row."""
    given = {"hot_budget": None if "hot_share" in given else 10_000, **given}
    try:
        given["min_count"] = parse_min_counts(
            [str(given["min_count"])] if "min_count" in given else []
        )
    except FaeError:
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


def check_file(
    directory: Path, name: str, read: Callable[[Path], None], data: bytes, folder: Path
) -> None:
    """Check that a directory in which `data` replaces a file is refused in words, or read."""
    place = folder / "copy"
    shutil.copytree(directory, place)
    (place / name).write_bytes(data)
    with contextlib.suppress(FaeError, OSError):  # the command line prints an OSError in one line
        read(place)


def _read_dataset(place: Path) -> None:
    """Read what `fae summary`, `fae verify` and `fae prepare --append` read of a data set."""
    manifest = Manifest.read(place)
    with contextlib.suppress(FaeError):
        verify(place, Executor(1))
    with contextlib.suppress(FaeError):
        PreparationParameters.from_manifest(manifest)
    _show_to_nobody(printing.print_dataset, manifest, Folder.of(place))


def _read_staging(place: Path) -> None:
    _show_to_nobody(printing.print_staging, Staging.read(place))


def _read_frequencies(place: Path) -> None:
    _show_to_nobody(printing.print_frequencies, Frequencies.read(place))


def _read_hot_set(place: Path) -> None:
    _show_to_nobody(printing.print_hot_set, HotSet.read(place))


def _read_rejects(place: Path) -> None:
    from fae.appending.merge_stagings import read_rejects

    staging = Staging.read(place)
    read_rejects(staging, [log.name for log in staging.logs])


def _show_to_nobody(show: Callable[..., None], *arguments: Any) -> None:
    """Call a function that prints, and drop what it prints."""
    usual, printing.output = printing.output, VisibleConsole(quiet=True)
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


def check_task_log(data: bytes, folder: Path) -> None:
    """Check that a damaged entry is a task to do again, or has a result of the right type."""
    (step,) = make_steps("sums", _add, [(1, 2)], folder / "output")
    assert step.entry is not None
    Path(step.entry).parent.mkdir(parents=True)
    Path(step.entry).write_bytes(data)
    for found in (*read_finished([step]).values(), perform_step(step)):
        if type(found) is not _Sum or type(found.total) is not int or type(found.of) is not dict:
            raise WrongError(f"a task log gave {found!r}")


def check_lock(data: bytes, folder: Path) -> None:
    """Check that a lock of any content is taken over, or refused in words."""
    (folder / "out.lock").write_bytes(data)
    with contextlib.suppress(FaeError), lock_output(Folder.of(folder / "out")):
        pass


def check_device_profile(data: bytes, folder: Path) -> None:
    """Check that a device profile of any content is read, or refused in words."""
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
