"""Folders of files by the values of columns: `year=2013/month=1/part-0.parquet`, as Hive lays them out.

The values stand in the names of folders alone, not in the files. A null is `__HIVE_DEFAULT_PARTITION__`; characters
that are special in a path are written as `%` and two hexadecimal digits of each UTF-8 byte.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import stat
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, TypeAlias
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from dataflare.data.joins import join_batches
from dataflare.folder_exchange import exchange_folders
from dataflare.pipeline.columns import check_texts
from dataflare.pipeline.nodes import WriteNode
from dataflare.pipeline.outputs import OutputAction, Place, as_named, follow_links, sync_folder
from dataflare.pipeline.partials import create_partial_folder, remove_leftovers
from dataflare.pipeline.pending_appends import PendingFolder
from dataflare.pipeline.reading.folder_columns import (
    NULL_FOLDER,
    folder_texts,
    folder_type,
    inferred_type,
    with_folder_types,
)
from dataflare.pipeline.report import OutputReport
from dataflare.pipeline.run_errors import DataError
from dataflare.pipeline.sinks import MakeSink, Sink
from dataflare.suggestions import known_names

__all__ = ["PartitionedFolder", "check_columns", "partition_rows", "without_columns"]

_log = logging.getLogger(__name__)
_LONGEST_NAME: Final = 255
_FIRST: Final = "first"
"""Stands for the files of the run that made the folder: they have no prefix."""
_MOST_OPEN_FILES: Final = 64
_WAITING_BYTES: Final = 128 * 2**20
_PART: Final = re.compile(r"part-([0-9a-f]+-)?\d+\.[a-z]+")
# Others may have put a link in place of a folder, which would lead rows out of the output.
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_Values: TypeAlias = tuple[str | None, ...]


def partition_rows(rows: pa.RecordBatch, columns: Sequence[str]) -> Iterator[tuple[_Values, pa.RecordBatch]]:
    """Split a batch by the values of columns.

    Returns:
        For each combination of values that occurs, as texts, its rows in their order, without these columns.

    Raises:
        DataError: A value has no text that is read as the same value again.
    """
    if rows.num_rows == 0:
        return
    codes = np.zeros(rows.num_rows, np.int64)
    texts = []
    for column in columns:
        values = rows.column(column)
        if types.is_dictionary(values.type):
            values = values.dictionary_decode()
        check_texts(values, column, "partition by another column, or leave these rows out")
        encoded = pc.dictionary_encode(folder_texts(values), null_encoding="encode")
        numbers = encoded.indices.to_numpy(zero_copy_only=False)
        texts.append((encoded.dictionary.to_pylist(), numbers))
        # Numbered anew each time, so that no number of columns can make the product overflow.
        _, codes = np.unique(codes * len(encoded.dictionary) + numbers, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    rest = rows.drop_columns(list(columns)).take(pa.array(order))
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        first = order[start]
        yield tuple(names[numbers[first]] for names, numbers in texts), rest.slice(start, end - start)


@dataclass(slots=True)
class _Part:
    """A file in a partition; it has what a sink wants of an output."""

    path: Path
    file: IO[bytes]
    action: OutputAction

    def commit(self) -> None:
        """Make the contents safe."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()

    def abort(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self.file.close()


class PartitionedFolder:
    """A folder that is filled beside its final name and renamed at the end; one thread at a time.

    Rows are collected before they are written. Only a few files are open at a time, however many partitions there are.

    Args:
        path: The folder. A symbolic link is followed.
        schema: That of the rows.
        node: Says by which columns, and what is done with a folder that exists already: only one that holds nothing but
            such files is replaced.
        make_sink: Begins a file.
        place: Where the folder is; a host with a policy finds that itself.
        pending: Records the files that are added to a folder; `None`: they are not recorded.

    Raises:
        DataError: The folder cannot be made, or a column cannot be written as the name of a folder.
    """

    def __init__(
        self,
        path: Path,
        schema: pa.Schema,
        node: WriteNode,
        make_sink: MakeSink,
        place: Place = as_named,
        pending: PendingFolder | None = None,
    ) -> None:
        self._pending = pending
        self._columns = node.partition_by
        self._if_exists = node.if_exists
        self._extension = node.extension
        # Text can be added to; a file of the others is complete once it is closed.
        self._goes_on = node.appendable
        self._make_sink = make_sink
        check_columns(path, schema, self._columns)
        self._types = [schema.field(column).type for column in self._columns]
        self._schema = with_folder_types(without_columns(schema, self._columns), schema, self._columns)
        self._waiting: dict[_Values, list[pa.RecordBatch]] = {}
        self._waiting_bytes = 0
        self._open: OrderedDict[_Values, tuple[_Part, Sink]] = OrderedDict()
        self._parts: dict[_Values, int] = {}
        self._files = 0
        self._path = place(path) or follow_links(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self.action: OutputAction = "created"
        if os.path.lexists(self._path):
            self.action = "appended" if self._if_exists == "append" else "replaced"
            self._check_existing()
        remove_leftovers(self._path)
        self._staging: Path | None
        self._staging, self._lock = create_partial_folder(self._path)
        self._prefix = f"{self._staging.suffixes[-2][1:]}-" if self.action == "appended" else ""

    def write(self, rows: pa.RecordBatch) -> None:
        """Add a batch."""
        for values, part in partition_rows(rows, self._columns):
            self._waiting.setdefault(values, []).append(part)
        self._waiting_bytes += rows.nbytes
        if self._waiting_bytes >= _WAITING_BYTES:
            self._write_out()

    def commit(self) -> OutputReport:
        """Make all files safe and give the folder its name."""
        assert self._staging is not None
        self._write_out()
        while self._open:
            self._close_oldest()
        if self._goes_on:
            self._tell_of_texts()
        for folder, _, _ in os.walk(self._staging):
            sync_folder(Path(folder))
        self._publish(self._staging)
        self._staging = None
        os.close(self._lock)
        sync_folder(self._path.parent)
        return OutputReport(str(self._path), self.action, self._files)

    def abort(self) -> None:
        """Remove what was written; does nothing after `commit`."""
        staging, self._staging = self._staging, None
        if staging is None:
            return
        for part, sink in self._open.values():
            sink.abandon()
            part.abort()
        self._open.clear()
        shutil.rmtree(staging, ignore_errors=True)
        os.close(self._lock)

    def _write_out(self) -> None:
        waiting, self._waiting, self._waiting_bytes = self._waiting, {}, 0
        for values in sorted(waiting, key=repr):
            sink = self._sink_of(values)
            batches = waiting.pop(values)
            # What cannot be one batch, such as texts of more than 2 GiB, is written as it came.
            with contextlib.suppress(pa.ArrowException):
                batches = [join_batches(batches)]
            for rows in batches:
                sink.write(rows)
            sink.flush()

    def _sink_of(self, values: _Values) -> Sink:
        if values in self._open:
            self._open.move_to_end(values)
            return self._open[values][1]
        while len(self._open) >= _MOST_OPEN_FILES:
            self._close_oldest()
        part = self._open_part(values)
        try:
            sink = self._make_sink(part, self._schema)
        except BaseException:
            part.abort()
            raise
        self._open[values] = part, sink
        return sink

    def _open_part(self, values: _Values) -> _Part:
        assert self._staging is not None
        folder = self._staging.joinpath(*map(_folder_name, self._columns, values))
        number = self._parts.get(values, -1)
        if self._goes_on and number >= 0:
            path = folder / f"part-{self._prefix}{number}.{self._extension}"
            return _Part(path, path.open("a+b"), "appended")
        folder.mkdir(parents=True, exist_ok=True)
        self._parts[values] = number = number + 1
        self._files += 1
        path = folder / f"part-{self._prefix}{number}.{self._extension}"
        return _Part(path, path.open("xb"), "created")

    def _tell_of_texts(self) -> None:
        """Say which columns of texts are no texts for who reads the folder: a file of text notes no types."""
        for place, (column, data_type) in enumerate(zip(self._columns, self._types, strict=True)):
            read_as = inferred_type([values[place] for values in self._parts])
            if not types.is_string(read_as) and types.is_string(folder_type(data_type)):
                what = "%s: column %r is text, and the names of its folders are read as %s"
                hint = "hint: read them with `hive_partitioning: {%s: string}`"
                _log.warning(f"{what}\n{hint}", self._path, column, read_as, column)

    def _close_oldest(self) -> None:
        _, (part, sink) = self._open.popitem(last=False)
        try:
            sink.end()
            part.commit()
        except BaseException:
            sink.abandon()
            part.abort()
            raise

    def _check_existing(self) -> None:
        """Refuse to touch a folder that holds anything that was not written by such a node."""
        if not self._path.is_dir():
            what, hint = (
                "is a file, and `partition_by` needs a folder",
                "name a folder, which is made where it is absent",
            )
            raise DataError(what, file=str(self._path), hint=hint)
        if self._if_exists == "fail":
            hint = "remove it, name another folder, or let the node replace it: `if_exists: replace`"
            raise DataError("exists already", file=str(self._path), hint=hint)
        if self._if_exists == "replace":
            for folder, folders, files in os.walk(self._path):
                strange = [name for name in folders if "=" not in name or os.path.islink(os.path.join(folder, name))]
                strange += [name for name in files if not _PART.fullmatch(name) or Path(folder) == self._path]
                if strange:
                    what = f"holds {os.path.join(folder, strange[0])!r}, which no node with `partition_by` wrote"
                    hint = "only a folder of partitions is replaced; name another one, or remove it yourself"
                    raise DataError(f"is not replaced: it {what}", file=str(self._path), hint=hint)

    def _publish(self, staging: Path) -> None:
        repeated = self._pending.prefixes() if self._pending is not None and self.action == "appended" else []
        if self._pending is not None and self._if_exists == "append":
            self._pending.record(self._prefix or _FIRST)
        if self.action == "created":
            os.rename(staging, self._path)
        elif self.action == "appended":
            self._remove(repeated)
            self._move_parts(staging)
            shutil.rmtree(staging, ignore_errors=True)
        else:
            self._check_existing()
            before = self._path.stat()
            with contextlib.suppress(PermissionError):
                os.chown(staging, before.st_uid, before.st_gid)
            os.chmod(staging, stat.S_IMODE(before.st_mode))
            exchange_folders(staging, self._path)
            shutil.rmtree(staging, ignore_errors=True)

    def _remove(self, prefixes: Sequence[str]) -> None:
        """Remove the files of runs that this one repeats."""
        if prefixes:
            for _, _, files, folder in os.fwalk(self._path):
                for name in files:
                    if (found := _PART.fullmatch(name)) is not None and (found[1] or _FIRST) in prefixes:
                        os.unlink(name, dir_fd=folder)

    def _move_parts(self, staging: Path) -> None:
        """Add the files one by one: their names are those of no others."""
        moved: list[Path] = []
        try:
            for folder, _, files in os.walk(staging):
                below = Path(folder).relative_to(staging)
                target = _open_folder(self._path, below.parts)
                try:
                    for name in files:
                        os.rename(Path(folder) / name, name, dst_dir_fd=target)
                        moved.append(self._path / below / name)
                finally:
                    os.close(target)
        except BaseException:
            for path in moved:
                path.unlink(missing_ok=True)
            raise


def _open_folder(path: Path, parts: Sequence[str]) -> int:
    """Open a folder below another one, by way of no link; what is missing is made."""
    descriptor = os.open(path, _FOLDER)
    for part in parts:
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=descriptor)
            below = os.open(part, _FOLDER, dir_fd=descriptor)
        except NotADirectoryError as error:
            what = f"holds {part!r}, which is a link or a file, where a folder of rows should be"
            raise DataError(what, file=str(path), hint="put a folder in its place, or name another output") from error
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def without_columns(schema: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    """Return the schema of the files below folders that are named by these columns."""
    return pa.schema([field for field in schema if field.name not in columns], schema.metadata)


def check_columns(path: Path, schema: pa.Schema, columns: Sequence[str]) -> None:
    """Make sure that these columns can name the folders of an output.

    Raises:
        DataError: One is not there or has a type without a text, or no column is left for the files.
    """
    for column in columns:
        if len(schema.get_all_field_indices(column)) != 1:
            what = f"there is no column {column!r} to partition by"
            raise DataError(what, file=str(path), hint=known_names(column, schema.names))
        if not _has_text(schema.field(column).type):
            what = f"column {column!r} is {schema.field(column).type}, which cannot be the name of a folder"
            hint = "partition by texts, whole numbers, booleans, decimals, dates or timestamps"
            raise DataError(what, file=str(path), hint=hint)
    if len(columns) == len(schema):
        what, hint = "every column is in `partition_by`, and none is left for the files", "leave one of them out"
        raise DataError(what, file=str(path), hint=hint)


def _has_text(data_type: pa.DataType) -> bool:
    if types.is_dictionary(data_type):
        return _has_text(data_type.value_type)
    checks = (
        *(types.is_string, types.is_large_string, types.is_string_view, types.is_boolean, types.is_integer),
        *(types.is_decimal, types.is_date, types.is_timestamp),
    )
    return any(check(data_type) for check in checks)


def _folder_name(column: str, value: str | None) -> str:
    text = NULL_FOLDER if value is None else quote(value, safe="")
    if value == NULL_FOLDER:
        text = "%5F" + text[1:]
    name = f"{quote(column, safe='')}={text}"
    if len(name) > _LONGEST_NAME:
        what = f"the value {value[:40] if value else ''!r}... of column {column!r} is too long for the name of a folder"
        raise DataError(what, hint="partition by a shorter column")
    return name
