# Written by `dataflare bindgen`. Write it anew rather than change it.
"""`dataflare:host/files@1.0.0`.

Files in the directories that the operator granted, each with a name, for reading or
for reading and writing.

A path is `name/rest`, with `/` on every system: `name` is the name of a granted
directory, `rest` stays within it; `name` alone is the directory itself. `..`,
absolute paths and symbolic links that lead out are `denied`; empty parts, `.`,
backslashes and null characters are `invalid-path`. Files are bytes; positions count
bytes from 0.

Names that begin with `.dataflare-` are the host's own, for what is not published
yet: they are not listed, and `invalid-path`. After a crash some may stay in the
directory; nothing of them counts.

Each file is published in a step of its own, so several files never count together. A
plugin that writes several lets one of them say which others count, and publishes it
last.

Since version 1.0.0.
"""

from __future__ import annotations

import dataclasses as _dataclasses
import typing as _t

from dataflare import values as _df

__all__ = [
    "Directory",
    "Entry",
    "EntryKind",
    "FileError",
    "Position",
    "Reader",
    "Writer",
]


FileError: _t.TypeAlias = _df.Variant
"""Why a call failed.

Since version 1.0.0.

- `not-found` with a `string`: The file or directory does not exist, or a directory
  above it does not: no call makes directories.
- `denied` with a `string`: The operator did not grant this: the path is in another
  directory or leads out, or only reading is granted.
- `already-exists` with a `string`: The file exists already, and the call must create
  it: `create`, or `publish` if the file came up in between.
- `wrong-kind` with a `string`: A directory where a file is needed, or the reverse,
  or neither.
- `invalid-path` with a `string`: The path is not of the form above.
- `no-space` with a `string`: It would exceed a limit that the operator set, such as
  that of open files, or the disk is full.
- `input-output` with a `string`: The device failed; a retry can help.
- `busy` with a `string`: Another writer appends to the file; a retry can help when
  it has ended.
- `other` with a `string`: Anything else. The text is for logs: do not match it.
"""


@_dataclasses.dataclass(frozen=True, slots=True)
class Directory:
    """A directory that the operator granted.

    Since version 1.0.0.
    """

    name: str
    """Its name: the first part of a path."""
    writable: bool
    """Whether files in it may be created, changed, replaced and deleted."""


EntryKind: _t.TypeAlias = _t.Literal["file", "directory", "other"]
"""The kind of an entry in a directory.

Since version 1.0.0.

- `file`: A file of bytes.
- `directory`: A directory.
- `other`: Anything else, such as a symbolic link in a list. `open` and `stat` follow
  one that stays within its directory.
"""


@_dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A file or a directory.

    Since version 1.0.0.
    """

    name: str
    """Its name, without the directory."""
    kind: EntryKind
    """Its kind."""
    size_bytes: int
    """The length of a file in bytes; 0 for others."""
    modified_ms: int
    """When it last changed, in milliseconds since 1970-01-01T00:00:00Z."""


@_dataclasses.dataclass(frozen=True, slots=True)
class Position:
    """A position in a file.

    Since version 1.0.0.
    """

    offset_bytes: int
    """Bytes from the file's beginning."""


Reader: _t.TypeAlias = _t.Any
"""A file open for reading, with a position that every read moves forward.

Since version 1.0.0.
"""


Writer: _t.TypeAlias = _t.Any
"""A file being written. What is written counts with `publish` only. A writer that is
dropped before leaves nothing behind: a file of `create` does not exist, a file of
`append` has its old length.

Since version 1.0.0.
"""
