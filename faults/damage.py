"""Damage: what can happen to a finished data set, each kind a function of a folder and a draw.

Each changes the data set in place and returns what it did, as disks, copies and people do.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path


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
    return Damage(f"{flipped(place, name)} of {name} flipped", (name,))


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


def _bytes(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()


def flipped(place: Place, name: str) -> str:
    """Flip a bit of a file, or a whole byte; which."""
    data = bytearray((place.folder / name).read_bytes())
    at = place.draw.randrange(len(data))
    mask = place.draw.choice([1 << place.draw.randrange(8), 255])
    data[at] ^= mask
    (place.folder / name).write_bytes(data)
    return f"bits {mask:#04x} of byte {at}"
