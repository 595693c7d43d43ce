"""Damage: what can happen to a finished data set, each kind a function of a folder and a draw.

Each changes the data set in place and returns what it did. Bytes change as disks and copies change
them; manifests also as a person's edit or a forger's would, with its checksum made right again.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from small_logs import signed

from pipeline.manifest import FILE_NAME


@dataclass(frozen=True)
class Damage:
    """What was done, and to which files, by their names in the data set.

    A `forged` one carries right checksums, so that what is inside is read; nobody can find all of
    those. One that `escapes` would have files outside the data set read.
    """

    what: str
    files: tuple[str, ...]
    forged: bool = False
    escapes: bool = False


@dataclass(frozen=True)
class Place:
    """The data set to damage, and another with files of the same names."""

    folder: Path
    other: Path
    draw: random.Random

    def names(self) -> list[str]:
        """All files."""
        return sorted(
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if path.is_file()
        )

    def any(self, *without: str) -> str:
        """One of the files, empty ones aside."""
        names = [name for name in self.names() if (self.folder / name).stat().st_size]
        return self.draw.choice([name for name in names if name not in without])


def flip(place: Place) -> Damage:
    """Flip one bit of a file, or all of a byte's."""
    name = place.any()
    return Damage(f"{_flipped(place, name)} of {name} flipped", (name,))


