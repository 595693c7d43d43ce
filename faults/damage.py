"""Damage to finished data sets, as disks, copies and people cause it.

Each kind is a function that changes a data set in place and returns what it did.
"""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Damage:
    """A description of the damage, and the damaged files by their names in the data set.

    `forged` damage has matching checksums, so that the contents are read; not all of it can be
    found. Damage that `escapes` makes readers open files outside the data set.
    """

    what: str
    files: tuple[str, ...]
    forged: bool = False
    escapes: bool = False


@dataclass(frozen=True)
class Target:
    """The data set to damage, and another one with files of the same names."""

    folder: Path
    other: Path
    draw: random.Random

    def names(self) -> list[str]:
        """Return the names of all files."""
        return sorted(
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if path.is_file()
        )

    def any(self, *without: str) -> str:
        """Draw one of the files that are not empty."""
        names = [name for name in self.names() if (self.folder / name).stat().st_size]
        return self.draw.choice([name for name in names if name not in without])


def flip(target: Target) -> Damage:
    """Flip one bit of a file, or all of a byte's."""
    name = target.any()
    return Damage(f"{flip_bits(target, name)} of {name} flipped", (name,))


def cut(target: Target) -> Damage:
    """Cut a file short: by a byte, anywhere, or to nothing."""
    name = target.any()
    size = (target.folder / name).stat().st_size
    left = target.draw.choice([0, size - 1, target.draw.randrange(size), size // 2])
    os.truncate(target.folder / name, left)
    return Damage(f"{name} cut to {left} of {size} bytes", (name,))


def lengthen(target: Target) -> Damage:
    """Add bytes at the end of a file."""
    name = target.any()
    more = target.draw.choice([b"\0", b"\n", b" ", b"PAR1", (target.folder / name).read_bytes()])
    with (target.folder / name).open("ab") as file:
        file.write(more)
    return Damage(f"{len(more)} bytes added to {name}", (name,))


def zero(target: Target) -> Damage:
    """Make a stretch of a file zeros, as a lost block of a disk is."""
    name = target.any()
    data = bytearray((target.folder / name).read_bytes())
    start = target.draw.randrange(len(data))
    stop = min(start + target.draw.choice([16, 512, 4096]), len(data))
    if not any(data[start:stop]):
        return flip(target)
    data[start:stop] = bytes(stop - start)
    (target.folder / name).write_bytes(data)
    return Damage(f"bytes {start} to {stop} of {name} zeroed", (name,))


def drop(target: Target) -> Damage:
    """Remove a file."""
    name = target.draw.choice(target.names())
    (target.folder / name).unlink()
    return Damage(f"{name} removed", (name,))


def drop_folder(target: Target) -> Damage:
    """Remove a folder with all that is in it."""
    folders = sorted({str(Path(name).parent) for name in target.names()} - {"."})
    gone = target.draw.choice(folders)
    files = tuple(name for name in target.names() if name.startswith(f"{gone}/"))
    shutil.rmtree(target.folder / gone)
    return Damage(f"{gone}/ removed", files)


def duplicate(target: Target) -> Damage:
    """Leave a copy of a file under a name that the manifest does not have."""
    name = target.draw.choice(target.names())
    path = Path(name)
    ends = (f"{path.stem}-copy{path.suffix}", f".{path.name}", "part-00099.parquet", "\udcff\n.tmp")
    new = path.with_name(target.draw.choice(ends)).as_posix()
    shutil.copyfile(target.folder / name, target.folder / new)
    shown = new if new.isprintable() else ascii(new)
    return Damage(f"{name} copied to {shown}", (shown,))


def swap(target: Target) -> Damage:
    """Exchange two files that are not the same."""
    one = target.any()
    data = (target.folder / one).read_bytes()
    others = [name for name in target.names() if (target.folder / name).read_bytes() != data]
    two = target.draw.choice(others)
    (target.folder / one).write_bytes((target.folder / two).read_bytes())
    (target.folder / two).write_bytes(data)
    return Damage(f"{one} and {two} swapped", (one, two))


def rename(target: Target) -> Damage:
    """Give a file another name."""
    name = target.draw.choice(target.names())
    path = Path(name)
    ends = (path.name.upper() + "X", path.name + ".partial", f" {path.name}", path.name + ".gz")
    new = path.with_name(target.draw.choice(ends)).as_posix()
    (target.folder / name).rename(target.folder / new)
    return Damage(f"{name} renamed {new}", (name,))


def directory(target: Target) -> Damage:
    """Put a directory where a file was."""
    name = target.draw.choice(target.names())
    (target.folder / name).unlink()
    (target.folder / name).mkdir()
    return Damage(f"{name} is a directory", (name,))


def link(target: Target) -> Damage:
    """Move a file out of the data set and leave a link to it, or one that leads nowhere."""
    name = target.draw.choice(target.names())
    path = target.folder / name
    outside = target.folder.with_name("outside")
    if target.draw.random() < 0.7:
        path.rename(outside)
        path.symlink_to(outside)
        return Damage(f"{name} is a link to outside", (name,), escapes=True)
    path.unlink()
    path.symlink_to(target.draw.choice([path, Path("/dev/zero"), Path("nowhere")]))
    return Damage(f"{name} is a link to {path.readlink()}", (name,), escapes=True)


def stray_link(target: Target) -> Damage:
    """Add a link that the manifest does not name."""
    name = "split=train/temperature=hot/part-00077.parquet"
    (target.folder / name).symlink_to(target.draw.choice(["/etc", "nowhere", "part-00000.parquet"]))
    return Damage(f"a link {name}", (name,))


def mix(target: Target) -> Damage:
    """Put another data set's file in the place of one."""
    names = [name for name in target.names() if (target.other / name).is_file()]
    differ = [name for name in names if _bytes(target.other, name) != _bytes(target.folder, name)]
    name = target.draw.choice(differ)
    shutil.copyfile(target.other / name, target.folder / name)
    return Damage(f"{name} of another data set", (name,))


def _bytes(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()


def flip_bits(target: Target, name: str) -> str:
    """Flip a bit or a byte of a file and return which."""
    data = bytearray((target.folder / name).read_bytes())
    at = target.draw.randrange(len(data))
    mask = target.draw.choice([1 << target.draw.randrange(8), 255])
    data[at] ^= mask
    (target.folder / name).write_bytes(data)
    return f"bits {mask:#04x} of byte {at}"
