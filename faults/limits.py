"""Limits: full and read-only disks, too little memory, too few open files, and refusals.

A limit is survived if the run succeeds in spite of it, or ends in one clear line with a non-zero
exit code, without a traceback and without touching inputs and finished outputs; and if the same
command without the limit then ends in the bytes of an undisturbed run. Limits that this user has no
right to set are noted and not counted.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fae.format.manifest import SUCCESS
from faults.outcome import Outcome
from faults.refusals import REFUSALS, message_lines
from faults.workloads import WORKLOADS, Scenario, Workload, run_fae, write_inputs
from tests.support.project import PYTHONPATH, ROOT
from tests.support.small_logs import digests

_HANGS = 120
_PREPARE, _APPEND, _TRAIN = WORKLOADS[0], WORKLOADS[2], WORKLOADS[3]
_DASK = next(workload for workload in WORKLOADS if workload.name == "one worker")
_MB = 10**6


@dataclass(frozen=True)
class Limit:
    """What a workload is denied. `shell` is a script that runs the command `"$@"`.

    In it OUT is the case's folder. If the run fails, its message must have one of `words`; `fails`
    says that it must fail. `cheap` limits are part of the tests. `private` ones mount file systems.
    `native` says that a library may end the process itself, without a message from Python.
    """

    name: str
    workload: Workload
    shell: str = 'exec "$@"'
    words: tuple[str, ...] = ()
    fails: bool = True
    cheap: bool = False
    native: bool = False
    private: bool = False
    limit: tuple[int, int] | None = None
    environment: tuple[tuple[str, str | None], ...] = ()


def _full_disk(kilobytes: int, workload: Workload, **rest: Any) -> Limit:
    """Return the limit of a disk of so many KiB, whose contents are kept for the rerun."""
    shell = (
        f'mount -t tmpfs -o size={kilobytes}k none "$OUT/disk" && cp -r "$OUT/start/." "$OUT/disk"'
        ' && { "$@"; code=$?; cp -r "$OUT/disk/." "$OUT/kept"; exit $code; }'
    )
    return Limit(
        f"{workload.name}: a disk of {kilobytes} KiB", workload, shell,
        ("No space left", "If the disk is full"),
        private=True, **rest,
    )  # fmt: skip


_READ_ONLY = (
    'cp -r "$OUT/start/." "$OUT/disk" && cp -r "$OUT/start/." "$OUT/kept" && '
    'mount --bind "$OUT/disk" "$OUT/disk" && mount -o remount,ro,bind "$OUT/disk" && exec "$@"'
)

LIMITS = [
    _full_disk(60, _PREPARE, cheap=True),
    *(_full_disk(size, _PREPARE) for size in (4, 16, 120, 200, 300)),
    _full_disk(500, _APPEND),
    _full_disk(400, _APPEND),
    *(_full_disk(size, _DASK) for size in (16, 200)),
    _full_disk(4, _TRAIN),
    _full_disk(20, _TRAIN),
    *(Limit(f"{workload.name}: read-only", workload, _READ_ONLY, ("Read-only file system",),
            private=True, cheap=workload is _PREPARE) for workload in (_PREPARE, _APPEND, _TRAIN)),
    Limit("no file of more than 4 KiB", _PREPARE, words=("File too large", "ulimit -f"), cheap=True,
          limit=(resource.RLIMIT_FSIZE, 4096)),
    Limit("train: no file of more than 4 KiB", _TRAIN, words=("Cannot write", "checkpoint.pt"),
          limit=(resource.RLIMIT_FSIZE, 4096)),
    Limit("12 open files", _PREPARE, words=("ulimit -n",), cheap=True, fails=False,
          limit=(resource.RLIMIT_NOFILE, 12)),
    Limit("24 open files, a worker", _DASK, words=("limits on open files",),
          limit=(resource.RLIMIT_NOFILE, 24)),
    Limit("train: 12 open files", _TRAIN, words=("ulimit -n",), fails=False,
          limit=(resource.RLIMIT_NOFILE, 12)),
    *(Limit(f"{size} MB of addresses", _PREPARE, fails=False, native=True,
            words=("out of memory", "thread"), limit=(resource.RLIMIT_AS, size * _MB))
      for size in (1600, 2000, 2500)),
    Limit("train: 1500 MB of addresses", _TRAIN, fails=False, native=True, words=("out of memory",),
          limit=(resource.RLIMIT_AS, 1500 * _MB)),
    Limit("no HOME, no TMPDIR", _PREPARE, fails=False,
          environment=(("HOME", None), ("TMPDIR", "/nowhere"))),
    Limit("TMPDIR is a file, a worker", _DASK, fails=False, environment=(("TMPDIR", "/dev/null"),)),
    Limit("no locale", _PREPARE, fails=False, environment=(
        ("LC_ALL", "C"), ("LANG", None), ("PYTHONCOERCECLOCALE", "0"), ("PYTHONUTF8", "0"))),
    Limit("closed output", _PREPARE, 'exec "$@" >&-', fails=False),
    Limit("all closed", _PREPARE, 'exec "$@" <&- >&- 2>&-', fails=False),
    Limit("output on a full disk", _PREPARE, 'exec "$@" >/dev/full', ("No space left",)),
    Limit("output that nobody reads", _PREPARE, 'set -o pipefail; "$@" | true', fails=False),
    Limit("messages that nobody reads", _PREPARE, 'set -o pipefail; "$@" 2>&1 | true', fails=False),
]  # fmt: skip


def campaign(seed: int, amount: int, folder: Path) -> Outcome:
    """Try all limits, whatever the `amount`."""
    del amount
    return try_limits(LIMITS, seed, folder)


def try_limits(limits: Sequence[Limit], seed: int, folder: Path) -> Outcome:
    """Try these limits and all refusals."""
    outcome, skipped = Outcome(), []
    inputs = write_inputs(folder / "inputs", seed)
    before = digests(inputs)
    names = list(dict.fromkeys(limit.workload.name for limit in limits))
    scenarios = {
        workload.name: Scenario(workload, inputs, folder / f"workload{names.index(workload.name)}")
        for workload in WORKLOADS
        if workload.name in names
    }
    private = _can_mount()
    for number, limit in enumerate(limits):
        if limit.private and not private:
            skipped.append(limit.name)
            continue
        faults = list(
            _LimitedRun(limit, scenarios[limit.workload.name], folder / f"limit{number}").faults()
        )
        _count(outcome, f"limits, seed {seed}, {limit.name}", faults)
    for name, refusal in REFUSALS.items():
        place = folder / "refused"
        place.mkdir()
        _count(outcome, f"limits, seed {seed}, {name}", list(refusal(inputs, place)))
        shutil.rmtree(place)
    if digests(inputs) != before:
        outcome.fail(f"limits, seed {seed}: the inputs were changed")
    if skipped:
        outcome.notes["limits not tried for lack of rights"] = ", ".join(skipped)
    return outcome


def _count(outcome: Outcome, what: str, faults: list[str]) -> None:
    if faults:
        outcome.fail(f"{what}: {'; '.join(faults)}")
    else:
        outcome.survive()


def _can_mount() -> bool:
    """Return whether this user may mount file systems that no other process sees."""
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@dataclass(frozen=True)
class _LimitedRun:
    """A run under a limit, and one without."""

    limit: Limit
    scenario: Scenario
    folder: Path

    @property
    def place(self) -> Path:
        """Where the workload runs; a disk of its own if the limit mounts one."""
        return self.folder / "disk"

    def faults(self) -> Iterator[str]:
        """Yield what is wrong."""
        self.folder.mkdir()
        for name in ("disk", "kept"):
            (self.folder / name).mkdir()
        shutil.copytree(self.scenario.start, self.folder / "start")
        if not self.limit.private:
            shutil.copytree(self.scenario.start, self.place, dirs_exist_ok=True)
        try:
            code, said = self._run()
        except subprocess.TimeoutExpired as hung:
            yield f"it hung: {(hung.stderr or b'')[-300:]!r}"
            return
        if self.limit.private:
            shutil.rmtree(self.place)
            (self.folder / "kept").rename(self.place)
        yield from self._said(code, said)
        yield from self._visible()
        yield from self._rerun()
        shutil.rmtree(self.folder)

    def _run(self) -> tuple[int, str]:
        """Run the workload under the limit and return its exit code and standard error."""
        given = {"PYTHONPATH": PYTHONPATH, "COLUMNS": "200", "OUT": str(self.folder)}
        environment: dict[str, str] = {**os.environ, **given}
        for name, value in self.limit.environment:
            environment.pop(name, None)
            environment |= {} if value is None else {name: value}
        workload = self.limit.workload.command(self.scenario.inputs, self.place)
        command = ["bash", "-c", self.limit.shell, "bash", sys.executable, "-m", "faults.killable"]
        if self.limit.private:
            command = ["unshare", "-rm", *command]

        def limited() -> None:
            if self.limit.limit:
                kind, value = self.limit.limit
                resource.setrlimit(kind, (value, value))

        done = subprocess.run(
            [*command, *workload],
            env=environment,
            cwd=ROOT,
            preexec_fn=limited,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_HANGS,
            check=False,
        )
        return done.returncode, done.stderr

    def _said(self, code: int, said: str) -> Iterator[str]:
        lines = message_lines(said)
        if code == 0:
            if self.limit.fails:
                yield "it did not fail"
            return
        if "Traceback" in said and not self._by_itself(said):
            yield f"a traceback: {said[-400:]!r}"
        clear = len(lines) == 1 and any(word in lines[0] for word in self.limit.words)
        if not (clear or self.limit.native) and self.limit.words:
            yield f"not one clear line, code {code}: {lines[-4:]}"

    def _by_itself(self, said: str) -> bool:
        """Return whether the traceback is of a library that failed to load or lacked memory."""
        words = ("ImportError", "shared object", "Exception ignored in atexit callback")
        return self.limit.native and any(word in said for word in words)

    def _visible(self) -> Iterator[str]:
        out = self.place / "out"
        if self.scenario.workload.trains or not out.exists():
            return
        if digests(out) not in (self.scenario.former, self.scenario.expected):
            yield f"{SUCCESS if (out / SUCCESS).exists() else 'an unfinished output'} is visible"

    def _rerun(self) -> Iterator[str]:
        code, said = run_fae(
            self.scenario.workload.command(self.scenario.inputs, self.place, alone=True)
        )
        if code and "already" not in said:
            yield f"the rerun ended with {code}: {said[-400:]!r}"
        elif self.scenario.result_in(self.place) != self.scenario.expected:
            yield "the rerun's bytes differ from an undisturbed run's"
