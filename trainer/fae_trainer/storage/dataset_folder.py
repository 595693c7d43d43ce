"""The folder of a prepared data set, on the local disk or in an object store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fae.format.errors import DatasetError
from fae.format.integrity import DataFile, check_file, check_files
from fae.format.manifest import MANIFEST_FILE, SUCCESS, Manifest, unfinished_error
from fae_trainer.storage.object_store import SCHEME, RemoteFile, find_size, read_bytes


@dataclass(frozen=True)
class LocalFolder:
    """A folder on the local disk."""

    directory: Path

    def read_manifest(self) -> Manifest:
        """Return its manifest; raise DatasetError where it holds no finished data set."""
        return Manifest.read(self.directory)

    def check_sizes(self, files: Sequence[DataFile]) -> None:
        """Raise DatasetError where a file is absent, a link to elsewhere, or of another size."""
        check_files(self.directory, files)

    def check_content(self, file: DataFile) -> None:
        """Raise DatasetError where a file's sha256 is not the manifest's."""
        check_file(self.locate(file), file)

    def locate(self, file: DataFile) -> Path:
        """Return where a file lies."""
        return self.directory / file.path


@dataclass(frozen=True)
class RemoteFolder:
    """A folder in S3, which is read by ranges; `url` has no slash at its end."""

    url: str

    def read_manifest(self) -> Manifest:
        """Return its manifest; raise DatasetError where it holds no finished data set."""
        where = f"{self.url}/{MANIFEST_FILE}"
        try:
            success = read_bytes(f"{self.url}/{SUCCESS}")
            return Manifest.parse(read_bytes(where), where, success)
        except FileNotFoundError:
            raise unfinished_error(self.url) from None

    def check_sizes(self, files: Sequence[DataFile]) -> None:
        """Raise DatasetError where a file is absent or of another size."""
        for file in files:
            size, where = find_size(str(self.locate(file))), self.locate(file)
            if size is None:
                raise DatasetError(f"{where} is absent, but the manifest names it.")
            if size != file.bytes:
                raise DatasetError(f"{where} is damaged: {size:,} bytes, not {file.bytes:,}.")

    def check_content(self, file: DataFile) -> None:
        """Raise DatasetError where a file's sha256 is not the manifest's."""
        with self.locate(file).open() as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != file.sha256:
                raise DatasetError(
                    f"{self.locate(file)} is damaged: its sha256 is not the manifest's."
                )

    def locate(self, file: DataFile) -> RemoteFile:
        """Return where a file lies."""
        return RemoteFile(f"{self.url}/{file.path}", file.bytes)


def open_folder(data: Path | str) -> LocalFolder | RemoteFolder:
    """Return the folder of a data set, which is a path or an s3:// URL."""
    if str(data).startswith(SCHEME):
        return RemoteFolder(str(data).rstrip("/"))
    return LocalFolder(Path(data))
