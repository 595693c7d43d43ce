"""Outputs appear whole or not at all, are made once, and never replace what is not theirs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.commit import outputs
from fae.commit.outputs import build_output, compute_fingerprint
from fae.format.errors import ClusterError, DatasetError, FaeError, LogError, StorageError
from fae.ingestion.staging import Staging
from fae.storage.folder import Folder
from tests.support.small_logs import Stages

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def made(out: Path, text: str = "x", made_from: str = "one") -> Path:
    with build_output(Folder.of(out), made_from) as partial:
        partial.write_text("file", text)
    return out


def fail(out: Path, error: BaseException) -> None:
    """Fail with `error` while building."""
    with build_output(Folder.of(out), "two") as partial:
        partial.write_text("file", "y")
        raise error


def fingerprint_of(out: Path) -> str:
    return outputs.read_fingerprint(Folder.of(out))


def is_made(out: Path, expected: str, overwrite: bool) -> bool:
    return outputs.is_made(Folder.of(out), expected, overwrite)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("removals", range(3))
def test_after_a_kill_among_the_last_removals_the_next_run_starts_afresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removals: int
) -> None:
    scratch, out = ["a.partial", "journal.partial", "z.partial"], tmp_path / "out"
    remove, left = outputs._remove, iter(range(removals))

    def killed(path: Path) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        remove(path)

    def build() -> None:
        with build_output(Folder.of(out), "one") as partial:
            for name in scratch:
                partial.write_text(f"{name}/splits/file", "x")
            monkeypatch.setattr(outputs, "_remove", killed)

    with pytest.raises(KeyboardInterrupt):
        build()
    monkeypatch.undo()
    there = [name for name in scratch if (tmp_path / "out.partial" / name).exists()]
    assert len(there) == len(scratch) - removals
    with build_output(Folder.of(out), "one") as partial:
        assert partial.list_files() == [outputs.MADE_FROM]  # no task log of files that are gone
        partial.write_text("file", "x")
    assert names(out) == ["_SUCCESS", "file"]


def test_an_output_appears_whole_with_its_fingerprint(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    with build_output(Folder.of(out), "one") as partial:
        assert not out.exists()
        partial.write_text("file", "x")
        assert not partial.exists("_SUCCESS")
    assert names(out) == ["_SUCCESS", "file"]
    assert fingerprint_of(out) == "one"
    assert names(tmp_path / "a") == ["out"]


@pytest.mark.parametrize("error", [FaeError, LogError])
def test_nothing_is_to_be_seen_after_the_users_mistake(
    tmp_path: Path, error: type[FaeError]
) -> None:
    with pytest.raises(error):
        fail(tmp_path / "out", error())
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "error", [ValueError, KeyboardInterrupt, SystemExit, ClusterError, StorageError]
)
def test_what_is_unfinished_stays_after_any_other_end(
    tmp_path: Path, error: type[BaseException]
) -> None:
    out = made(tmp_path / "out")
    with pytest.raises(error):
        fail(out, error())
    assert (out / "file").read_text() == "x"
    assert fingerprint_of(out) == "one"
    assert names(tmp_path) == ["out", "out.partial"]
    assert (tmp_path / "out.partial" / "file").read_text() == "y"


def test_the_next_run_from_the_same_inputs_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        fail(out, KeyboardInterrupt())
    (out.with_name("out.partial") / "half.1234.partial").write_text("half")
    with build_output(Folder.of(out), "two") as partial:
        assert partial.list_files() == ["file", "made_from"]
        partial.write_text("scratch.partial/more", "z")
    assert names(out) == ["_SUCCESS", "file"]
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("made_from", "version"), [("other", outputs.__version__), ("two", "0.0.9")]
)
def test_the_next_run_from_other_inputs_or_of_another_version_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_from: str, version: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        fail(out, KeyboardInterrupt())
    monkeypatch.setattr(outputs, "__version__", version)
    with build_output(Folder.of(out), made_from) as partial:
        assert partial.list_files() == ["made_from"]


def test_what_was_there_is_replaced_when_the_new_is_whole(tmp_path: Path) -> None:
    out = made(tmp_path / "out")
    (out / "more").mkdir()
    made(out, "y", "two")
    assert (out / "file").read_text() == "y"
    assert names(out) == ["_SUCCESS", "file"]
    assert names(tmp_path) == ["out"]


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    rest = tmp_path / "out.partial" / "deep"
    rest.mkdir(parents=True)
    (rest / "file").write_text("half")
    made(tmp_path / "out")
    assert names(tmp_path / "out") == ["_SUCCESS", "file"]
    assert names(tmp_path) == ["out"]


def test_a_killed_replacement_is_made_up_for(tmp_path: Path) -> None:
    # Killed between the two renames: the old one is aside, and nothing is in its place.
    (tmp_path / "out.old.partial").mkdir()
    made(tmp_path / "out")
    made(tmp_path / "out", "y", "two")
    assert (tmp_path / "out" / "file").read_text() == "y"
    assert names(tmp_path) == ["out"]


def test_neighbours_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dangling").symlink_to("nowhere")
    made(tmp_path / "out")
    assert names(tmp_path) == ["dangling", "other", "out"]
    assert names(tmp_path / "out") == ["_SUCCESS", "file"]


def test_an_output_may_have_a_relative_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made(Path("out"))
    made(Path("below") / "out")
    assert names(tmp_path) == ["below", "out"]


def test_an_output_behind_a_link_can_be_replaced(tmp_path: Path) -> None:
    made(tmp_path / "disk" / "out")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "out")
    made(tmp_path / "link", "y", "two")
    assert (tmp_path / "link" / "file").read_text() == "y"
    assert fingerprint_of(tmp_path / "link") == "two"


def test_removing_never_follows_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    kept = [outside / name for name in ("file", "rows.partial")]
    for file in kept:
        file.write_text("kept")

    def link(folder: Path) -> None:
        (folder / "below").mkdir(parents=True)
        for place in (folder, folder / "below"):
            (place / "folder").symlink_to(outside)
            (place / "folder.partial").symlink_to(outside)
            (place / "linked").symlink_to(outside / "file")
            (place / "rows.partial").symlink_to(outside / "rows.partial")
            (place / "dangling.partial").symlink_to("nowhere")

    made(tmp_path / "out")
    link(tmp_path / "out")  # a finished output
    link(tmp_path / "out.partial")  # an unfinished one
    (tmp_path / "out.old.partial").symlink_to(outside)
    made(tmp_path / "out", "y", "two")
    assert names(tmp_path) == ["out", "outside"]
    made(tmp_path / "linked.partial" / "x")
    (tmp_path / "linked.partial").rename(outside / "unfinished")
    (tmp_path / "linked.partial").symlink_to(outside / "unfinished")
    made(tmp_path / "linked")
    assert not (tmp_path / "linked").is_symlink()
    assert (outside / "unfinished" / "x" / "file").exists()
    assert [file.read_text() for file in kept] == ["kept", "kept"]


def test_an_output_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DatasetError, match="cannot write beside"):
        made(tmp_path / "file" / "out")


# ── Is there anything to do? ─────────────────────────────────────────────────────────────────────


def test_an_absent_or_empty_directory_is_to_be_made(tmp_path: Path) -> None:
    assert not is_made(tmp_path / "out", "one", overwrite=False)
    (tmp_path / "out").mkdir()
    assert not is_made(tmp_path / "out", "one", overwrite=False)
    made(tmp_path / "out")
    assert names(tmp_path / "out") == ["_SUCCESS", "file"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_same_fingerprint_leaves_nothing_to_do(tmp_path: Path, overwrite: bool) -> None:
    assert is_made(made(tmp_path / "out"), "one", overwrite)


def test_another_fingerprint_is_refused_without_overwrite(tmp_path: Path) -> None:
    out = made(tmp_path / "out")
    with pytest.raises(DatasetError, match=r"other inputs or parameters.*--overwrite"):
        is_made(out, "two", overwrite=False)
    assert not is_made(out, "two", overwrite=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_unknown_directory_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="holds files but no _SUCCESS, so it is not replaced"):
        is_made(tmp_path, "one", overwrite)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_never_replaced(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(DatasetError, match="is a file"):
        is_made(tmp_path / "out", "one", overwrite)


def test_an_unfinished_output_has_no_fingerprint(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"has no _SUCCESS\. Run the stage that writes it"):
        fingerprint_of(tmp_path)


# ── Fingerprints ─────────────────────────────────────────────────────────────────────────────────


@given(parameters=st.dictionaries(st.text(), JSON, max_size=4))
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(parameters: dict[str, object]) -> None:
    turned = dict(reversed(parameters.items()))
    assert compute_fingerprint(parameters, "a") == compute_fingerprint(turned, "a")
    assert len(compute_fingerprint(parameters)) == 32


def test_a_fingerprint_depends_on_everything_else() -> None:
    found = [
        compute_fingerprint({"a": 1}, "x", "y"),
        compute_fingerprint({"a": 2}, "x", "y"),
        compute_fingerprint({"b": 1}, "x", "y"),
        compute_fingerprint({"a": "1"}, "x", "y"),
        compute_fingerprint({"a": 1}, "y", "x"),
        compute_fingerprint({"a": 1}, "xy"),
        compute_fingerprint({"a": 1}, "x", "y", ""),
    ]
    assert len(set(found)) == len(found)


def test_a_document_is_indented_but_for_its_long_list_with_a_line_for_each_entry(
    tmp_path: Path,
) -> None:
    folder, document = (
        Folder.of(tmp_path),
        {"a": {"é": "x\ny", "n": []}, "parts": [{"p": [1, 2]}, 3]},
    )
    versioned = {"stage_version": outputs.STAGE_VERSION, **document}
    outputs.write_document(folder, "plain", document)
    assert folder.read_text("plain") == json.dumps(versioned, indent=1, ensure_ascii=False) + "\n"
    outputs.write_document(folder, "lines", document, long_list="parts")
    assert folder.read_text("lines").endswith('"parts": [\n  {"p": [1, 2]},\n  3\n ]\n}\n')
    assert json.loads(folder.read_text("lines")) == versioned


def test_a_second_run_is_refused_and_leaves_the_first_ones_work(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with build_output(Folder.of(out), "one") as partial:
        partial.write_text("file", "x")
        with pytest.raises(DatasetError, match=r"another run is writing .*out\.lock"):
            made(out, "y")
    assert (out / "file").read_text() == "x"
    assert names(tmp_path) == ["out"]


# ── Documents ────────────────────────────────────────────────────────────────────────────────────


def test_a_document_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    out = Folder.of(tmp_path / "out")
    with build_output(out, "one") as partial:
        outputs.write_document(partial, "stage.json", {"rows": 3})
    path = tmp_path / "out" / "stage.json"
    assert outputs.read_document(out, "stage.json") == {"rows": 3}
    known = f'"stage_version": {outputs.STAGE_VERSION}'
    path.write_text(path.read_text().replace(known, '"stage_version": 77'))
    with pytest.raises(DatasetError, match=r"stage\.json has version 77, .* reads version"):
        outputs.read_document(out, "stage.json")


def test_a_document_is_parsed_once_as_long_as_it_stays_as_it_is(
    shop: Stages, tmp_path: Path
) -> None:
    staging = Path(shutil.copytree(shop.staging.directory.path, tmp_path / "staging"))
    found = Staging.read(staging)
    assert Staging.read(staging) is found
    document = staging / "staging.json"
    document.write_text(document.read_text().replace('"rejects": 0', '"rejects": 7'))
    assert [log.rejects for log in found.logs] == [0]
    assert [log.rejects for log in Staging.read(staging).logs] == [7]
    document.unlink()
    with pytest.raises(DatasetError, match=r"no readable staging\.json"):
        Staging.read(staging)


@pytest.mark.parametrize("place", [None, "parts", "logs"])
def test_an_unknown_key_of_a_document_is_refused_by_name(
    shop: Stages, tmp_path: Path, place: str | None
) -> None:
    staging = Path(shutil.copytree(shop.staging.directory.path, tmp_path / "staging"))
    document = json.loads((staging / "staging.json").read_text())
    (document if place is None else document[place][0])["splitt"] = "test"
    (staging / "staging.json").write_text(json.dumps(document))
    with pytest.raises(DatasetError, match="splitt"):
        Staging.read(staging)
