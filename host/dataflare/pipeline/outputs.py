"""Files that appear under their names only when they are complete."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final, Literal, Protocol, Self, TypeAlias

from dataflare.errors import UsageError
from dataflare.pipeline.partials import create_partial_file, remove_leftovers
from dataflare.pipeline.run_errors import DataError
from dataflare.real_paths import place_of

__all__ = [
    "AppendLog",
    "AtomicFile",
    "IfExists",
    "Output",
    "OutputAction",
    "Place",
    "StreamFile",
    "as_named",
    "cannot_write",
    "follow_links",
    "open_output",
    "sync_folder",
]

IfExists: TypeAlias = Literal["replace", "append", "fail"]
"""What is done with a file that exists already."""
OutputAction: TypeAlias = Literal["created", "replaced", "appended", "streamed"]
"""What was done to a file."""
Place: TypeAlias = Callable[[Path], Path | None]
"""Finds where an output is written: a path whose last part is not followed if it is a link; `None`: as it is named."""

_MOST_LINKS: Final = 40
_EXECUTED_AS: Final = stat.S_ISUID | stat.S_ISGID
_SINKS: Final = frozenset(os.makedev(1, minor) for minor in (3, 5, 7))
"""Linux's numbers of /dev/null, /dev/zero and /dev/full."""
_COPIED_BYTES: Final = 2**20
# Without O_NONBLOCK, a pipe that took a file's place would be waited for.
_EXISTING: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Output(Protocol):
    """A file that is being written; one thread at a time. `commit` or `abort` ends it."""

    path: Path
    action: OutputAction

    @property
    def file(self) -> IO[bytes]: ...

    def commit(self) -> None: ...

    def abort(self) -> None: ...


def as_named(_path: Path) -> None:
    """Let an output be where its name says."""


class AppendLog(Protocol):
    """Remembers what a run added to a file; see `PendingFile`."""

    def kept_bytes(self, file: os.stat_result) -> int | None: ...

    def record(self, kept_bytes: int, file: os.stat_result, before: os.stat_result | None) -> None: ...


def open_output(
    path: Path,
    *,
    if_exists: IfExists = "replace",
    place: Place = as_named,
    repeated: Callable[[bytes], bool] | None = None,
    log: AppendLog | None = None,
) -> Output:
    """Begin to write a file.

    A symbolic link is followed: what it points to is replaced, in its own folder, and the link stays. Only a regular
    file is ever replaced; a pipe, a terminal and standard output (`/dev/stdout`) are written to as they are.

    Args:
        path: The file's name. Its folder is created if it is missing.
        if_exists: What is done with a regular file of that name.
        place: Where it is; a host with a policy finds that itself, and has only regular files.
        repeated: Tells from the beginning of a line whether it is left out when a file is appended to.
        log: Records what is added to a file; `None`: it is not recorded.

    Raises:
        DataError: It cannot be written; names the file.
        PermissionDenied: It may not be written.
    """
    try:
        placed = place(path)
        if placed is not None:
            return AtomicFile(placed, if_exists=if_exists, shown=path, repeated=repeated, log=log)
        target = follow_links(path)
        found = _status(target)
        if target.is_relative_to("/proc") or target.is_relative_to("/sys"):
            return StreamFile(path, _own_stream(path, target))
        if found is None or stat.S_ISREG(found.st_mode):
            return AtomicFile(target, if_exists=if_exists, repeated=repeated, log=log)
        if stat.S_ISDIR(found.st_mode):
            raise DataError("is a folder", file=str(path), hint="name a file, or the columns in `partition_by`")
        if stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode):
            return StreamFile(path, _open_stream(path, target))
    except OSError as error:
        raise cannot_write(path, error) from error
    what = "a socket" if stat.S_ISSOCK(found.st_mode) else "a device"
    raise DataError(f"is {what}, which is not written to", file=str(path), hint="name a regular file")


class _OpenFile:
    """A file that is written to until it is committed or aborted."""

    path: Path
    _file: IO[bytes] | None

    @property
    def file(self) -> IO[bytes]:
        """The open file.

        Raises:
            UsageError: It was committed or aborted.
        """
        if self._file is None:
            raise UsageError(f"{self.path} is closed")
        return self._file


