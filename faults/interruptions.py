"""Interruptions: end programs by SIGINT, SIGTERM or SIGHUP at any moment, with cold caches.

`crashes` forks processes that have loaded all libraries. These programs start from nothing, half of
them with an empty cache of kernels, so that a signal meets imports and compilations too, and half
of them in a terminal, whose Ctrl-C reaches their workers too and whose end takes their output away.
One is survived if the program ends with the signal's exit code and one message (without any, if it
has not begun or has finished), and if the same command then ends in the bytes of an undisturbed
run.
"""

from __future__ import annotations

import fcntl
import os
import pty
import random
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from faults.kills import HANGS
from faults.outcome import Outcome
from faults.programs import FAE, Launch
from faults.workloads import BUDGET, TRAINING, WORKLOADS, Scenario, Workload, write_inputs
from tests.support.small_logs import digests

#: The first word of the message that each signal ends in.
_WORDS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "terminated",
}
#: What only a program that was torn down has on standard error.
_FAULTS = ("Traceback", "Exception ignored", "Fatal Python error", "Error:")
_INGESTED = ("ingest", "IN/day0-*.csv", "--schema", "IN/shop.yaml", "--out", "HERE/staging")
_PROFILED = ("profile", "HERE/staging", "--out", "HERE/frequencies")
_CALIBRATED = (
    *("calibrate", "HERE/staging", "HERE/frequencies", "--hot-budget", "600"),
    *("--rule", "inputs", "--out", "HERE/hot"),
)
_PREPARED = ("prepare", *_INGESTED[1:-1], "HERE/data", *BUDGET)
_TRAINED = ("train", "HERE/data", "--out", "HERE/run", *TRAINING)
_MODEL = (_PREPARED, _TRAINED)
_NAMES = ("two threads, inputs", "append", "train, hot-cold", "one worker")
_INTERRUPTED = [
    *(one for one in WORKLOADS if one.name in _NAMES),
    Workload("calibrate", _CALIBRATED, (_INGESTED, _PROFILED)),
    Workload(
        "partition",
        ("partition", "HERE/staging", "HERE/frequencies", "HERE/hot", "--out", "HERE/data"),
        (_INGESTED, _PROFILED, _CALIBRATED),
    ),
    Workload("ingest", _INGESTED),
    Workload("profile", _PROFILED, (_INGESTED,)),
    Workload("schema", ("schema", "infer", "IN/day0-0.csv", "--out", "HERE/schema.yaml")),
    Workload("synth", ("synth", "criteo", "--rows", "20000", "--out", "HERE/log.gz")),
    Workload("verify", ("verify", "IN/data")),
    Workload("summary", ("summary", "HERE/data", "--run", "HERE/run"), _MODEL),
    Workload("report", ("report", "HERE/data", "--out", "HERE/page.html"), (_PREPARED,)),
    Workload("evaluate", ("evaluate", "HERE/data", "--run", "HERE/run"), _MODEL),
    Workload("import", ("import", "HERE/run", "--data", "IN/data", "--out", "HERE/new"), _MODEL),
    Workload("export", ("export", "HERE/data", "HERE/run", "--out", "HERE/tables"), _MODEL),
    Workload(
        "predict",
        ("predict", "IN/day1-*.csv", "--run", "HERE/run", "--out", "HERE/scores.parquet"),
        _MODEL,
    ),
]
_CTRL_C = b"\x03"
_TIMINGS = ".timings.json"
#: What a terminal adds to a message: colours and movements, and the echo of Ctrl-C.
_DECORATION = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\^C")


@dataclass(frozen=True)
class Interruption:
    """A signal after some seconds; with an empty cache of kernels if `cold`."""

    sent: signal.Signals
    after: float
    cold: bool
    in_terminal: bool

    def __str__(self) -> str:
        place = ", in a terminal" if self.in_terminal else ""
        cache = "cold" if self.cold else "warm"
        return f"{self.sent.name} after {self.after:.3f} s, {cache}{place}"


