"""Dead letters: rows that were left out because of an error, in a file of JSON Lines, with the reason.

A plugin failed on them, a destination rejected them, or they did not fit a schema contract.

Each line has all that it takes to make the row again, so that it can be replayed: its values, the types of its columns,
and their roles.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import orjson
import pyarrow as pa

from dataflare.data.columns import row_values
from dataflare.errors import DataflareError, PluginError
from dataflare.pipeline.checkpoints import Checkpoints
from dataflare.pipeline.joint_checkpoints import JointCheckpoints
from dataflare.pipeline.outputs import Place
from dataflare.pipeline.pipeline_state import Checkpoint
from dataflare.pipeline.report import OutputReport
from dataflare.pipeline.run_errors import DataError
from dataflare.pipeline.writers import FileDestination, open_letters

__all__ = ["FAILED", "QUARANTINED", "DeadLetters", "Letter", "failed_letters", "letters_schema"]

FAILED: Final = ".failed"
"""The ending of the file with the letters of a failed run, added to the name of the usual file."""
QUARANTINED: Final = "quarantined"
"""What the letter of a row says as its error that the plugin was not asked about."""

_HEAD_BYTES: Final = 1024
_LETTER: Final = b'{"since":"'
_SINCE: Final = re.compile(re.escape(_LETTER) + rb'([0-9a-f]+):([0-9]+)"')


@dataclass(frozen=True, slots=True)
class Letter:
    """Why a row is dead.

    Args:
        row: Its number among all rows that the node took in this run, from 0.
        error: The error's case, such as `invalid-input`; its class, such as `GuestPanic`; `rejected`; `quarantined`; or
            `schema`.
        message: What happened.
        column: The column at fault; `None` where it is not one alone.
    """

    row: int
    error: str
    message: str
    column: str | None = None

    @classmethod
    def of(cls, error: DataflareError, row: int) -> Letter:
        """Make the letter of a row on which a plugin failed."""
        case = getattr(error.error, "case", "") if isinstance(error, PluginError) else ""
        return cls(row, case or type(error).__name__, error.message)


def letters_schema(rows: pa.Schema) -> pa.Schema:
    """Describe the records of a file of dead letters, for rows of a schema.

    `since` names the checkpoint before the row: when a run dies after its letters are safe, and before its state is,
    those that come again are taken out by the run that repeats it. `types` has the type of each column, as `columns`
    in a pipeline does, and `metadata` that of columns that have some, such as their roles.
    """
    texts = [pa.field(field.name, pa.string(), nullable=False) for field in rows]
    metadata = _metadata_fields(rows)
    return pa.schema(
        [
            pa.field("since", pa.string(), nullable=False),
            pa.field("time", pa.string(), nullable=False),
            pa.field("node", pa.string(), nullable=False),
            pa.field("plugin", pa.string(), nullable=False),
            pa.field("row", pa.int64(), nullable=False),
            pa.field("error", pa.string(), nullable=False),
            pa.field("column", pa.string()),
            pa.field("message", pa.string(), nullable=False),
            pa.field("values", pa.struct(list(rows)), nullable=False),
            pa.field("types", pa.struct(texts), nullable=False),
            *([pa.field("metadata", pa.struct(metadata), nullable=False)] if metadata else []),
        ]
    )


class DeadLetters:
    """Adds to a file of dead letters, which it only touches when there are letters; one thread at a time.

    Args:
        path: The file.
        place: Where it is; a host with a policy finds that itself.
        node: The node whose rows they are.
        plugin: The plugin's file, as the pipeline says.
        checkpoints: Those of the source whose rows they are; `None` where none are made.
        replayed: Whether a line, as it begins, is of a row that is tried again in this run: such lines are taken out,
            even if there is no new letter. `None` if no rows are tried again.
        replaces: Called when the run ends or has its first letter: whether the run makes everything anew, so that
            the node's letters of earlier runs are of rows that it reads again.
    """

    def __init__(
        self,
        path: Path,
        place: Place,
        *,
        node: str,
        plugin: str,
        checkpoints: Checkpoints | JointCheckpoints | None = None,
        replayed: Callable[[bytes], bool] | None = None,
        replaces: Callable[[], bool] = lambda: False,
    ) -> None:
        self._path = path
        self._place = place
        self._node = node
        self._plugin = plugin
        self._checkpoints = checkpoints
        self._replayed = replayed
        self._replaces = replaces
        self._of_node = b',"node":' + orjson.dumps(node) + b","
        self._passed: int | None = None
        self._repeats_from = 0
        self._file: FileDestination | None = None

    @property
    def pending(self) -> bool:
        """Whether there are letters that are not safe yet."""
        return self._file is not None and self._file.published is None

    @property
    def published(self) -> OutputReport | None:
        """What was done to the file; `None` if nothing was."""
        return None if self._file is None else self._file.published

    def passed(self, point: Checkpoint) -> None:
        """Take note of a barrier: rows from here on come after it."""
        self._passed = point.sequence

    def keep_before(self, point: Checkpoint) -> None:
        """Take note that the node's destination has all rows before a barrier: they are not tried again."""
        self._repeats_from = point.sequence

    def write(self, rows: pa.RecordBatch, letters: Sequence[Letter]) -> None:
        """Add rows, each with its letter.

        Raises:
            DataError: The file cannot be written.
        """
        schema = letters_schema(rows.schema)
        if self._file is None:
            self._file = self._open(schema)
        count = len(letters)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        columns: list[Any] = [
            [self._since()] * count,
            [now] * count,
            [self._node] * count,
            [self._plugin] * count,
            [each.row for each in letters],
            [each.error for each in letters],
            [each.column for each in letters],
            [each.message for each in letters],
        ]
        arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=False)]
        types = {field.name: str(field.type) for field in rows.schema}
        metadata = {field.name: _texts(field.metadata) for field in rows.schema if field.metadata}
        arrays += [row_values(rows), pa.array([types] * count, schema.field("types").type)]
        if metadata:
            arrays.append(pa.array([metadata] * count, schema.field("metadata").type))
        try:
            self._file.write(pa.RecordBatch.from_arrays(arrays, schema=schema))
        except DataError as error:
            first = letters[0]
            raise DataError(
                f"row {first.row} failed ({first.message}), and its values cannot be written as JSON: {error.message}",
                file=str(self._path),
                hint="leave such rows out without a file (`on_error: skip`), or give the column another type before",
            ) from error

    def _open(self, schema: pa.Schema) -> FileDestination:
        if self._path.exists() and not self._path.is_file():
            what = "is not a regular file, which dead letters are kept in"
            raise DataError(what, file=str(self._path), hint="name a file")
        file = open_letters(self._path, self._place, repeated=self._comes_again)
        file.prepare(schema)
        return file

    def _since(self) -> str:
        if self._checkpoints is None:
            return ""
        lineage, start = self._checkpoints.start
        return f"{lineage}:{start if self._passed is None else self._passed}"

    def _comes_again(self, line: bytes) -> bool:
        """Whether a line of the file is of a row that this run reads again, or of none."""
        if not line.strip():
            return True
        if self._replayed is not None:
            return self._replayed(line)
        if self._replaces():
            return self._of_node in line[:_HEAD_BYTES]
        if self._checkpoints is None or (found := _SINCE.match(line)) is None:
            return False
        lineage, start = self._checkpoints.start
        # Once there is a letter, no later checkpoint is made before the end of the run.
        return found[1].decode() == lineage and int(found[2]) >= max(start, self._repeats_from)

    def _has_letters_that_come_again(self) -> bool:
        """Whether a run that was repeated left letters of rows on which this one did not fail."""
        if not self._path.is_file():
            return False
        if self._replaces() or self._checkpoints is None:
            return self._replaces()
        with self._path.open("rb") as file:
            return any(line.strip() and self._comes_again(line) for line in _beginnings(file))

    def flush(self) -> None:
        """Do nothing: letters are safe at the end."""

    def finish(self) -> None:
        """Make all letters safe and visible."""
        if self._file is None and (self._replayed is not None or self._has_letters_that_come_again()):
            self._file = self._open(letters_schema(pa.schema([])))
        if self._file is not None:
            self._file.finish()

    def keep_apart(self) -> Path | None:
        """When the run fails, keep its letters in another file: their rows are read again, so they are not dead.

        Returns:
            The file, `NAME.failed`; `None` where there are no letters.

        Raises:
            DataError: It cannot be written, or there is a file of another kind.
        """
        path = failed_letters(self._path)
        if not self.pending or self._file is None:
            return None
        if path.exists() and not (path.is_file() and _begins_with_letter(path)):
            raise DataError("is not a file of dead letters", file=str(path), hint="move it elsewhere")
        return path if self._file.rescue(path, self._place) else None

    def abort(self) -> None:
        """Leave the file as it was."""
        if self._file is not None:
            self._file.abort()

    def close(self) -> None:
        """Release everything; idempotent."""
        self.abort()


def failed_letters(path: Path) -> Path:
    """The file beside a file of dead letters that has those of a run that failed."""
    return path.with_name(path.name + FAILED)


def _begins_with_letter(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_LETTER)) in (_LETTER, b"")


def _beginnings(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file, each as it begins."""
    begins = True
    while part := file.readline(_HEAD_BYTES):
        if begins:
            yield part
        begins = part.endswith(b"\n")


def _metadata_fields(rows: pa.Schema) -> list[pa.Field]:
    fields = []
    for field in rows:
        if field.metadata:
            names = [pa.field(name, pa.string(), nullable=False) for name in _texts(field.metadata)]
            fields.append(pa.field(field.name, pa.struct(names), nullable=False))
    return fields


def _texts(metadata: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in metadata.items()}
