"""What the operating system refuses is told in one line, wherever it happens."""

from __future__ import annotations

import errno
import gzip
import logging
import os
import signal
from pathlib import Path

import pyarrow as pa
import pytest

from fae.commit.lock import lock_output
from fae.execution.executor import open_executor
from fae.format.errors import DatasetError, LogError, StorageError, explain_error
from fae.logs.blocks import cut_blocks, read_block
from fae.logs.files import find_logs
from fae.storage.folder import Folder
from fae_trainer.__main__ import main
from fae_trainer.run.lock import LOCK_FILE, lock_run
from tests.support.small_logs import SHOP, SHOP_LOG
from tests.support.trainer_data import Shape, write_dataset
from tests.support.trainer_runs import OPTIONS


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "x", "a/b"), "No space left on device: a/b. Free space"),
        (OSError("Error writing bytes. Detail: [errno 28] No space"), "No space left on device. F"),
        (OSError("No space left on device (os error 28)"), "No space left on device. Free space"),
        (OSError(errno.EMFILE, "Too many open files", "c"), "Too many open files: c. Raise the li"),
        (FileNotFoundError(errno.ENOENT, "No such file", "d"), "No such file: d"),
        (MemoryError(), "out of memory. Set a lower --memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out of memory ("),
        (RuntimeError("can't start new thread"), "cannot start another thread"),
        (
            pa.ArrowException("Unknown error: Failed to launch worker thread: R"),
            "cannot start another thread",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory"),
    ],
)
def test_an_error_of_the_system_is_explained_with_a_remedy(
    error: BaseException, words: str
) -> None:
    assert str(explain_error(error)).startswith(words)


def test_an_error_of_the_program_is_not_explained_away() -> None:
    assert explain_error(RuntimeError("dictionary changed size during iteration")) is None
    assert explain_error(KeyError("x")) is None


def test_a_full_disk_names_the_file_that_did_not_fit(tmp_path: Path) -> None:
    folder = Folder.of(tmp_path)

    def write() -> None:
        with folder.write("a/b") as path:
            path.write_text("a part")
            raise OSError("Error writing bytes to file. Detail: [errno 28] No space left on device")

    with pytest.raises(StorageError, match=r"cannot write .*/a/b: No space left .* Free space"):
        write()
    assert folder.list_files() == []


def test_an_output_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(DatasetError, match="a part of its path is a file"),
        lock_output(tmp_path / "file" / "out"),
    ):
        pass


def test_a_log_that_cannot_be_opened_is_not_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv.gz"
    path.write_bytes(gzip.compress(SHOP_LOG.encode()))
    (log,) = find_logs([str(path)], SHOP)
    (block,) = cut_blocks(log)
    path.unlink()
    with pytest.raises(LogError, match="disappeared while it was read"):
        list(read_block(block))
    path.write_bytes(gzip.compress(SHOP_LOG.encode())[:-12])
    with pytest.raises(LogError, match="damaged or truncated"):
        list(read_block(block))


def fails(task: int) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"file {task}")


def log_a_lost_heartbeat() -> None:
    """Log what Dask does where the end of a run cuts a heartbeat off, and another error."""
    logger = logging.getLogger("distributed.worker")
    try:
        raise OSError("closed")
    except OSError:
        logger.exception("Failed to communicate with scheduler during heartbeat.")
    logger.error("something else")


def test_workers_hand_a_users_error_over_and_log_no_traceback(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with open_executor(workers=1) as here:
        here.client.run(log_a_lost_heartbeat)
        with pytest.raises(OSError, match="No space left"):
            here.run("test", fails, [1])
    logged = capfd.readouterr().err
    assert "something else" in logged
    assert "Traceback" not in logged


def test_the_trainer_says_that_it_was_terminated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "fae_trainer.run.train.train", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)
    )
    assert main(["train", str(tmp_path), "--out", str(tmp_path / "run")]) == 143
    assert capsys.readouterr().err.startswith("terminated; the last checkpoint, if any, is kept")


def test_a_second_training_into_a_directory_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path / "data", Shape())
    command = ["train", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--quiet", *OPTIONS]
    with lock_run(tmp_path / "run"):
        assert main(command) == 1
        assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK_FILE]
    assert f"is training into {tmp_path / 'run'} (process {os.getpid()}" in capsys.readouterr().err
    assert main(command) == 0
