"""Files of built-in connectors: under a policy only below granted directories, and never the run's own files.

Under a policy a path is resolved once, and then opened from the granted directory down, part by part, without following
links. A concurrent change of the tree can make a run fail, but cannot redirect it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Final

from dataflare.errors import PermissionDenied
from dataflare.grants import DirectoryGrant
from dataflare.locks import Lock
from dataflare.real_paths import real_path
from dataflare.security.protected import ProtectedFiles
from dataflare.waiting_pipes import open_plain

__all__ = ["CONNECTOR_PREFIX", "ConnectorFiles", "Record"]

Record = Callable[[str, str, str, str, str], None]
"""Writes a use to the audit log: connector, function, object, decision, reason."""

CONNECTOR_PREFIX: Final = "connector:"
"""The prefix of a connector's name in the audit log; no plugin's name has a colon."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a FIFO that took a file's place would wait forever.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_OWN_FILE: Final = "let the run write to a file of its own"
_NOT_THERE: Final = OSError
"""Errors for a name that does not exist or is not possible; the code that uses the name reports them."""
_DESCRIPTORS: Final = Path("/proc/self/fd")


class ConnectorFiles:
    """Opens the files of one run's connectors. Any thread may use it. It must be closed.

    Args:
        granted: The directories, by the policy's names; `None` without a policy: every path is allowed.
        protected: The files that must never be an output.
        record: Writes each use and each refusal to the audit log.
        source: The policy's file, for errors.
    """

    def __init__(
        self,
        granted: Mapping[str, DirectoryGrant] | None,
        *,
        protected: ProtectedFiles,
        record: Record,
        source: str = "",
    ) -> None:
        self._granted = granted
        self._protected = protected
        self._record = record
        self._source = source
        self._lock = Lock()
        self._folders: list[int] = []

    def close(self) -> None:
        """Close the folders of outputs; idempotent."""
        with self._lock:
            folders, self._folders = self._folders, []
        for each in folders:
            os.close(each)

    def open_input(self, path: Path, *, connector: str) -> IO[bytes]:
        """Open a file to read it.

        Args:
            path: The file, absolute.
            connector: The reading connector, such as `csv`.

        Raises:
            PermissionDenied: The file is not below a granted directory, or is not a regular file.
            OSError: The file cannot be opened.
        """
        if self._granted is None:
            file = open_plain(path)
            self._record(connector, "open", f"file:read:{path}", "allow", "")
            return file
        name, parts = self._find(path, "read", connector)
        folder = self._descend(name, parts[:-1])
        try:
            descriptor = os.open(parts[-1], _FILE, dir_fd=folder)
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            reason = f"{path} is not a regular file"
            raise self._refused(connector, "open", f"files:read:{name}", reason, "read a regular file")
        self._record(connector, "open", f"files:read:{name}", "allow", "/".join(parts))
        return os.fdopen(descriptor, "rb")

    def check_input(self, path: Path, *, connector: str) -> None:
        """Refuse a file or a pattern that may not be read, before any message reveals what exists.

        Raises:
            PermissionDenied: It is not below a granted directory.
        """
        if self._granted is not None:
            self._find(path, "read", connector)

    def check_output(self, path: Path, *, connector: str) -> None:
        """Refuse a file that may not be written, before anything is created.

        Raises:
            PermissionDenied: Under the conditions of `place_output`.
        """
        if self._granted is None:
            if reason := self._protected.reason_of(path):
                raise self._refused(connector, "create", f"file:write:{path}", f"{path} {reason}", _OWN_FILE)
            return
        name, parts = self._find(path, "write", connector)
        try:
            folder = self._descend(name, parts[:-1])
        except _NOT_THERE:
            # Missing folders are created at the first write, which also reports those that cannot be created.
            if reason := self._protected.reason_of(path):
                what = f"files:write:{name}"
                raise self._refused(connector, "create", what, f"{path} {reason}", _OWN_FILE) from None
            return
        try:
            self._check_name(folder, name, parts[-1], path, connector)
        finally:
            os.close(folder)

    def place_output(self, path: Path, *, connector: str) -> Path | None:
        """Find the place of an output file, or of a folder of files; create missing folders.

        Args:
            path: The output, an absolute path.
            connector: The writing connector.

        Returns:
            A path to the same place that stays valid until `close`, even if the tree changes; its last part must not be
                followed if it is a link. `None` without a policy: use `path` itself.

        Raises:
            PermissionDenied: The output is not below a directory that is granted for writing, or is one of the run's
                own files.
            OSError: A folder cannot be created or opened.
        """
        if self._granted is None:
            self.check_output(path, connector=connector)
            self._record(connector, "create", f"file:write:{path}", "allow", "")
            return None
        name, parts = self._find(path, "write", connector)
        folder = self._descend(name, parts[:-1], make=True)
        with self._lock:
            self._folders.append(folder)
        self._check_name(folder, name, parts[-1], path, connector)
        self._record(connector, "create", f"files:write:{name}", "allow", "/".join(parts))
        return _DESCRIPTORS / str(folder) / parts[-1]

    def _find(self, path: Path, access: str, connector: str) -> tuple[str, tuple[str, ...]]:
        """Return the granted directory that contains a path, and the parts below it."""
        assert self._granted is not None
        real = real_path(path)
        around = [
            (len(each.path.parts), name)
            for name, each in self._granted.items()
            if real != each.path and real.is_relative_to(each.path) and (access == "read" or each.writable)
        ]
        if not around:
            function = "open" if access == "read" else "create"
            reason = f"{real} is below no directory that {self._source} grants to connectors to {access}"
            hint = f"grant a directory around it under `connectors` in {self._source}, or name a file below one that is"
            raise self._refused(connector, function, "files:?", reason, hint)
        _, name = max(around)
        return name, real.relative_to(self._granted[name].path).parts

    def _descend(self, name: str, parts: tuple[str, ...], *, make: bool = False) -> int:
        """Open a directory below a granted one; with `make`, create what is missing."""
        assert self._granted is not None
        root = self._granted[name].path
        if make:
            # The operator's own path, whose links may be followed.
            root.mkdir(parents=True, exist_ok=True)
        folder = os.open(root, _DIRECTORY)
        for part in parts:
            try:
                if make:
                    _make(part, folder)
                below = os.open(part, _DIRECTORY, dir_fd=folder)
            finally:
                os.close(folder)
            folder = below
        return folder

    def _check_name(self, folder: int, granted: str, name: str, path: Path, connector: str) -> None:
        reason = self._protected.reason(folder, name)
        if not reason and _is_link(name, folder):
            reason = "became a symbolic link"
        if reason:
            raise self._refused(connector, "create", f"files:write:{granted}", f"{path} {reason}", _OWN_FILE)

    def _refused(self, connector: str, function: str, what: str, reason: str, hint: str) -> PermissionDenied:
        self._record(connector, function, what, "deny", reason)
        return PermissionDenied(f"connector {connector!r}: {reason}", capability=what, hint=hint)


def _make(name: str, folder: int) -> None:
    try:
        os.mkdir(name, dir_fd=folder)
    except FileExistsError:
        return


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except _NOT_THERE:
        return False
