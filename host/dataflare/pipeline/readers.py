"""Built-in sources: files that are read batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

import pyarrow as pa

from dataflare.data.guard.vetted import remember, vetted_columns
from dataflare.data.shapes import DataFailure
from dataflare.documents.models import nearest, validate_document
from dataflare.documents.reader import Document
from dataflare.errors import ConfigError
from dataflare.pipeline.connectors.connector import Reader
from dataflare.pipeline.connectors.registry import BUILT_IN, connector, names
from dataflare.pipeline.nodes import ReadNode
from dataflare.pipeline.reading.compression import COMPRESSED_ENDINGS
from dataflare.pipeline.reading.file_schema import FileSchema
from dataflare.pipeline.reading.folder_columns import find_folder_columns
from dataflare.pipeline.reading.inputs import InputFile, Opener
from dataflare.pipeline.run_errors import DataError
from dataflare.pipeline.schema_contracts import SchemaContract
from dataflare.waiting_pipes import open_plain

__all__ = ["FileSource", "describe", "guess_connector", "look_at", "open_source"]

_LOOKED_AT: Final = "64KiB"
_OTHER_FILES = {
    ".wasm": "for a plugin, `dataflare inspect FILE`",
    **dict.fromkeys((".yaml", ".yml"), "for a pipeline, `dataflare run --check FILE`"),
}
_DAMAGED = "the file may be damaged: get it again, or write it again with the program that made it"


class FileSource:
    """Reads files of the same columns batch by batch, one after the other; one thread at a time.

    Args:
        paths: The files, at least one.
        read: Reads one of them.
        options: How.
        opener: Opens a file.
        sample_only: Whether to look at each file only, and give no rows.
        compares: Whether, with `sample_only`, the first rows of later files are read with the types of the first one.
        contract: What is done if columns differ between files, which are all looked at first; `None`: columns are
            those of the first file.

    Raises:
        DataError: The first file cannot be read, or is not what it should be; with a contract, any of them.
    """

    kind: ClassVar[str] = "source"

    def __init__(
        self,
        paths: Sequence[Path],
        read: Reader,
        options: Any,
        opener: Opener = open_plain,
        *,
        sample_only: bool = False,
        compares: bool = False,
        contract: SchemaContract | None = None,
    ) -> None:
        self._path = paths[0]
        self._paths = paths
        self._read = read
        self._options = options
        self._opener = opener
        self._sample_only = sample_only
        self._compares = compares
        self._of_files: dict[Path, FileSchema] = {}
        if contract is not None:
            self._look_at_all(contract)
        self._input: InputFile | None = None
        self._parts = self._all_parts()
        self.was_late = False
        """Whether the wait for a pipe was given up, and its rest was not read."""
        self.found: FileSchema = self._next()
        if self.was_late:
            what = "this pipe did not end in time, and its columns are not known before"
            hint = "give the node `columns`, or look at its beginning: `options: {sample: 64KiB}`"
            raise DataError(what, file=str(self._path), hint=hint)

    def schema(self) -> pa.Schema:
        """The schema of all batches."""
        return self.found.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read to the end, once.

        Raises:
            DataError: The rest of a file is not valid, or a file changed while it was read; names the line where
                the file has lines.
        """
        rows = self._options.batch_rows
        while (batch := self._next()) is not None:
            vetted = vetted_columns(batch)
            for start in range(0, batch.num_rows, rows):
                yield remember(batch.slice(start, rows), vetted)

    def stop(self) -> None:
        """End the wait for a pipe that another thread is in."""
        if (source := self._input) is not None:
            source.stop()

    def close(self) -> None:
        """Close the files; idempotent."""
        self._parts.close()
        if self._input is not None:
            self._input.close()

    def _all_parts(self) -> Any:
        found: FileSchema | None = None
        for path in self._paths:
            self._path = path
            self._input = InputFile(path, self._opener)
            try:
                expected = self._of_files.get(path, found)
                looks = self._sample_only and not (found is not None and self._compares)
                parts = self._read(self._input, self._opener, self._options, expected, sample_only=looks)
                own: FileSchema = next(parts)
                if found is None:
                    found = own
                    yield found
                if self._sample_only:
                    next(parts, None)
                    del parts  # what reads ahead ends before the file is closed
                else:
                    yield from parts
                self._input.check_unchanged()
            except (DataError, DataFailure, pa.ArrowException, OSError, UnicodeDecodeError):
                # If a file changed, report that, not what was then found in it.
                self._input.check_unchanged()
                raise
            finally:
                self._input.close()

    def _look_at_all(self, contract: SchemaContract) -> None:
        """Find the columns of each file, and with which types they are read, before a row of any is."""
        found: dict[Path, FileSchema] = {}
        for path in self._paths:
            if not path.is_file():
                continue  # a pipe can be read once
            source = FileSource([path], self._read, self._options, self._opener, sample_only=True)
            try:
                found[path] = source.found
            finally:
                source.close()
        for path, own in sorted(found.items(), key=lambda each: not each[1].named):
            found[path] = known = own.with_known(contract.known)
            contract.admit(known.schema, inferred=known.inferred, place=str(path))
        for path, own in found.items():
            columns = tuple(
                replace(each, type=contract.reading_type(each.name, each.type)) if each.inferred else each
                for each in own.columns
            )
            self._of_files[path] = replace(own, columns=columns)
            contract.read_as(own.schema, self._of_files[path].schema)

    def _next(self) -> Any:
        try:
            return next(self._parts, None)
        except DataFailure as error:
            what = error.reason if error.remedy else str(error)
            raise DataError(what, file=str(self._path), hint=error.remedy or _DAMAGED) from error
        except pa.ArrowException as error:
            raise DataError(str(error), file=str(self._path), hint=_DAMAGED) from error
        except UnicodeDecodeError as error:
            what, hint = "the name of a column is not UTF-8", "write the file again with names in UTF-8"
            raise DataError(what, file=str(self._path), hint=hint) from error
        except OSError as error:
            if self._input is not None and self._input.was_late:
                self.was_late = True
                return None
            what = f"cannot be read: {error.strerror or error}"
            raise DataError(what, file=str(self._path), hint=_hint_for(error, self._path)) from error