def campaign(seed: int, amount: int, folder: Path) -> Outcome:
    """Interrupt `amount` programs, one workload after the other."""
    for ending in _WORDS:  # what starts in the background ignores SIGINT, and so do its children
        signal.signal(ending, signal.SIG_DFL)
    outcome, ends, draw = Outcome(), Counter[str](), random.Random(seed)
    inputs = write_inputs(folder / "inputs", seed)
    scenarios = [Scenario(one, inputs, folder / one.name) for one in _INTERRUPTED]

    @cache
    def run_undisturbed(scenario: Scenario, cold: bool) -> tuple[float, dict[str, Any]]:
        place = scenario.new_folder(f"undisturbed, {'cold' if cold else 'warm'}")
        started = time.monotonic()
        code, errors = _run(scenario, place, folder / "kernels of none" if cold else None)
        if code:
            raise RuntimeError(f"{scenario.workload.name} ended with {code}: {errors}")
        return time.monotonic() - started, _read_result(scenario, place)

    for number in range(amount):
        scenario, cold = scenarios[number % len(scenarios)], draw.random() < 0.5
        seconds, expected = run_undisturbed(scenario, cold)
        sent = draw.choice(list(_WORDS))
        fault = Interruption(sent, draw.uniform(0, seconds), cold, draw.random() < 0.5)
        place = scenario.new_folder(f"case{number}")
        code, errors = _run(scenario, place, folder / f"kernels{number}" if cold else None, fault)
        ends[f"{sent.name} {code}"] += 1
        finished = _read_result(scenario, place) == expected
        found = _find_fault(scenario, place, fault, code, errors, finished)
        if found is None:
            again, errors = _run(scenario, place)
            if _read_result(scenario, place) != expected:
                found = f"the rerun ended with {again}, and other bytes: {errors[-500:]!r}"
        name = f"interruptions, seed {seed}, case {number} ({scenario.workload.name}), {fault}"
        print(f"{name}: {code}, {found or 'survived'}", file=sys.stderr, flush=True)
        if found is None:
            outcome.survive()
        else:
            outcome.fail(f"{name}: {found}")
    outcome.notes["interruptions by exit code"] = ", ".join(
        f"{end}: {count}" for end, count in sorted(ends.items())
    )
    return outcome


def _read_result(scenario: Scenario, place: Path) -> dict[str, Any]:
    """Return what the workload has written, without what differs from one run to the next.

    It is nothing where a run lacks files.
    """
    if scenario.workload in WORKLOADS:
        with suppress(FileNotFoundError):
            return scenario.result_in(place)
        return {}
    return {name: sha for name, sha in digests(place).items() if not name.endswith(_TIMINGS)}


def _run(
    scenario: Scenario, place: Path, kernels: Path | None = None, fault: Interruption | None = None
) -> tuple[int, str]:
    """Run the workload in its folder, disturbed; return its exit code and its messages.

    The kernels' cache is the folder `kernels` if that is given. A program that does not end in time
    is killed.
    """
    launch = Launch(place, {"NUMBA_CACHE_DIR": str(kernels)} if kernels else {})
    in_terminal = fault is not None and fault.in_terminal
    said, written = pty.openpty() if in_terminal else os.pipe()
    with subprocess.Popen(
        launch.command(FAE, *scenario.workload.command(scenario.inputs, Path())),
        cwd=launch.folder,
        env=launch.environment,
        stdin=written if in_terminal else subprocess.DEVNULL,
        stdout=written if in_terminal else subprocess.DEVNULL,
        stderr=written,
        start_new_session=in_terminal,
        preexec_fn=_take_terminal if in_terminal else None,
    ) as program:
        os.close(written)
        messages, ended = _read(said, fault.after if fault else HANGS)
        if fault and not ended:
            if not in_terminal or fault.sent == signal.SIGTERM:
                program.send_signal(fault.sent)
            elif fault.sent == signal.SIGINT:
                os.write(said, _CTRL_C)
            if not (in_terminal and fault.sent == signal.SIGHUP):
                more, _ = _read(said, HANGS)
                messages += more
        os.close(said)  # the end of a terminal sends SIGHUP to all that run in it
        try:
            code = program.wait(HANGS)
        except subprocess.TimeoutExpired:
            program.kill()
            code = program.wait()
    return code, _DECORATION.sub("", messages.decode(errors="replace")).replace("\r", "\n")


def _take_terminal() -> None:
    """Let standard input be the terminal that controls this new session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _read(said: int, seconds: float) -> tuple[bytes, bool]:
    """Return what a program says in so many seconds, and whether nobody can say more."""
    messages, deadline = b"", time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([said], [], [], left)[0]:
            try:
                more = os.read(said, 65_536)
            except OSError:  # how a terminal that no program has open says so
                more = b""
            if not more:
                return messages, True
            messages += more
    return messages, False


def _find_fault(
    scenario: Scenario,
    place: Path,
    fault: Interruption,
    code: int,
    errors: str,
    finished: bool,
) -> str | None:
    """Return what is wrong with how an interrupted program ended, if anything is."""
    if any(one in errors for one in _FAULTS):
        return f"{errors[-1500:]!r}"
    sent = fault.sent
    if code == 128 + sent:
        if sent == signal.SIGHUP and fault.in_terminal:
            return None  # its message went with its terminal
        lines = [line for line in errors.splitlines() if line.startswith(_WORDS[sent])]
        return None if len(lines) == 1 else f"not one message: {errors[-500:]!r}"
    names = {path.name for path in place.iterdir()}
    begun = names != {path.name for path in scenario.start.iterdir()}
    if code == 0 or (code == -sent and (finished or not begun)):
        return None
    return f"not {128 + sent}: {errors[-500:]!r}"
