"""What a run adds to files, recorded before it is visible, so that a repeated run takes it out again.

A run that dies after a file has its name, and before the state is committed, is repeated from the same position. What
it added is then in the file, and must not be added twice.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from dataflare.json_values import parse_json
from dataflare.pipeline.pipeline_state import PipelineState

__all__ = ["PendingAppends", "PendingFile", "PendingFolder"]


class PendingAppends:
    """The additions of runs that did not commit their state; any thread may call it.

    Args:
        state: Where they are kept, until the state of a run is committed.
    """

    def __init__(self, state: PipelineState) -> None:
        self._state = state

    def of_file(self, path: Path) -> PendingFile:
        """Return the additions to a file."""
        return PendingFile(self._state, str(path))

    def of_folder(self, path: Path) -> PendingFolder:
        """Return the additions to a folder of files."""
        return PendingFolder(self._state, str(path))


class PendingFile:
    """What was added to one file."""

    def __init__(self, state: PipelineState, path: str) -> None:
        self._state = state
        self._path = path

    def kept_bytes(self, file: os.stat_result) -> int | None:
        """How many bytes of a file were there before a run that was not committed; `None`: all of them.

        Args:
            file: The file as it is: if somebody has changed it since, it is left as it is.

        Raises:
            StateError: The state cannot be read.
        """
        kept = (each.get("kept_bytes") for each in self._marks() if each.get("file") == _identity(file))
        return next((each for each in kept if isinstance(each, int)), None)

    def record(self, kept_bytes: int, file: os.stat_result, before: os.stat_result | None) -> None:
        """Record what is about to become visible.

        Args:
            kept_bytes: What the file had before.
            file: The new file, which is complete.
            before: The file that it replaces; `None` for none. Its own record stays, since that file may stay in place.

        Raises:
            StateError: The state cannot be written.
        """
        marks = [each for each in self._marks() if before is not None and each.get("file") == _identity(before)]
        marks.append({"kept_bytes": kept_bytes, "file": _identity(file)})
        self._state.intend(self._path, json.dumps({"files": marks}))

    def _marks(self) -> list[dict[str, Any]]:
        found = _mark(self._state, self._path).get("files", [])
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


class PendingFolder:
    """What was added to one folder: files with a prefix of their run in their names."""

    def __init__(self, state: PipelineState, path: str) -> None:
        self._state = state
        self._path = path

    def prefixes(self) -> list[str]:
        """The prefixes of runs that were not committed.

        Raises:
            StateError: The state cannot be read.
        """
        found = _mark(self._state, self._path).get("prefixes", [])
        return [each for each in found if isinstance(each, str) and each] if isinstance(found, list) else []

    def record(self, prefix: str) -> None:
        """Record a prefix, whose files are about to become visible.

        Raises:
            StateError: The state cannot be written.
        """
        self._state.intend(self._path, json.dumps({"prefixes": [*self.prefixes(), prefix]}))


def _mark(state: PipelineState, path: str) -> dict[str, Any]:
    try:
        mark = parse_json(state.intent(path) or "{}")
    except ValueError:
        return {}
    return mark if isinstance(mark, dict) else {}


def _identity(file: os.stat_result) -> list[int]:
    # A renamed file stays the same one, and a changed one gets another time.
    return [file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns]
