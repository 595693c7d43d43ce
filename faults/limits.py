"""Limits: full and read-only disks, too little memory, too few files, and other refusals.

A limit is survived if the run ends well all the same, or in one clear line with an exit code other
than 0, without a traceback and without touching inputs and finished outputs; and if the same
command then, without the limit, ends in the bytes of an undisturbed run. Limits that need rights
which are not to be had here are noted and not counted.
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
from faults.victims import VICTIMS, Scene, Victim, fae, write_inputs
from tests.support.project import PYTHONPATH, ROOT
from tests.support.small_logs import digests

_HANGS = 120
_PREPARE, _APPEND, _TRAIN = VICTIMS[0], VICTIMS[2], VICTIMS[3]
_DASK = next(victim for victim in VICTIMS if victim.name == "one worker")
_MB = 10**6


@dataclass(frozen=True)
class Limit:
    """What a victim is denied. `shell` is wrapped around the command `"$@"` where it is given.

    In it OUT is the case's folder. `words` are those that the message must have where the run
    fails; `fails` says that it must. `cheap` ones are part of CI. `native` tells that a library may
    end the process by itself, without a word of Python's.
    """

    name: str
    victim: Victim
    shell: str = 'exec "$@"'
    words: tuple[str, ...] = ()
    fails: bool = True
    cheap: bool = False
    native: bool = False
    private: bool = False
    limit: tuple[int, int] | None = None
    environment: tuple[tuple[str, str | None], ...] = ()


def _full(kilobytes: int, victim: Victim, **rest: Any) -> Limit:
    """A disk of so many KiB, whose contents are kept for the rerun as a larger disk would."""
    shell = (
        f'mount -t tmpfs -o size={kilobytes}k none "$OUT/disk" && cp -r "$OUT/start/." "$OUT/disk"'
        ' && { "$@"; code=$?; cp -r "$OUT/disk/." "$OUT/kept"; exit $code; }'
    )
    return Limit(
        f"{victim.name}: a disk of {kilobytes} KiB", victim, shell,
        ("No space left", "If its disk is full"),
        private=True, **rest,
    )  # fmt: skip


_READ_ONLY = (
    'cp -r "$OUT/start/." "$OUT/disk" && cp -r "$OUT/start/." "$OUT/kept" && '
    'mount --bind "$OUT/disk" "$OUT/disk" && mount -o remount,ro,bind "$OUT/disk" && exec "$@"'
)

LIMITS = [
    _full(60, _PREPARE, cheap=True),
    *(_full(size, _PREPARE) for size in (4, 16, 120, 200, 300)),
    _full(500, _APPEND),
    _full(400, _APPEND),
    *(_full(size, _DASK) for size in (16, 200)),
    _full(4, _TRAIN, cheap=True),
    _full(20, _TRAIN),
    *(Limit(f"{victim.name}: read-only", victim, _READ_ONLY, ("Read-only file system",),
            private=True, cheap=victim is _PREPARE) for victim in (_PREPARE, _APPEND, _TRAIN)),
    Limit("no file of more than 4 KiB", _PREPARE, words=("File too large", "ulimit -f"), cheap=True,
          limit=(resource.RLIMIT_FSIZE, 4096)),
    Limit("train: no file of more than 4 KiB", _TRAIN, words=("checkpoint.pt cannot be written",),
          limit=(resource.RLIMIT_FSIZE, 4096)),
    Limit("12 open files", _PREPARE, words=("ulimit -n",), cheap=True, fails=False,
          limit=(resource.RLIMIT_NOFILE, 12)),
    Limit("24 open files, a worker", _DASK, words=("limits on open files",),
          limit=(resource.RLIMIT_NOFILE, 24)),
    Limit("train: 12 open files", _TRAIN, words=("ulimit -n",), fails=False,
          limit=(resource.RLIMIT_NOFILE, 12)),
    *(Limit(f"{size} MB of addresses", _PREPARE, fails=False, native=True,
            words=("ran out", "thread"), limit=(resource.RLIMIT_AS, size * _MB))
      for size in (1600, 2000, 2500)),
    Limit("train: 1500 MB of addresses", _TRAIN, fails=False, native=True, words=("ran out",),
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
    """Try all limits; `amount` is not looked at."""
    del amount
    return tried(LIMITS, seed, folder)


def tried(limits: Sequence[Limit], seed: int, folder: Path) -> Outcome:
    """Try these limits, and what is refused at once."""
    outcome, skipped = Outcome(), []
    inputs = write_inputs(folder / "inputs", seed)
    before = digests(inputs)
    names = list(dict.fromkeys(limit.victim.name for limit in limits))
    scenes = {
        victim.name: Scene(victim, inputs, folder / f"victim{names.index(victim.name)}")
        for victim in VICTIMS
        if victim.name in names
    }
    private = _private()
    for number, limit in enumerate(limits):
        if limit.private and not private:
            skipped.append(limit.name)
            continue
        faults = list(_Trial(limit, scenes[limit.victim.name], folder / f"limit{number}").faults())
        _count(outcome, f"limits, seed {seed}, {limit.name}", faults)
    for name, refusal in REFUSALS.items():
        place = folder / "refused"
        place.mkdir()
        _count(outcome, f"limits, seed {seed}, {name}", list(refusal(inputs, place)))
        shutil.rmtree(place)
    if digests(inputs) != before:
        outcome.fail(f"limits, seed {seed}: the inputs were changed")
    if skipped:
        outcome.notes["limits not tried for want of rights"] = ", ".join(skipped)
    return outcome


def _count(outcome: Outcome, what: str, faults: list[str]) -> None:
    if faults:
        outcome.fail(f"{what}: {'; '.join(faults)}")
    else:
        outcome.survive()


def _private() -> bool:
    """Whether this user may mount what no other process sees."""
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@dataclass(frozen=True)
class _Trial:
    """One run under a limit, and one without."""

    limit: Limit
    scene: Scene
    folder: Path

    @property
    def place(self) -> Path:
        """Where the victim works; in private mounts it is a disk of its own."""
        return self.folder / "disk"

    def faults(self) -> Iterator[str]:
        """What is wrong, if anything."""
        self.folder.mkdir()
        for name in ("disk", "kept"):
            (self.folder / name).mkdir()
        shutil.copytree(self.scene.start, self.folder / "start")
        if not self.limit.private:
            shutil.copytree(self.scene.start, self.place, dirs_exist_ok=True)
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
        """Run the victim under the limit: exit code and what it said."""
        given = {"PYTHONPATH": PYTHONPATH, "COLUMNS": "200", "OUT": str(self.folder)}
        environment: dict[str, str] = {**os.environ, **given}
        for name, value in self.limit.environment:
            environment.pop(name, None)
            environment |= {} if value is None else {name: value}
        victim = self.limit.victim.command(self.scene.inputs, self.place)
        command = ["bash", "-c", self.limit.shell, "bash", sys.executable, "-m", "faults.victim"]
        if self.limit.private:
            command = ["unshare", "-rm", *command]

        def limited() -> None:
            if self.limit.limit:
                kind, value = self.limit.limit
                resource.setrlimit(kind, (value, value))

        done = subprocess.run(
            [*command, *victim],
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
        """Whether a library that cannot be loaded, or has no memory, ended it."""
        return self.limit.native and ("ImportError" in said or "shared object" in said)

    def _visible(self) -> Iterator[str]:
        out = self.place / "out"
        if self.scene.victim.trains or not out.exists():
            return
        if digests(out) not in (self.scene.former, self.scene.wanted):
            yield f"{SUCCESS if (out / SUCCESS).exists() else 'a part'} is to be seen"

    def _rerun(self) -> Iterator[str]:
        code, said = fae(self.scene.victim.command(self.scene.inputs, self.place, alone=True))
        if code and "already" not in said:
            yield f"the rerun ended with {code}: {said[-400:]!r}"
        elif self.scene.made(self.place) != self.scene.wanted:
            yield "the rerun's bytes differ from an undisturbed run's"