def cut(place: Place) -> Damage:
    """Cut a file short: by a byte, anywhere, or to nothing."""
    name = place.any()
    size = (place.folder / name).stat().st_size
    left = place.draw.choice([0, size - 1, place.draw.randrange(size), size // 2])
    os.truncate(place.folder / name, left)
    return Damage(f"{name} cut to {left} of {size} bytes", (name,))


def lengthen(place: Place) -> Damage:
    """Add bytes at the end of a file."""
    name = place.any()
    more = place.draw.choice([b"\0", b"\n", b" ", b"PAR1", (place.folder / name).read_bytes()])
    with (place.folder / name).open("ab") as file:
        file.write(more)
    return Damage(f"{len(more)} bytes added to {name}", (name,))


def zero(place: Place) -> Damage:
    """Make a stretch of a file zeros, as a lost block of a disk is."""
    name = place.any()
    data = bytearray((place.folder / name).read_bytes())
    start = place.draw.randrange(len(data))
    stop = min(start + place.draw.choice([16, 512, 4096]), len(data))
    if not any(data[start:stop]):
        return flip(place)
    data[start:stop] = bytes(stop - start)
    (place.folder / name).write_bytes(data)
    return Damage(f"bytes {start} to {stop} of {name} zeroed", (name,))


def drop(place: Place) -> Damage:
    """Remove a file."""
    name = place.draw.choice(place.names())
    (place.folder / name).unlink()
    return Damage(f"{name} removed", (name,))


def drop_folder(place: Place) -> Damage:
    """Remove a folder with all that is in it."""
    folders = sorted({str(Path(name).parent) for name in place.names()} - {"."})
    gone = place.draw.choice(folders)
    files = tuple(name for name in place.names() if name.startswith(f"{gone}/"))
    shutil.rmtree(place.folder / gone)
    return Damage(f"{gone}/ removed", files)


def duplicate(place: Place) -> Damage:
    """Leave a copy of a file under a name that nobody knows."""
    name = place.draw.choice(place.names())
    path = Path(name)
    ends = (f"{path.stem}-copy{path.suffix}", f".{path.name}", "part-00099.parquet", "\udcff\n.tmp")
    new = path.with_name(place.draw.choice(ends)).as_posix()
    shutil.copyfile(place.folder / name, place.folder / new)
    shown = new if new.isprintable() else ascii(new)
    return Damage(f"{name} copied to {shown}", (shown,))


def swap(place: Place) -> Damage:
    """Exchange two files that are not the same."""
    one = place.any()
    data = (place.folder / one).read_bytes()
    others = [name for name in place.names() if (place.folder / name).read_bytes() != data]
    two = place.draw.choice(others)
    (place.folder / one).write_bytes((place.folder / two).read_bytes())
    (place.folder / two).write_bytes(data)
    return Damage(f"{one} and {two} swapped", (one, two))


def rename(place: Place) -> Damage:
    """Give a file another name."""
    name = place.draw.choice(place.names())
    path = Path(name)
    ends = (path.name.upper() + "X", path.name + ".partial", f" {path.name}", path.name + ".gz")
    new = path.with_name(place.draw.choice(ends)).as_posix()
    (place.folder / name).rename(place.folder / new)
    return Damage(f"{name} renamed {new}", (name,))


def directory(place: Place) -> Damage:
    """Put a directory where a file was."""
    name = place.draw.choice(place.names())
    (place.folder / name).unlink()
    (place.folder / name).mkdir()
    return Damage(f"{name} is a directory", (name,))


def link(place: Place) -> Damage:
    """Move a file out of the data set and leave a link to it, or one that leads nowhere."""
    name = place.draw.choice(place.names())
    path = place.folder / name
    outside = place.folder.with_name("outside")
    if place.draw.random() < 0.7:
        path.rename(outside)
        path.symlink_to(outside)
        return Damage(f"{name} is a link to outside", (name,), escapes=True)
    path.unlink()
    path.symlink_to(place.draw.choice([path, Path("/dev/zero"), Path("nowhere")]))
    return Damage(f"{name} is a link to {path.readlink()}", (name,), escapes=True)


def stray_link(place: Place) -> Damage:
    """Add a link that the manifest does not name."""
    name = "split=train/temperature=hot/part-00077.parquet"
    (place.folder / name).symlink_to(place.draw.choice(["/etc", "nowhere", "part-00000.parquet"]))
    return Damage(f"a link {name}", (name,))


def mix(place: Place) -> Damage:
    """Put another data set's file in the place of one."""
    names = [name for name in place.names() if (place.other / name).is_file()]
    differ = [name for name in names if _bytes(place.other, name) != _bytes(place.folder, name)]
    name = place.draw.choice(differ)
    shutil.copyfile(place.other / name, place.folder / name)
    return Damage(f"{name} of another data set", (name,))


def edit(place: Place) -> Damage:
    """Change a value, a type or a key of the manifest."""
    return Damage(f"manifest: {_edited(place)}", (FILE_NAME,))


def respace(place: Place) -> Damage:
    """Write the manifest otherwise with the same meaning."""
    path = place.folder / FILE_NAME
    document = json.loads(path.read_text(encoding="utf-8"))
    texts = [json.dumps(document), json.dumps(document, indent=2), path.read_text() + "\n"]
    path.write_text(place.draw.choice(texts), encoding="utf-8")
    return Damage("manifest: the same in other characters", (FILE_NAME,))


def forge_manifest(place: Place) -> Damage:
    """Edit the manifest and make its checksum right again."""
    what = _edited(place)
    signed(place.folder)
    return Damage(f"signed manifest: {what}", (FILE_NAME,), forged=True)


def forge_path(place: Place) -> Damage:
    """Have the signed manifest name a file outside the data set."""
    path = place.folder / FILE_NAME
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
    return Damage(f"signed path {file['path']!r}", (FILE_NAME,), forged=True, escapes=True)


def forge_file(place: Place) -> Damage:
    """Flip bits of a Parquet file and make all checksums right again."""
    parquet = [name for name in place.names() if name.endswith(".parquet")]
    name = place.draw.choice(parquet)
    flips = [_flipped(place, name) for _ in range(place.draw.choice([1, 1, 4]))]
    path = place.folder / FILE_NAME
    document = json.loads(path.read_text(encoding="utf-8"))
    data = (place.folder / name).read_bytes()
    for file in _files(document):
        if file["path"] == name:
            file |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    signed(place.folder)
    return Damage(f"signed {name}: {', '.join(flips)} flipped", (name,), forged=True)


#: Kinds of damage; what is more often met, or finds more, comes more often.
KINDS: tuple[Callable[[Place], Damage], ...] = (
    flip, flip, flip, cut, cut, lengthen, zero, drop, drop_folder, duplicate, swap, swap, rename,
    directory, link, stray_link, mix, mix, edit, edit, edit, respace, forge_manifest,
    forge_manifest, forge_path, forge_file, forge_file,
)  # fmt: skip


def _bytes(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()


def _flipped(place: Place, name: str) -> str:
    """Flip a bit of a file, or a whole byte; which."""
    data = bytearray((place.folder / name).read_bytes())
    at = place.draw.randrange(len(data))
    mask = place.draw.choice([1 << place.draw.randrange(8), 255])
    data[at] ^= mask
    (place.folder / name).write_bytes(data)
    return f"bits {mask:#04x} of byte {at}"


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
    path = place.folder / FILE_NAME
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