def open_source(
    node: ReadNode,
    paths: Path | Sequence[Path],
    opener: Opener = open_plain,
    contract: SchemaContract | None = None,
    *,
    folder: Path | None = None,
) -> FileSource:
    """Open the files of a node.

    Args:
        node: What they are, and how to read them.
        paths: One file or several.
        opener: Opens them; a host with a policy gives its own.
        contract: That of the node; one that says nothing about the columns leaves the first file to decide.
        folder: What the node's paths are relative to; `None`: the files were not found by its patterns.

    Raises:
        DataError: The first of them cannot be read, or is not what it should be.
    """
    files = [paths] if isinstance(paths, Path) else paths
    held = contract if contract is not None and contract.settings is not None else None
    return FileSource(files, _reader(node, files, folder), node.options, opener, contract=held)


def look_at(node: ReadNode, paths: Sequence[Path], folder: Path, opener: Opener = open_plain) -> FileSchema:
    """Read the beginning of each of a node's files, and check it against the options.

    It is at most 64 KiB of rows. If the first of several files decides the types, as much of it is read as in a run,
    and the first rows of the others are read with its types.

    Returns:
        The columns of the last file or, if the first one decides, of that one.

    Raises:
        DataError: One cannot be read, or is not what it should be.
    """
    options = node.options
    # All of a file would take too long.
    compares = len(paths) > 1 and node.contract is None and getattr(options, "sample", "all") != "all"
    if hasattr(options, "sample") and not compares:
        options = options.model_copy(update={"sample": _LOOKED_AT})
    reader = _reader(node, paths, folder)
    for files in [paths] if node.contract is None else [[path] for path in paths]:
        source = FileSource(files, reader, options, opener, sample_only=True, compares=compares)
        try:
            list(source.batches())  # which looks at the other files, and has no rows
        finally:
            source.close()
    return source.found


def guess_connector(path: Path) -> str:
    """Guess from a file's name which connector reads it.

    Raises:
        ConfigError: The name does not say.
    """
    endings = path.name.lower().split(".")[1:]
    while endings and endings[-1] in COMPRESSED_ENDINGS:
        endings.pop()
    for name in (*BUILT_IN, *(each for each in names() if each not in BUILT_IN)):
        if endings and endings[-1] in connector(name).endings:
            return name
    what, hint = "its name does not say what it is", f"give --connector: {', '.join(names())}"
    if other := _OTHER_FILES.get(path.suffix.lower()):
        hint = other
    if path.is_dir():
        what, hint = "is a folder", _hint_for(IsADirectoryError(), path)
    raise ConfigError(what, where=str(path), hint=hint)


def describe(
    name: str,
    paths: Sequence[Path],
    options: dict[str, Any],
    *,
    read: Sequence[str] | None = None,
    folder: Path | None = None,
) -> FileSchema:
    """Find out the columns of files, and read no more of them than that takes.

    Args:
        name: What they are: a connector.
        paths: The files; types come from the first one.
        options: As in a pipeline.
        read: The paths and patterns that found them, so that folders give them columns.
        folder: What these are relative to.

    Raises:
        ConfigError: There is no such connector, or an option is wrong.
        DataError: A file cannot be read, or is not what it should be.
    """
    if name not in names():
        raise ConfigError(f"there is no connector {name!r}", where="connector", hint=nearest(name, names()))
    value = {"connector": name, "read": list(read or map(str, paths)), "options": options}
    node = validate_document(Document(name, value, {}), connector(name).read_node)
    source = FileSource(paths, _reader(node, paths, folder), node.options, sample_only=True)
    try:
        return source.found
    finally:
        source.close()


def _hint_for(error: OSError, path: Path) -> str:
    """What to do about a file that cannot be read."""
    match error:
        case IsADirectoryError():
            return (
                f"a pattern reads the files in it: {path.name}/*.csv, or {path.name}/**/*.csv with those further down"
            )
        case FileNotFoundError():
            return "is the path right? In a pipeline it is relative to the pipeline's file"
        case PermissionError():
            return "you need the permission to read it, and to look into each folder on the way"
        case OSError(errno=None):  # not from the system: what Arrow says of what it has read
            return _DAMAGED
    return ""


def _reader(node: ReadNode, paths: Sequence[Path], folder: Path | None) -> Reader:
    found = connector(node.connector)
    if found.read is None:
        raise ConfigError(f"{found.name} files are written, not read", where="connector")
    if folder is None or node.hive_partitioning is False:
        return found.read
    types = {} if node.hive_partitioning is True else node.hive_partitioning
    columns = find_folder_columns(folder, node.read, paths, types)
    return found.read if columns is None else columns.reader(found.read)
