"""The audit log: which plugin used which capability, when, and whether it was allowed.

A log is JSON Lines, with one event per line. It identifies what was used by names, origins and methods, never by a
secret's value, a URL's path or query, a state's key or a file's name. The reason of a refusal may quote the plugin's
text.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal, Protocol

import orjson
from pydantic import AwareDatetime, BeforeValidator, Field, StringConstraints, ValidationError

from dataflare.documents.models import StrictModel
from dataflare.errors import AuditFailed, ConfigError, UsageError
from dataflare.locks import Lock
from dataflare.secret_forms import secret_forms
from dataflare.security.capability import Capability
from dataflare.user_files import as_path, opened_file

__all__ = [
    "AuditEvent",
    "AuditLog",
    "AuditReading",
    "FileAuditLog",
    "MemoryAuditLog",
    "Redactor",
    "parse_audit",
    "read_audit",
    "utc_now",
]

MAX_LINE_BYTES: Final = 8192
MAX_LOG_BYTES: Final = 128 * 2**20
_READ_BYTES: Final = 2**20
_MODE: Final = 0o600
_BEGINNING: Final = b'{"when":'
"""How each line begins."""

_HALVES: Final = re.compile("[\ud800-\udfff]")


def _whole(text: object) -> object:
    """Convert a text to one that UTF-8 can encode. File names may be other bytes, and their uses must be logged too."""
    return _HALVES.sub("\ufffd", text) if isinstance(text, str) else text


_Text = Annotated[str, BeforeValidator(_whole), StringConstraints(max_length=300)]


class AuditEvent(StrictModel):
    """One use of a capability.

    Attributes:
        when: The moment, with its time zone.
        plugin: The plugin's name.
        pipeline: The pipeline's; empty outside of any.
        capability: The interface's short name, such as `files`.
        function: The function's name in the WIT.
        object: What was used, as `str(Capability)` writes it; `kind:?` if the plugin's arguments made no sense.
        decision: Whether it was allowed.
        count: How often the same event has happened so far; repeated uses are written at 1, 2, 4, 8 and so on.
        reason: Why it was refused, or how it failed; without secrets.
    """

    when: AwareDatetime
    plugin: _Text
    pipeline: _Text = ""
    capability: _Text
    function: _Text
    object: _Text
    decision: Literal["allow", "deny"]
    count: Annotated[int, Field(ge=1, lt=2**63)] = 1
    reason: _Text = ""

    def used(self) -> Capability | None:
        """The used capability; `None` if the plugin's arguments were not valid."""
        try:
            return Capability.parse(self.object)
        except ConfigError:
            return None

    def line(self) -> bytes:
        """Return the event as a line of the log, including the line feed."""
        return orjson.dumps(self.model_dump(mode="json")) + b"\n"


class AuditLog(Protocol):
    """Receives events. Any thread may use it."""

    def record(self, event: AuditEvent) -> None:
        """Write an event.

        Raises:
            AuditFailed: The event cannot be written; a use that cannot be logged must not continue.
        """

    def close(self) -> None:
        """Close the log; idempotent."""


