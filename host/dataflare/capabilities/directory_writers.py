"""Writers of files in directories: new files, which get their name at the end, and files that grow in place.

An unpublished append is removed when the writer is closed or, after a crash, at the next use of the file: a journal
beside the file has its length before the append. The writer holds a lock on the file while it lives. So a journal of an
unlocked file is left from a crash.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Literal

from dataflare.budgets import current
from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.files import PRIVATE_PREFIX, Bytes
from dataflare.interruptible import Descriptor

__all__ = [
    "PART_BYTES",
    "AppendedFile",
    "NewFile",
    "Place",
    "failure_of",
    "kind_of",
    "kind_of_mode",
    "roll_back",
    "translated",
]

PART_BYTES: Final = 4 * 2**20
"""Bytes that are read or written between two checks of the clock."""

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a FIFO that took a file's place would wait forever.
_OLD: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_JOURNAL_BYTES: Final = 4096
_TAIL_BYTES: Final = 4096
_CASES: dict[int, str] = {
    errno.ENOENT: "not-found",
    errno.EEXIST: "already-exists",
    errno.ENOTEMPTY: "already-exists",
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP), "denied"),
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENODEV), "wrong-kind"),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ), "invalid-path"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "no-space"),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ETIMEDOUT), "input-output"),
}


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a file to write.

    Args:
        parent: The open directory; a writer keeps a duplicate.
        name: The file's name in it.
        path: The file's name in errors.
        limit: The largest size of the file in bytes; `None` for no limit.
        closed: Called when the writer is closed; kept no longer than the writer.
    """

    parent: int
    name: str
    path: str
    limit: int | None
    closed: Callable[[], None]


class _Writer:
    """An open file to which bytes are appended."""

    def __init__(self, place: Place, descriptor: int, begin: int) -> None:
        self._place = place
        self._begin = begin
        self._written = 0
        self._published = False
        self._failed = False
        self._folder = Descriptor(os.dup(place.parent))
        self._file = Descriptor(descriptor)

    @property
    def _parent(self) -> int:
        return self._folder.number

    def write(self, data: Bytes) -> None:
        descriptor = self._number()
        rest = memoryview(data)
        limit, start = self._place.limit, self._begin + self._written
        if limit is not None and start + len(rest) > limit:
            raise CapabilityFailure("no-space", f"the file would be larger than file_bytes = {limit}")
        done = 0
        try:
            with translated(self._place.path):
                budget = current()
                while done < len(rest):
                    budget.check_time()
                    done += os.pwrite(descriptor, rest[done : done + PART_BYTES], start + done)
        except CapabilityFailure:
            # All or nothing: a full disk must not leave a partial record.
            with self._fatal():
                os.ftruncate(descriptor, start)
            raise
        self._written += done

    def tell(self) -> int:
        return self._written

    def sync(self) -> None:
        if not self._published:
            with self._fatal():
                os.fsync(self._number())

    def publish(self) -> None:
        if self._published:
            return
        self.sync()
        with translated(self._place.path):
            self._publish()
            self._published = True
            os.fsync(self._parent)

    def close_handle(self) -> None:
        if self._file.number < 0:
            return
        if not self._published:
            with suppress(
                OSError
            ):  # there is no caller to report to; the next use of the file rolls back by the journal
                self._discard(self._file.number)
        self._place.closed()
        self._file.close()
        self._folder.close()

    def __del__(self) -> None:
        # An interrupt may have lost it before its owner could close it.
        if hasattr(self, "_file"):
            self.close_handle()

    def _publish(self) -> None:
        """Publish the written bytes, in one step."""
        raise NotImplementedError

    def _discard(self, descriptor: int) -> None:
        """Remove everything that was written."""
        raise NotImplementedError

    @contextmanager
    def _fatal(self) -> Iterator[None]:
        """Discard the file if the block fails: a later sync would not write what a failed sync left out."""
        try:
            with translated(self._place.path):
                yield
        except CapabilityFailure:
            self._failed = True
            raise

    def _number(self) -> int:
        if self._failed:
            raise CapabilityFailure("input-output", "an earlier write failed: the file is given up")
        if self._published:
            raise CapabilityFailure("other", "the file is published: nothing can be written to it")
        if self._file.number < 0:
            raise CapabilityFailure("other", "the file is closed")
        return self._file.number


