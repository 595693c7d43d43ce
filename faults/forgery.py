"""Edited manifests, and damage whose checksums are corrected afterwards."""

from __future__ import annotations

import json
import random
from typing import Any

from fae.format.manifest import MANIFEST_FILE
from faults.damage import Damage, Target, flip_bits
from tests.support.small_logs import resigned, signed


def edit(target: Target) -> Damage:
    """Change a value, a type or a key of the manifest."""
    return Damage(f"manifest: {_edit_manifest(target)}", (MANIFEST_FILE,))


def respace(target: Target) -> Damage:
    """Format the manifest differently without changing its meaning."""
    path = target.folder / MANIFEST_FILE
    document = json.loads(path.read_text(encoding="utf-8"))
    texts = [json.dumps(document), json.dumps(document, indent=2), path.read_text() + "\n"]
    path.write_text(target.draw.choice(texts), encoding="utf-8")
    return Damage("manifest: the same in other characters", (MANIFEST_FILE,))


def forge_manifest(target: Target) -> Damage:
    """Edit the manifest and correct its checksum."""
    what = _edit_manifest(target)
    signed(target.folder)
    return Damage(f"signed manifest: {what}", (MANIFEST_FILE,), forged=True)


def forge_path(target: Target) -> Damage:
    """Make the manifest, with a correct checksum, name a file outside the data set."""
    path = target.folder / MANIFEST_FILE
    document = json.loads(path.read_text(encoding="utf-8"))
    file = target.draw.choice(_list_files(document))
    aims = [
        "../outside",
        "/etc/passwd",
        "a/../../outside",
        "..",
        ".",
        "\0",
        "\ud800",
        "C:\\x",
        "//x",
    ]
    file["path"] = target.draw.choice(aims)
    path.write_text(json.dumps(document), encoding="utf-8")
    signed(target.folder)
    return Damage(f"signed path {file['path']!r}", (MANIFEST_FILE,), forged=True, escapes=True)


def forge_file(target: Target) -> Damage:
    """Flip bits of a Parquet file and correct all checksums."""
    parquet = [name for name in target.names() if name.endswith(".parquet")]
    name = target.draw.choice(parquet)
    flips = [flip_bits(target, name) for _ in range(target.draw.choice([1, 1, 4]))]
    resigned(target.folder, name)
    return Damage(f"signed {name}: {', '.join(flips)} flipped", (name,), forged=True)


def _list_files(document: Any) -> list[dict[str, Any]]:
    """Return every entry of a file in the manifest."""
    if isinstance(document, list):
        return [file for item in document for file in _list_files(item)]
    if not isinstance(document, dict):
        return []
    if "sha256" in document:
        return [document]
    return [file for item in document.values() for file in _list_files(item)]


def _edit_manifest(target: Target) -> str:
    """Change one thing in the manifest and return what."""
    path = target.folder / MANIFEST_FILE
    document = json.loads(path.read_text(encoding="utf-8"))
    before = json.dumps(document)
    what = ""
    while json.dumps(document) == before:
        what = _edit(document, target.draw)
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return what


def _edit(document: Any, draw: random.Random) -> str:
    """Change one thing in a JSON document and return what."""
    if draw.random() < 0.15:
        one, two = draw.sample(_list_files(document), 2)
        key = draw.choice(["sha256", "bytes", "rows", "path"])
        one[key], two[key] = two[key], one[key]
        return f"{key} of {one['path']} and {two['path']} swapped"
    where: list[Any] = []
    inside: Any = document
    while isinstance(inside, dict | list) and inside and (not where or draw.random() < 0.93):
        holder: Any = inside
        where.append(draw.choice(list(inside) if isinstance(inside, dict) else range(len(inside))))
        inside = holder[where[-1]]
    key = where[-1]
    act = draw.choice(["change", "change", "change", "remove", "add"])
    if act == "remove":
        del holder[key]
    elif act == "add" and isinstance(holder, dict):
        holder[f"{key}2"] = inside
    elif act == "add":
        holder.append(inside)
    else:
        holder[key] = _change(inside, draw)
        return f"{where} is {holder[key]!r:.40}"
    return f"{where}: {act}"


def _change(value: Any, draw: random.Random) -> Any:
    """Return another value than `value`, often of another type."""
    anything: list[Any] = [
        None,
        "",
        [],
        {},
        0,
        -1,
        1.5,
        True,
        "x\0y",
        "\ud800",
        2**31,
        2**63,
        [[[]]],
    ]
    if draw.random() < 0.3:
        return draw.choice(anything)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return draw.choice([value + 1, value - 1, -value, value * 2, str(value), float(value)])
    if isinstance(value, str) and value:
        at = draw.randrange(len(value))
        return draw.choice([value[:at] + "0" + value[at + 1 :], value[:-1], value + " ", value * 2])
    if isinstance(value, list):
        return [*value[1:], *value[:1]]
    return draw.choice(anything)
