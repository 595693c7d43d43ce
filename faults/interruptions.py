"""Interruptions: end programs by SIGINT, SIGTERM or SIGHUP at any moment, with cold caches.

`crashes` forks processes that have loaded all libraries. These programs start from nothing, half of
them with an empty cache of kernels, so that a signal meets imports and compilations too. One is
survived if the program ends with the signal's exit code and one message (without any, if it has not
begun or has finished), and if the same command then ends in the bytes of an undisturbed run.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from functools import cache
from pathlib import Path

from faults.kills import HANGS
from faults.outcome import Outcome
from faults.programs import FAE, Launch
from faults.workloads import WORKLOADS, Scenario, Workload, write_inputs

#: The first word of the message that each signal ends in.
_WORDS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "terminated",
}
#: What only a program that was torn down has on standard error.
_FAULTS = ("Traceback", "Exception ignored", "Fatal Python error", "Error:")
_CALIBRATE = Workload(
    "calibrate, inputs",
    (
        *("calibrate", "HERE/staging", "HERE/frequencies", "--hot-budget", "600"),
        *("--rule", "inputs", "--out", "HERE/out"),
    ),
    (
        ("ingest", "IN/day0-*.csv", "--schema", "IN/shop.yaml", "--out", "HERE/staging"),
        ("profile", "HERE/staging", "--out", "HERE/frequencies"),
    ),
)
_NAMES = ("two threads, inputs", "append", "train, hot-cold", "one worker")
_INTERRUPTED = [_CALIBRATE, *(one for one in WORKLOADS if one.name in _NAMES)]


def campaign(seed: int, amount: int, folder: Path) -> Outcome:
    """Interrupt `amount` programs, one workload after the other."""
    for ending in _WORDS:  # what starts in the background ignores SIGINT, and so do its children
        signal.signal(ending, signal.SIG_DFL)
    outcome, ends, draw = Outcome(), Counter[str](), random.Random(seed)
    inputs = write_inputs(folder / "inputs", seed)
    scenarios = [Scenario(one, inputs, folder / one.name) for one in _INTERRUPTED]

    @cache
    def measure_seconds(scenario: Scenario, cold: bool) -> float:
        place = scenario.new_folder(f"undisturbed, {'cold' if cold else 'warm'}")
        started = time.monotonic()
        code, errors = _run(scenario, place, folder / "kernels of none" if cold else None)
        if code:
            raise RuntimeError(f"{scenario.workload.name} ended with {code}: {errors}")
        return time.monotonic() - started

    for number in range(amount):
        scenario, cold = scenarios[number % len(scenarios)], draw.random() < 0.5
        sent, place = draw.choice(list(_WORDS)), scenario.new_folder(f"case{number}")
        after = draw.uniform(0, measure_seconds(scenario, cold))
        kernels = folder / f"kernels{number}" if cold else None
        code, errors = _run(scenario, place, kernels, sent, after)
        ends[f"{sent.name} {code}"] += 1
        found = _find_fault(scenario, place, sent, code, errors)
        if found is None:
            again, errors = _run(scenario, place)
            measure_seconds(scenario, False)
            expected = scenario.result_in(scenario.folder / "undisturbed, warm")
            if again:
                found = f"the rerun ended with {again}: {errors[-500:]!r}"
            elif scenario.result_in(place) != expected:
                found = "its bytes differ from an undisturbed run's"
        if found is None:
            outcome.survive()
        else:
            outcome.fail(
                f"interruptions, seed {seed}, case {number} ({scenario.workload.name}), "
                f"{sent.name} after {after:.3f} s, {'cold' if cold else 'warm'}: {found}"
            )
    outcome.notes["interruptions by exit code"] = ", ".join(
        f"{end}: {count}" for end, count in sorted(ends.items())
    )
    return outcome


def _run(
    scenario: Scenario,
    place: Path,
    kernels: Path | None = None,
    sent: signal.Signals | None = None,
    after: float = HANGS,
) -> tuple[int, str]:
    """Run the workload, with a signal `after` seconds; return its exit code and its messages.

    The kernels' cache is the folder `kernels` if that is given. A program that does not end in time
    is killed.
    """
    launch = Launch(place, {"NUMBA_CACHE_DIR": str(kernels)} if kernels else {})
    with subprocess.Popen(
        launch.command(FAE, *scenario.workload.command(scenario.inputs, place)),
        env=launch.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        for number, seconds in ((sent, after), (signal.SIGKILL, HANGS)):
            try:
                return program.wait(seconds), program.communicate()[1]
            except subprocess.TimeoutExpired:
                program.send_signal(number or signal.SIGKILL)
        return program.wait(), program.communicate()[1]


def _find_fault(
    scenario: Scenario, place: Path, sent: signal.Signals, code: int, errors: str
) -> str | None:
    """Return what is wrong with how an interrupted program ended, if anything is."""
    if any(fault in errors for fault in _FAULTS):
        return f"{code}: {errors[-1500:]!r}"
    if code == 128 + sent:
        lines = [line for line in errors.splitlines() if line.startswith(_WORDS[sent])]
        return None if len(lines) == 1 else f"{code} without its message: {errors[-500:]!r}"
    names = {path.name for path in place.iterdir()}
    begun = names != {path.name for path in scenario.start.iterdir()}
    if code == 0 or (code == -sent and (not begun or "out" in names)):
        return None
    return f"{code} and not {128 + sent}: {errors[-500:]!r}"