class NewFile(_Writer):
    """A file without a name until it is published; `replace` says whether it may replace another file."""

    def __init__(self, place: Place, *, replace: bool) -> None:
        self._replace = replace
        self._temporary = f"{PRIVATE_PREFIX}{secrets.token_hex(8)}.part"
        descriptor = os.open(self._temporary, _NEW, 0o666, dir_fd=place.parent)
        try:
            super().__init__(place, descriptor, 0)
        except BaseException:
            os.close(descriptor)
            os.unlink(self._temporary, dir_fd=place.parent)
            raise

    def _publish(self) -> None:
        name, parent = self._place.name, self._parent
        if self._replace:
            if kind_of(parent, name) not in (None, "file"):
                raise CapabilityFailure("wrong-kind", f"{self._place.path!r} is not a file")
            os.rename(self._temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        else:
            # Unlike a rename, a link never replaces another file.
            os.link(self._temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
            os.unlink(self._temporary, dir_fd=parent)

    def _discard(self, descriptor: int) -> None:
        os.unlink(self._temporary, dir_fd=self._parent)


class AppendedFile(_Writer):
    """A file that grows in place; created if it is missing.

    Raises:
        CapabilityFailure: `busy` while another writer appends to it, `denied` for a file with several names or with
            set-id bits: writing to it would also write elsewhere, or run with another user's rights.
    """

    def __init__(self, place: Place) -> None:
        parent, name = place.parent, place.name
        try:
            descriptor, made = os.open(name, _OLD, dir_fd=parent), False
        except FileNotFoundError:
            descriptor, made = os.open(name, _NEW & ~os.O_WRONLY | os.O_RDWR, 0o666, dir_fd=parent), True
        try:
            _require_own(descriptor, place.path)
            if not _lock(descriptor) or not _is_at(descriptor, parent, name):
                raise CapabilityFailure("busy", f"{place.path!r}: another writer appends to it")
            made = _take_away(descriptor, parent, name) or made
            begin = os.fstat(descriptor).st_size
            _write_journal(descriptor, parent, name, begin, made=made)
            self._made = made
            super().__init__(place, descriptor, begin)
        except BaseException:
            os.close(descriptor)
            raise

    def _publish(self) -> None:
        if not _is_at(self._number(), self._parent, self._place.name):
            raise CapabilityFailure("other", f"{self._place.path!r}: another file took its place")
        os.unlink(_journal_of(self._place.name), dir_fd=self._parent)

    def _discard(self, descriptor: int) -> None:
        _take_away(descriptor, self._parent, self._place.name)
        if self._made and _is_at(descriptor, self._parent, self._place.name):
            os.unlink(self._place.name, dir_fd=self._parent)


def roll_back(parent: int, name: str) -> None:
    """Roll back an append to a file after a crash; does nothing if a writer is active or if there is no journal.

    Raises:
        OSError: The appended bytes cannot be removed.
    """
    journal = _journal_of(name)
    try:
        os.stat(journal, dir_fd=parent, follow_symlinks=False)
    except OSError:  # usually the file is missing; a name can also be too long for the system
        return
    try:
        descriptor = os.open(name, _OLD, dir_fd=parent)
    except FileNotFoundError:
        os.unlink(journal, dir_fd=parent)
        return
    try:
        own = stat.S_ISREG(os.fstat(descriptor).st_mode) and _lock(descriptor) and _is_at(descriptor, parent, name)
        if own and _take_away(descriptor, parent, name):
            os.unlink(name, dir_fd=parent)
    finally:
        os.close(descriptor)


def _journal_of(name: str) -> str:
    return f"{PRIVATE_PREFIX}{hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()}.append"


def _write_journal(descriptor: int, parent: int, name: str, begin: int, *, made: bool) -> None:
    temporary = f"{PRIVATE_PREFIX}{secrets.token_hex(8)}.part"
    text = f"{os.fstat(descriptor).st_ino} {begin} {_tail(descriptor, begin)} {int(made)}\n"
    journal = os.open(temporary, _NEW, 0o600, dir_fd=parent)
    try:
        os.write(journal, text.encode())
        os.fsync(journal)
        os.rename(temporary, _journal_of(name), src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=parent)
        raise
    finally:
        os.close(journal)
    os.fsync(parent)


def _take_away(descriptor: int, parent: int, name: str) -> bool:
    """Undo an append by its journal, if there is one for this file; the file is locked.

    Returns:
        Whether the append had created the file.
    """
    journal = _journal_of(name)
    try:
        file = os.open(journal, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=parent)
    except FileNotFoundError:
        return False
    try:
        words = os.read(file, _JOURNAL_BYTES).decode("ascii", "replace").split()
    finally:
        os.close(file)
    made = False
    status = os.fstat(descriptor)
    if len(words) == 4 and words[0] == str(status.st_ino) and words[1].isdecimal() and len(words[1]) < 20:
        begin = int(words[1])
        # An inode number can be reused by another file, whose last bytes would differ.
        if begin <= status.st_size and words[2] == _tail(descriptor, begin):
            os.ftruncate(descriptor, begin)
            os.fsync(descriptor)
            made = words[3] == "1"
    os.unlink(journal, dir_fd=parent)
    os.fsync(parent)
    return made


def _tail(descriptor: int, end: int) -> str:
    """Return a digest of the last bytes of a file before an offset."""
    size = min(end, _TAIL_BYTES)
    return hashlib.blake2b(os.pread(descriptor, size, end - size), digest_size=16).hexdigest()


def _require_own(descriptor: int, path: str) -> None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise CapabilityFailure("wrong-kind", f"{path!r} is not a file")
    if status.st_nlink > 1:
        raise CapabilityFailure("denied", f"{path!r} has other names, of which one may be outside the directory")
    if status.st_mode & (stat.S_ISUID | stat.S_ISGID):
        raise CapabilityFailure("denied", f"{path!r} runs with the rights of its owner")


def _lock(descriptor: int) -> bool:
    """Lock a file while it is open; return `False` if another process has locked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, parent: int, name: str) -> bool:
    """Whether an open file still has its name."""
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))


def failure_of(error: OSError, path: str) -> CapabilityFailure:
    """Translate an error of the system for a plugin."""
    # The system's message has a path of the host, which the plugin must not learn.
    return CapabilityFailure(_CASES.get(error.errno or 0, "other"), f"{path!r}: {error.strerror or 'failed'}")


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Translate system errors within the block to failures of the capability."""
    try:
        yield
    except OSError as error:
        raise failure_of(error, path) from error


def kind_of_mode(mode: int) -> Literal["file", "directory", "other"]:
    """Return the kind of a file, by its mode."""
    if stat.S_ISREG(mode):
        return "file"
    return "directory" if stat.S_ISDIR(mode) else "other"


def kind_of(parent: int, name: str) -> Literal["file", "directory", "other"] | None:
    """Return the kind of a directory's entry; `None` if there is none."""
    try:
        return kind_of_mode(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return None
