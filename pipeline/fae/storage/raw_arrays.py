"""Write arrays as files of bare numbers, and map them to read."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from typing import Any

import numpy as np
import numpy.typing as npt

from fae.storage.folder import Folder


def write_numbers(folder: Folder, name: str, arrays: Iterable[npt.NDArray[Any]]) -> None:
    """Write the numbers of several arrays, one array after the other, as a file."""
    with folder.write(name) as path, path.open("wb") as file:
        for array in arrays:
            file.write(array.data)


@contextmanager
def create_numbers(
    folder: Folder, name: str, dtype: npt.DTypeLike, count: int
) -> Iterator[npt.NDArray[Any]]:
    """Yield an array of so many zeros, at least one, to fill; it is the new file, mapped."""
    with folder.write(name) as path:
        numbers = np.memmap(path, dtype, mode="w+", shape=(count,))
        yield numbers
        numbers.flush()


def read_numbers(folder: Folder, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return all numbers of a file as a read-only array, mapped where the file is local."""
    with folder.read(name) as path, path.open("rb") as file:
        if not path.stat().st_size:  # an empty file cannot be mapped
            return np.empty(0, dtype)
        return np.frombuffer(mmap(file.fileno(), 0, access=ACCESS_READ), dtype)