class MemoryAuditLog:
    """Events in memory, in order of arrival."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._events: list[AuditEvent] = []
        self._closed = False

    @property
    def events(self) -> tuple[AuditEvent, ...]:
        with self._lock:
            return tuple(self._events)

    def record(self, event: AuditEvent) -> None:
        with self._lock:
            if self._closed:
                raise UsageError("the audit log is closed")
            self._events.append(event)

    def close(self) -> None:
        with self._lock:
            self._closed = True


class FileAuditLog:
    """Events in an append-only file, with one write per line, so that several processes may share it.

    Args:
        path: The file; created if it is missing, readable only by its owner. Its directory must exist.
        durable: Whether each event is on the disk before `record` returns.

    Raises:
        ConfigError: The file cannot be opened for appending, is a symbolic link, or holds something else than a log.
    """

    def __init__(self, path: str | os.PathLike[str], *, durable: bool = False) -> None:
        self._path = as_path(path, where="audit")
        self._durable = durable
        self._lock = Lock()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            self._descriptor: int | None = os.open(self._path, flags, _MODE)
            status = os.fstat(self._descriptor)
            if (what := _unlike_a_log(self._descriptor, status.st_mode)) is not None:
                os.close(self._descriptor)
                raise ConfigError(
                    f"cannot be appended to: it is not {what}",
                    where=str(self._path),
                    hint="give the name of an audit log, or of a file that does not exist yet",
                )
            size = status.st_size
            # A line that was truncated by a crash must not damage the next event.
            self._torn = size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"
        except OSError as error:
            raise ConfigError(f"cannot be appended to: {error.strerror}", where=str(self._path)) from error

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def __enter__(self) -> FileAuditLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(self, event: AuditEvent) -> None:
        line = event.line()
        with self._lock:
            if self._descriptor is None:
                raise UsageError(f"the audit log {self._path} is closed")
            data = b"\n" + line if self._torn else line
            self._torn = True
            try:
                if _is_deleted(self._descriptor):
                    raise AuditFailed(
                        "the audit log was deleted, and nobody could read what is written to it",
                        log=str(self._path),
                        hint="end the run; to begin another log, rename this one",
                    )
                written = 0
                while written < len(data):
                    written += os.write(self._descriptor, data[written:])
                self._torn = False
                if self._durable:
                    os.fdatasync(self._descriptor)
            except OSError as error:
                raise AuditFailed(
                    f"the audit log cannot be written: {error.strerror}",
                    log=str(self._path),
                    hint="make room on its disk; a plugin does nothing that is not written down",
                ) from error

    def close(self) -> None:
        with self._lock:
            if self._descriptor is not None:
                descriptor, self._descriptor = self._descriptor, None
                os.close(descriptor)


def _is_deleted(descriptor: int) -> bool:
    """Whether an open file has no name any more."""
    return os.fstat(descriptor).st_nlink == 0


def _unlike_a_log(descriptor: int, mode: int) -> str | None:
    """Say what an open file is not, if nothing may be appended to it: a file of the user's would be spoilt."""
    if not stat.S_ISREG(mode):
        return "a regular file"
    beginning = os.pread(descriptor, len(_BEGINNING), 0)  # less, where a crash came within the first line
    return None if _BEGINNING.startswith(beginning) else "an audit log"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReading:
    """The content of a log.

    Attributes:
        events: The events, in the order of the file.
        damaged_lines: Numbers, from 1, of lines that are not events.
        truncated: Whether the last line is incomplete, as after a crash; it is not counted as damaged.
    """

    events: tuple[AuditEvent, ...]
    damaged_lines: tuple[int, ...] = ()
    truncated: bool = False


def read_audit(path: str | os.PathLike[str]) -> AuditReading:
    """Read a log from a file, even a damaged one.

    Raises:
        ConfigError: The file cannot be read, is not a regular file, or is longer than `MAX_LOG_BYTES`.
    """
    with opened_file(path) as (descriptor, _), open(descriptor, "rb", buffering=_READ_BYTES, closefd=False) as file:
        return parse_audit(_lines(file, str(path)))


def _lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    left = MAX_LOG_BYTES
    while part := file.readline(MAX_LINE_BYTES + 1):
        left -= len(part)
        if left < 0:
            hint = "split it at a line end, and read the parts one by one"
            raise ConfigError(f"is longer than {MAX_LOG_BYTES} bytes", where=name, hint=hint)
        yield part


def parse_audit(lines: Iterable[bytes]) -> AuditReading:
    """Read a log from its lines, each with its line feed unless it is incomplete. Never raises.

    A line longer than `MAX_LINE_BYTES` may be in several parts; it counts as damaged.
    """
    events: list[AuditEvent] = []
    damaged: list[int] = []
    number = 1
    truncated = overlong = False
    for part in lines:
        truncated = not part.endswith(b"\n")
        if truncated and len(part) > MAX_LINE_BYTES:
            overlong = True
            continue
        if overlong:
            damaged.append(number)
        elif not truncated and part != b"\n":
            try:
                events.append(AuditEvent.model_validate_json(part))
            except (ValidationError, ValueError):
                damaged.append(number)
        elif truncated:
            # A complete event without its line feed counts as an event.
            with contextlib.suppress(ValidationError, ValueError):
                events.append(AuditEvent.model_validate_json(part))
                truncated = False
        overlong = False
        number += 1
    return AuditReading(events=tuple(events), damaged_lines=tuple(damaged), truncated=truncated)


class Redactor:
    """Masks secrets in texts: their values, also in Base64, and as URLs, JSON, HTML and Python escape them.

    Any thread may use it.
    """

    MASK: Final = "***"

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._lock = Lock()
        self._values: tuple[str, ...] = ()
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Add a secret that is masked from now on."""
        if not secret:
            return
        with self._lock:
            if secret not in self._values:
                # Longest first: replacing a shorter secret within a longer one would leave the rest visible.
                self._values = tuple(sorted({*self._values, *secret_forms(secret)}, key=len, reverse=True))

    def redact(self, text: str) -> str:
        """Return the text with each secret masked."""
        for value in self._values:
            text = text.replace(value, self.MASK)
        return text


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)
