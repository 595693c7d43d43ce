"""Forgery: manifests that were edited, and data sets whose checksums were made right again."""

from __future__ import annotations

import json
import random
from typing import Any

from fae.format.manifest import MANIFEST_FILE
from faults.damage import Damage, Place, flipped
from tests.support.small_logs import resigned, signed


def edit(place: Place) -> Damage:
    """Change a value, a type or a key of the manifest."""
    return Damage(f"manifest: {_edited(place)}", (MANIFEST_FILE,))


def respace(place: Place) -> Damage:
    """Write the manifest otherwise with the same meaning."""
    path = place.folder / MANIFEST_FILE
    document = json.loads(path.read_text(encoding="utf-8"))
    texts = [json.dumps(document), json.dumps(document, indent=2), path.read_text() + "\n"]
    path.write_text(place.draw.choice(texts), encoding="utf-8")
    return Damage("manifest: the same in other characters", (MANIFEST_FILE,))


def forge_manifest(place: Place) -> Damage:
    """Edit the manifest and make its checksum right again."""
    what = _edited(place)
    signed(place.folder)
    return Damage(f"signed manifest: {what}", (MANIFEST_FILE,), forged=True)


def forge_path(place: Place) -> Damage:
    """Have the signed manifest name a file outside the data set."""
    path = place.folder / MANIFEST_FILE
    document = json.loads(path.read_text(encoding="utf-8"))
    file = place.draw.choice(_files(document))
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
    file["path"] = place.draw.choice(aims)
    path.write_text(json.dumps(document), encoding="utf-8")
    signed(place.folder)
    return Damage(f"signed path {file['path']!r}", (MANIFEST_FILE,), forged=True, escapes=True)


def forge_file(place: Place) -> Damage:
    """Flip bits of a Parquet file and make all checksums right again."""
    parquet = [name for name in place.names() if name.endswith(".parquet")]
    name = place.draw.choice(parquet)
    flips = [flipped(place, name) for _ in range(place.draw.choice([1, 1, 4]))]
    resigned(place.folder, name)
    return Damage(f"signed {name}: {', '.join(flips)} flipped", (name,), forged=True)


def _files(document: Any) -> list[dict[str, Any]]:
    """Every entry of a file in the manifest."""
    if isinstance(document, list):
        return [file for item in document for file in _files(item)]
    if not isinstance(document, dict):
        return []
    if "sha256" in document:
        return [document]
    return [file for item in document.values() for file in _files(item)]


def _edited(place: Place) -> str:
    """Change one thing in the manifest; what."""
    path = place.folder / MANIFEST_FILE
    document = json.loads(path.read_text(encoding="utf-8"))
    before = json.dumps(document)
    what = ""
    while json.dumps(document) == before:
        what = _edit_of(document, place.draw)
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return what


def _edit_of(document: Any, draw: random.Random) -> str:
    """Change one thing in a JSON document; what."""
    if draw.random() < 0.15:
        one, two = draw.sample(_files(document), 2)
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
        holder[key] = _changed(inside, draw)
        return f"{where} is {holder[key]!r:.40}"
    return f"{where}: {act}"


def _changed(value: Any, draw: random.Random) -> Any:
    """Another value in the place of one."""
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
