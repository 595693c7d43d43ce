"""`.ci/audit` finds the pins that an advisory names, and no others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.project import ROOT

PINNED = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
)


def advise(name: str, package: str, events: list[dict[str, str]], **more: Any) -> dict[str, Any]:
    span = {"type": "ECOSYSTEM", "events": events}
    affected = {"package": {"ecosystem": "PyPI", "name": package}, "ranges": [span]}
    return {"id": name, "modified": "2026-01-02", "affected": [affected], **more}


def audit(folder: Path, *advisories: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    for advisory in advisories:
        (folder / f"{advisory['id']}.yaml").write_text(yaml.safe_dump(advisory), encoding="utf-8")
    command = [sys.executable, ROOT / ".ci" / "audit", folder]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_pins_within_a_range_are_told_and_others_are_not(tmp_path: Path) -> None:
    always = {"introduced": "0"}
    listed = advise("LISTED", "msgpack", [])
    listed["affected"][0] |= {"versions": [PINNED["msgpack"]]}
    done = audit(
        tmp_path,
        advise("OPEN", "PyYAML", [{"introduced": "1"}, {"fixed": "999.1"}]),
        advise("LAST", "ruamel_yaml", [always, {"last_affected": PINNED["ruamel.yaml"]}]),
        advise("AGAIN", "jinja2", [always, {"fixed": "1.0"}, {"introduced": "2.0"}]),
        listed,
        advise("FIXED", "numpy", [always, {"fixed": PINNED["numpy"]}]),
        advise("LATER", "numpy", [{"introduced": "999"}]),
        advise("STRANGER", "nobody-pins-this", [always]),
        advise("WITHDRAWN", "numpy", [always], withdrawn="2026-01-03"),
    )
    assert done.returncode == 1
    found = {line.split(": ")[1].split(",")[0]: line for line in done.stdout.splitlines()[1:]}
    assert found.keys() == {"OPEN", "LAST", "AGAIN", "LISTED"}
    assert found["OPEN"] == f"pyyaml {PINNED['PyYAML']}: OPEN, mended in 999.1"
    assert "mended in no version" in found["LAST"]
    assert done.stdout.splitlines()[0].endswith("7 advisories, the newest of 2026-01-02")


def test_an_accepted_advisory_is_told_with_its_reason(tmp_path: Path) -> None:
    done = audit(
        tmp_path, advise("GHSA", "diskcache", [{"introduced": "0"}], aliases=["CVE-2025-69872"])
    )
    assert done.returncode == 0
    assert "(accepted: diskcache reads its cache as pickles" in done.stdout


def test_what_builds_a_release_is_pinned_by_hash() -> None:
    lines = (ROOT / ".ci" / "release-requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins
    assert all("==" in pin and " --hash=sha256:" in pin for pin in pins)
    assert "--require-hashes" in (ROOT / ".ci" / "release").read_text(encoding="utf-8")
