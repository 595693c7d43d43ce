"""Safe by default: nothing that is read can run code, leave its folder, or tell a secret."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from fae.dataset.encoder import Encoder
from fae.dataset.integrity import read_checked
from fae.dataset.verify import verify
from fae.execution.executor import Executor
from fae.format.errors import DatasetError, FaeError, StorageError
from fae.format.manifest import Manifest
from fae.hotset.hot_set import HotSet
from fae.ingestion.staging import Staging
from fae.logs.files import Log, find_logs
from fae.logs.schema_files import load_schema
from fae.profiling.frequencies import Frequencies
from fae.storage.folder import Folder
from fae.storage.remote import redact_url, refuse_password
from fae_trainer.data.loader import HotColdLoader
from fae_trainer.run import checkpoint
from tests.support.project import ROOT
from tests.support.small_logs import SHOP, Stages, edit_manifest, written

OURS = ("pipeline", "trainer", "faults", "examples")
SOURCES = sorted(path for folder in OURS for path in (ROOT / folder).rglob("*.py"))
CITY = "vocabulary/city.parquet"
HOT = "split=train/temperature=hot/part-00000.parquet"
SECRET = "hunter2"

# ── Code ─────────────────────────────────────────────────────────────────────────────────────────

#: Modules that make code of data, and what only they need.
_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load"}
_CALLS |= {"yaml.unsafe_load", "yaml.full_load", "pl.DataFrame.deserialize", "torch.jit.load"}


def dangers(source: str) -> Iterator[str]:
    """What a program's text has that could run what it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in _MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
            yield from names & (_MODULES | _CALLS)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if called in _CALLS:
                yield called
            if given.get("shell", "False") != "False":
                yield f"{called} by a shell"
            if given.get("allow_pickle", "False") != "False":
                yield f"{called} with pickles"
            if called.endswith("torch.load") and given.get("weights_only") != "True":
                yield f"{called} without weights_only=True"
            if called.startswith("subprocess.") and node.args:
                command = node.args[0]
                if isinstance(command, ast.JoinedStr | ast.Constant | ast.BinOp):
                    yield f"{called} of a text"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_can_run_what_it_reads(path: Path) -> None:
    assert list(dangers(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "from os import system",
        "eval(text)",
        "yaml.load(text, Loader=yaml.SafeLoader)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(f'ls {path}', shell=True)",
        "subprocess.run(command, shell=flag)",
        "subprocess.run(f'ls {path}')",
    ],
)
def test_what_could_run_is_seen(source: str) -> None:
    assert list(dangers(source))


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save({"format": "fae-checkpoint", "trap": Trap(tmp_path / "sprung")}, tmp_path / "x")
    (tmp_path / "x").rename(tmp_path / "checkpoint.pt")
    with pytest.raises(DatasetError, match=r"checkpoint\.pt is damaged"):
        checkpoint.load(tmp_path)
    assert not (tmp_path / "sprung").exists()


