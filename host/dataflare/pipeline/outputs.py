"""Files that appear under their names only when all is in them."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import IO, Self

from dataflare.errors import UsageError
from dataflare.pipeline.failures import DataError

__all__ = ["AtomicFile"]


class AtomicFile:
    """A file that is written beside its final name, in the same folder, and renamed at the end.

    One thread at a time. `commit` or `abort` ends it; both are idempotent, and `abort` does nothing after `commit`.

    Args:
        path: The final name. Its folder is made where it is absent; what is there already is replaced at the end.

    Raises:
        DataError: The file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(8)}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise DataError("is a folder", file=str(path))
            self._file: IO[bytes] | None = open(self._temporary, "xb")  # noqa: SIM115  # closed by commit and abort
        except OSError as error:
            raise _cannot_write(path, error) from error
        self._committed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    @property
    def file(self) -> IO[bytes]:
        """The open file.

        Raises:
            UsageError: It was committed or aborted.
        """
        if self._file is None:
            raise UsageError(f"{self.path} is closed")
        return self._file

    def commit(self) -> None:
        """Make the contents safe and give them their name.

        Raises:
            DataError: That failed; the file was aborted.
            UsageError: It was aborted before.
        """
        if self._committed:
            return
        file = self.file
        try:
            file.flush()
            os.fsync(file.fileno())
            file.close()
            os.replace(self._temporary, self.path)
            self._file, self._committed = None, True
            _sync_folder(self.path.parent)
        except OSError as error:
            self.abort()
            raise _cannot_write(self.path, error) from error

    def abort(self) -> None:
        """Remove what was written."""
        if self._file is None:
            return
        file, self._file = self._file, None
        with contextlib.suppress(OSError):  # what is left in the buffer may have no room
            file.close()
        with contextlib.suppress(FileNotFoundError):
            self._temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _cannot_write(path: Path, error: OSError) -> DataError:
    return DataError(f"cannot be written: {error.strerror or error}", file=str(path))