class AtomicFile(_OpenFile):
    """A file that is written beside its final name, in the same folder, and renamed at the end.

    One thread at a time. `commit` or `abort` ends it; both are idempotent, and `abort` does nothing after `commit`. A
    file that is replaced hands on its owner, group, permissions and access list.

    Args:
        path: The final name, of no symbolic link. Its folder is created if it is missing.
        if_exists: `replace` puts the new file in place of one that is there, in one step. `append` begins with a
            copy of its contents, and refuses a file that changes or appears during the run. `fail` refuses it, also
            if it appears during the run.
        shown: What errors and reports call it; `None` for `path`.
        repeated: Tells from the beginning of a line whether `append` leaves it out of the copy.
        log: Says how much of a file `append` begins with, and is told of what is added before it is visible.

    Attributes:
        action: What `commit` does, or did.
        file: The open file; with `append`, after the contents that were there.
        begin: The position after those contents, in bytes.

    Raises:
        DataError: The file cannot be made.
    """

    def __init__(
        self,
        path: Path,
        *,
        if_exists: IfExists = "replace",
        shown: Path | None = None,
        repeated: Callable[[bytes], bool] | None = None,
        log: AppendLog | None = None,
    ) -> None:
        self._log = log if if_exists == "append" else None
        self.path = path if shown is None else shown
        self._repeated = repeated
        self._target = path
        self._if_exists = if_exists
        self._file: IO[bytes] | None = None
        self._committed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._before = _own_status(path)
            self.action: OutputAction = "created"
            if self._before is not None:
                self._check_existing(self._before)
                self.action = "appended" if if_exists == "append" else "replaced"
            remove_leftovers(path)
            # Nobody may read more of the new file than of the old one, not even while it is written.
            mode = 0o666 if self._before is None else 0o600
            self._temporary, descriptor = create_partial_file(path, mode)
            self._file = os.fdopen(descriptor, "wb")
            if self.action == "appended":
                self._copy_existing(self._file)
            self.begin = self._file.tell()
        except OSError as error:
            self.abort()
            raise cannot_write(self.path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def commit(self) -> None:
        """Make the contents safe and give the file its name.

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
            self._take_over_permissions(file.fileno())
            if self._log is not None:
                self._log.record(self.begin, os.fstat(file.fileno()), self._before)
            self._publish()
        except OSError as error:
            self.abort()
            raise cannot_write(self.path, error) from error
        except BaseException:
            self.abort()
            raise
        self._file, self._committed = None, True
        with contextlib.suppress(OSError):  # all that matters is on the disk
            file.close()
            sync_folder(self._target.parent)

    def abort(self) -> None:
        """Remove what was written."""
        if self._file is None:
            return
        file, self._file = self._file, None
        # The name goes first: once the file is closed, nothing protects it from those who look for leftovers.
        with contextlib.suppress(FileNotFoundError):
            self._temporary.unlink()
        with contextlib.suppress(OSError):  # what is left in the buffer may have no room
            file.close()

    def _check_existing(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise DataError("is not a regular file", file=str(self.path), hint="name another file")
        if self._if_exists == "fail":
            hint = "remove it, name another file, or let the node replace it: `if_exists: replace`"
            raise DataError("exists already", file=str(self.path), hint=hint)
        if not os.access(self._target, os.W_OK):
            raise DataError("exists, and you may not write to it", file=str(self.path), hint="change its permissions")

    def _copy_existing(self, file: IO[bytes]) -> None:
        with open(os.open(self._target, _EXISTING), "rb") as existing:
            if self._repeated is None:
                kept = None if self._log is None or self._before is None else self._log.kept_bytes(self._before)
                left = sys.maxsize if kept is None else kept
                while part := existing.read(min(_COPIED_BYTES, left)):
                    file.write(part)
                    left -= len(part)
            else:
                _copy_lines(existing, file, without=self._repeated)
        file.flush()  # sinks look at what is there

    def _take_over_permissions(self, descriptor: int) -> None:
        before = self._before
        if before is None:
            return
        # As when a file is written to: the rights that it ran with do not apply to new contents.
        mode = stat.S_IMODE(before.st_mode) & ~_EXECUTED_AS
        own = os.fstat(descriptor)
        if (own.st_uid, own.st_gid) != (before.st_uid, before.st_gid):
            try:
                os.fchown(descriptor, before.st_uid, before.st_gid)
            except PermissionError:
                # Another group must not get the rights of the old group.
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, -1, before.st_gid)
                if os.fstat(descriptor).st_gid != before.st_gid:
                    mode &= ~stat.S_IRWXG | ((mode & stat.S_IRWXO) << 3)
        os.fchmod(descriptor, mode)
        with contextlib.suppress(OSError):  # no access list, or no such thing here
            name = "system.posix_acl_access"
            os.setxattr(descriptor, name, os.getxattr(self._target, name, follow_symlinks=False))

    def _publish(self) -> None:
        """Give the file its name, in one step."""
        if self._if_exists == "fail" or (self._if_exists == "append" and self.action == "created"):
            self._publish_new()
            return
        if self.action == "appended" and not _is_same(self._before, _own_status(self._target)):
            raise self._changed("while the run added to a copy of it")
        os.replace(self._temporary, self._target)

    def _changed(self, when: str) -> DataError:
        hint = "run again; let one run at a time append to a file"
        return DataError(f"was changed by somebody else {when}", file=str(self.path), hint=hint)

    def _publish_new(self) -> None:
        try:
            try:
                os.link(self._temporary, self._target)
                self._temporary.unlink()
            except FileExistsError:
                raise
            except OSError:  # a file system without hard links
                os.close(os.open(self._target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
                os.replace(self._temporary, self._target)
        except FileExistsError:
            if self._if_exists == "append":
                raise self._changed("while the run was under way: it came up") from None
            what, hint = (
                "came up while the run was under way",
                "does another program write it? `if_exists: replace` replaces it",
            )
            raise DataError(what, file=str(self.path), hint=hint) from None


class StreamFile(_OpenFile):
    """A pipe, a terminal or another device that is written to directly: written bytes cannot be taken back."""

    action: OutputAction = "streamed"

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._file: IO[bytes] | None = os.fdopen(descriptor, "wb")

    def commit(self) -> None:
        """Write out the buffer; idempotent.

        Raises:
            DataError: That failed.
        """
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                raise cannot_write(self.path, error) from error

    def abort(self) -> None:
        """Close it; idempotent."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()


def _copy_lines(source: IO[bytes], target: IO[bytes], *, without: Callable[[bytes], bool]) -> None:
    """Copy lines, some left out; what is asked about is their first MiB."""
    begins, kept = True, True
    while part := source.readline(_COPIED_BYTES):
        if begins:
            kept = not without(part)
        if kept:
            target.write(part)
        begins = part.endswith(b"\n")


def sync_folder(folder: Path) -> None:
    """Make names in a folder survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def follow_links(path: Path) -> Path:
    """Follow symbolic links to what they name, which may be absent; in /proc, a name is as far as it goes.

    Raises:
        OSError: They lead in a circle.
    """
    for _ in range(_MOST_LINKS):
        path = place_of(path)
        if path.is_relative_to("/proc") or not path.is_symlink():
            return path
        path = path.parent / os.readlink(path)
    raise OSError("too many symbolic links")


def _own_stream(path: Path, target: Path) -> int:
    """Open standard output or standard error once more; nothing else in /proc or /sys is a place for data."""
    for descriptor in (1, 2):
        if target in (Path(f"/proc/{os.getpid()}/fd/{descriptor}"), Path(f"/proc/self/fd/{descriptor}")):
            return os.dup(descriptor)
    hint = "name a regular file, or /dev/stdout"
    raise DataError("is a part of the system, which is not written to", file=str(path), hint=hint)


def _open_stream(path: Path, target: Path) -> int:
    try:
        # Without waiting: a pipe that nobody reads would keep the run, and an interrupt of it, for as long as it likes.
        descriptor = os.open(target, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if stat.S_ISFIFO(os.stat(target).st_mode):
            hint = "start the program that reads it first"
            raise DataError("is a pipe that no program reads", file=str(path), hint=hint) from error
        raise
    if not _takes_data(descriptor):
        os.close(descriptor)
        hint = "name a regular file, a pipe or a terminal"
        raise DataError("is a part of the system, which is not written to", file=str(path), hint=hint)
    os.set_blocking(descriptor, True)
    return descriptor


def _takes_data(descriptor: int) -> bool:
    """Whether it is a pipe, a terminal, or a device that keeps nothing; others are parts of the system."""
    status = os.fstat(descriptor)
    return stat.S_ISFIFO(status.st_mode) or os.isatty(descriptor) or status.st_rdev in _SINKS


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _own_status(path: Path) -> os.stat_result | None:
    """The status of what has this name, even if it is a link."""
    try:
        return os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _is_same(one: os.stat_result | None, other: os.stat_result | None) -> bool:
    """Whether it is the same file with the same contents, as far as its status tells."""
    if one is None or other is None:
        return False
    return all(getattr(one, name) == getattr(other, name) for name in ("st_dev", "st_ino", "st_size", "st_mtime_ns"))


def cannot_write(path: Path, error: OSError) -> DataError:
    """Say why a file cannot be written, and what to do."""
    hint = ""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        hint = "you need the permission to write to its folder, or name another file"
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        hint = "make room on the disk, or name a file on another one"
    elif error.errno == errno.EFBIG:
        hint = "raise the limit on the size of files (`ulimit -f`)"
    return DataError(f"cannot be written: {error.strerror or error}", file=str(path), hint=hint)