def test_a_schema_runs_no_code(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(f"!!python/object/apply:os.mkdir ['{tmp_path}/sprung']")
    with pytest.raises(FaeError):
        load_schema(str(tmp_path / "s.yaml"))
    assert not (tmp_path / "sprung").exists()


# ── Places ───────────────────────────────────────────────────────────────────────────────────────

OUTSIDE = ["../x", "/etc/passwd", "vocabulary/../../x", "..", "a\\b"]
NO_PATHS = [".", "./x", "a//b", "a/", "x\0", "x\n", "manifest.json", "_SUCCESS"]


@pytest.mark.parametrize("path", OUTSIDE + NO_PATHS)
def test_a_manifest_names_files_of_its_own_alone(shop_copy: Path, path: str) -> None:
    edit_manifest(shop_copy, "tables", 0, "vocabulary", "path", value=path)
    refused = r"manifest\.json: .*(leaves|not the path|named twice)"
    with pytest.raises(DatasetError, match=refused):
        Manifest.read(shop_copy)


def test_a_path_that_is_no_unicode_is_refused(shop_copy: Path) -> None:
    edit_manifest(shop_copy, "tables", 0, "vocabulary", "path", value="x\ud800")
    with pytest.raises(DatasetError, match=r"manifest\.json: .*expected str"):
        Manifest.read(shop_copy)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\0b"])
@pytest.mark.parametrize("url", ["/tmp/folder", "s3://bucket/folder"])
def test_no_name_leads_out_of_a_folder(url: str, name: str) -> None:
    folder = Folder.of(url)
    for use in (folder.read_bytes, folder.read_text, folder.exists, lambda name: folder / name):
        with pytest.raises(StorageError, match="leads out of the folder"):
            use(name)
    for within in (folder.read, folder.open, folder.write):
        with pytest.raises(StorageError, match="leads out of the folder"), within(name):
            pass


def test_a_staging_leads_to_no_file_outside(shop: Stages, tmp_path: Path) -> None:
    document = json.loads(shop.staging.directory.read_text("staging.json"))
    document["parts"][0]["path"] = "../../etc/passwd"
    written(tmp_path, {"staging.json": json.dumps(document), "_SUCCESS": "x\n"})
    with pytest.raises(StorageError, match="leads out of the folder"):
        Staging.read(tmp_path).open_part(0).read_columns(["label"])


def test_frequencies_lead_to_no_file_outside(shop: Stages) -> None:
    with pytest.raises(StorageError, match="leads out of the folder"):
        shop.frequencies.read_accesses("../../../etc/passwd")


@pytest.mark.parametrize("name", [HOT, "split=train", CITY, "manifest.json", "_SUCCESS"])
def test_a_link_out_of_the_data_set_is_refused_by_all_who_read_there(
    shop_copy: Path, tmp_path: Path, name: str
) -> None:
    (shop_copy / name).rename(tmp_path / "outside")
    (shop_copy / name).symlink_to(tmp_path / "outside")
    faults: tuple[str, ...] = ()
    try:
        faults = verify(shop_copy, Executor(1)).faults
    except DatasetError as error:
        faults = (str(error),)
    assert any(name in fault and "link" in fault for fault in faults)
    reader = Encoder if name == CITY else HotColdLoader
    with pytest.raises(DatasetError, match=f"{re.escape(name)} is a link that leads out of"):
        reader(shop_copy)


def test_files_linked_into_dvcs_cache_are_as_good_as_files(shop_copy: Path, tmp_path: Path) -> None:
    link_into_cache(shop_copy, tmp_path / "cache")
    assert verify(shop_copy, Executor(1)).faults == ()
    assert len(HotColdLoader(shop_copy, batch_size=8)) > 0
    assert Encoder(shop_copy).manifest.fingerprint


@pytest.mark.parametrize("target", ["outside", f"files/md5/ab/{30 * 'c'}/file"])
def test_a_link_through_a_name_of_the_cache_is_refused(
    shop_copy: Path, tmp_path: Path, target: str
) -> None:
    (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
    (shop_copy / "manifest.json").rename(tmp_path / target)
    through = tmp_path / "files" / "md5" / "cd" / (30 * "e")
    through.parent.mkdir(parents=True)
    through.symlink_to(tmp_path / target)
    (shop_copy / "manifest.json").symlink_to(through)
    with pytest.raises(DatasetError, match="is a link that leads out of"):
        HotColdLoader(shop_copy)


def link_into_cache(folder: Path, cache: Path) -> None:
    """Replace a folder's files by links to read-only files in a cache, as DVC does."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        cached = cache / "files" / "md5" / digest[:2] / digest[2:]
        cached.parent.mkdir(parents=True, exist_ok=True)
        path.rename(cached)
        cached.chmod(0o444)
        path.symlink_to(cached)


def test_a_linked_data_set_is_as_good_as_any(shop: Stages, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(shop.dataset)
    assert verify(tmp_path / "link", Executor(1)).faults == ()
    assert len(HotColdLoader(tmp_path / "link", batch_size=8)) > 0
    assert Encoder(tmp_path / "link").manifest == shop.manifest


# ── Documents that are read back ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [Staging, Frequencies, HotSet])
def test_a_damaged_document_of_a_stage_is_named(shop: Stages, tmp_path: Path, kind: Any) -> None:
    stage = {Staging: shop.staging, Frequencies: shop.frequencies, HotSet: shop.hot_set}
    (path,) = stage[kind].directory.path.glob("*.json")
    document = json.loads(path.read_text())
    said = []
    for key in set(document) - {"stage_version"}:
        for value in ("gone", 7, [[]], {"x": {}}):
            changed = {**document, key: value}
            if value == "gone":
                del changed[key]
            written(tmp_path, {path.name: json.dumps(changed), "_SUCCESS": "x\n"})
            try:
                kind.read(tmp_path)
            except DatasetError as error:
                said.append(str(error))
    assert said
    assert all(path.name in message for message in said)


def test_a_damaged_vocabulary_is_not_encoded_by(shop_copy: Path, shop: Stages) -> None:
    data = bytearray((shop_copy / CITY).read_bytes())
    data[len(data) // 2] ^= 1
    (shop_copy / CITY).write_bytes(data)
    with pytest.raises(DatasetError, match=r"city\.parquet is damaged: its sha256"):
        Encoder(shop_copy)
    (shop_copy / CITY).unlink()
    with (
        pytest.raises(DatasetError, match=r"city\.parquet is absent"),
        read_checked(Folder.of(shop_copy), shop.manifest.tables[0].vocabulary),
    ):
        pass


# ── Secrets ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url",
    [
        f"https://me:{SECRET}@host/a.csv",
        f"simplecache::ftp://me:{SECRET}@host/a.csv",
        f"zip://a.csv::https://me:{SECRET}@host/a.zip",
        f"https://me:{SECRET}@host/a.zip::s3://bucket/x",
    ],
)
def test_a_password_anywhere_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(StorageError, match="carries a user or a password") as error:
        refuse_password(url)
    assert SECRET not in str(error.value)


def test_what_is_no_url_is_told() -> None:
    with pytest.raises(StorageError, match="not a valid URL"):
        find_logs(["http://[x"], SHOP)


def test_a_signature_in_a_chained_url_is_not_shown() -> None:
    assert SECRET not in redact_url(f"simplecache::https://host/a.csv?sig={SECRET}")


def test_a_signed_log_leaves_its_signature_nowhere() -> None:
    log = Log(f"https://host/a.csv?sig={SECRET}", "a.csv", 1, "plain", False, (), 0, 1, None)
    assert SECRET not in repr(log)  # which Dask's workers log where a task fails
    assert log.root == "https://host/"


# ── Terminals ────────────────────────────────────────────────────────────────────────────────────

#: Who alone may write to a terminal; the rest calls them.
_WRITERS = {"format/terminal.py", "format/program.py", "run/progress.py", "execution/progress.py"}


def test_all_text_goes_through_the_places_that_make_it_visible() -> None:
    for path in SOURCES:
        if "faults" in path.parts or "examples" in path.parts:
            continue
        called = {
            ast.unparse(n.func)
            for n in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(n, ast.Call)
        }
        if "/".join(path.parts[-2:]) not in _WRITERS:
            assert not called & {
                "print",
                "Console",
                "rich.console.Console",
                "sys.stdout.write",
                "sys.stderr.write",
            }, path
