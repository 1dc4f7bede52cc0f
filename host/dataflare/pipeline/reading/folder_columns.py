"""Columns that stand in the names of folders, as Hive lays files out: `year=2013/month=1/part-0.parquet`."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import pyarrow as pa

from dataflare.data.guard.vetted import remember, vetted_columns
from dataflare.data.schemas import parse_type
from dataflare.data.type_inference import ColumnGuess, convert, misfit_reason
from dataflare.documents.models import nearest
from dataflare.pipeline.connectors.connector import Reader
from dataflare.pipeline.reading.file_schema import FileColumn, FileSchema
from dataflare.pipeline.reading.inputs import split_pattern
from dataflare.pipeline.run_errors import DataError

__all__ = ["NULL_FOLDER", "FolderColumns", "find_folder_columns"]

NULL_FOLDER: Final = "__HIVE_DEFAULT_PARTITION__"
"""What stands in the name of a folder for a null."""

_Texts: TypeAlias = dict[str, str | None]


@dataclass(frozen=True)
class FolderColumns:
    """The columns that the folders of some files name; any thread may use it.

    Args:
        types: Their types, in the order of the folders.
        texts: For each file what its folders say.
    """

    types: Mapping[str, pa.DataType]
    texts: Mapping[Path, _Texts]

    def reader(self, read: Reader) -> Reader:
        """Make a reader that adds the columns to what another one reads; a column that a file has itself stays."""

        def with_folders(
            source: Any, opener: Any, options: Any, found: FileSchema | None, *, sample_only: bool = False
        ) -> Iterator[Any]:
            first = None if found is None else _without(found)
            parts = read(source, opener, options, first, sample_only=sample_only)
            own: FileSchema = next(parts)
            names = {column.name for column in own.columns}
            added = {name: each for name, each in self.types.items() if name not in names}
            yield _extended(own, added)
            values = {name: self._value(source.path, name, each) for name, each in added.items()}
            for batch in parts:
                checked = vetted_columns(batch)
                for name, value in values.items():
                    batch = batch.append_column(name, pa.repeat(value, batch.num_rows))
                yield remember(batch, checked | values.keys())

        return with_folders

    def _value(self, path: Path, name: str, data_type: pa.DataType) -> pa.Scalar:
        text = self.texts[path][name]
        try:
            return convert(pa.array([text], pa.string()), data_type)[0]
        except (pa.ArrowException, ValueError) as error:
            what = f"the folder {name}={text} is for column {name!r}, and {text!r} {misfit_reason(text, data_type)}"
            hint = f"give it another type: `hive_partitioning: {{{name}: string}}`"
            raise DataError(what, file=str(path), hint=hint) from error


def find_folder_columns(
    folder: Path, read: str | Sequence[str], paths: Sequence[Path], types: Mapping[str, str] | None = None
) -> FolderColumns | None:
    """Find the columns that the folders of files name: those that a pattern matched or went through.

    Args:
        folder: What relative patterns are relative to.
        read: What found the files, as for `find_files`.
        paths: The files.
        types: Arrow types of columns; the others' are inferred from the values of all files.

    Returns:
        `None` where no folder names a column.

    Raises:
        DataError: The files are not in folders of the same columns, a name cannot be decoded, or a type is given for a
            column that no folder names.
    """
    around = Path(os.path.abspath(folder))
    patterns = [each for each in ([read] if isinstance(read, str) else read) if glob.has_magic(each)]
    starts = [split_pattern(around, Path(os.path.abspath(folder / each)))[0] for each in patterns]
    texts = {path: _columns_of(path, starts) for path in paths}
    names = list(texts[paths[0]])
    for path, found in texts.items():
        if list(found) != names:
            one, other = (", ".join(each) or "no column" for each in (names, list(found)))
            what = f"its folders name {other}, and those of {paths[0]} name {one}"
            hint = "read the files of one layout, or leave the names of folders aside: `hive_partitioning: false`"
            raise DataError(what, file=str(path), hint=hint)
    given = {name: parse_type(text) for name, text in (types or {}).items()}
    if unknown := [name for name in given if name not in names]:
        what = f"no folder is named {unknown[0]}=..., for which `hive_partitioning` gives a type"
        raise DataError(what, file=str(paths[0]), hint=nearest(unknown[0], names))
    if not names:
        return None
    chosen = {name: given.get(name) or _inferred([found[name] for found in texts.values()]) for name in names}
    return FolderColumns(chosen, texts)


def _columns_of(path: Path, starts: Sequence[Path]) -> _Texts:
    for start in starts:
        if path.is_relative_to(start):
            break
    else:
        return {}
    found: _Texts = {}
    for part in path.relative_to(start).parts[:-1]:
        name, equals, value = part.partition("=")
        if not equals or not name:
            continue
        try:
            column = unquote(name, errors="strict")
            text = None if value == NULL_FOLDER else unquote(value, errors="strict")
            f"{column}{text}".encode()
        except UnicodeError as error:
            hint = "rename the folder, or leave the names of folders aside: `hive_partitioning: false`"
            raise DataError(f"the folder {part!r} is not UTF-8", file=str(path), hint=hint) from error
        if column in found:
            hint = "leave the names of folders aside: `hive_partitioning: false`"
            raise DataError(f"two of its folders name the column {column!r}", file=str(path), hint=hint)
        found[column] = text
    return found


def _inferred(texts: Sequence[str | None]) -> pa.DataType:
    guess = ColumnGuess()
    guess.add(pa.array(dict.fromkeys(texts), pa.string()))
    return guess.type()


def _extended(own: FileSchema, added: Mapping[str, pa.DataType]) -> FileSchema:
    columns = (*own.columns, *(FileColumn(name, each) for name, each in added.items()))
    stored = own.stored
    if stored is not None:
        stored = pa.schema([*stored, *(pa.field(name, each) for name, each in added.items())], stored.metadata)
    return replace(own, columns=columns, stored=stored, of_folders=frozenset(added))


def _without(found: FileSchema) -> FileSchema:
    """What a file has itself."""
    columns = tuple(column for column in found.columns if column.name not in found.of_folders)
    stored = found.stored
    if stored is not None:
        stored = pa.schema([field for field in stored if field.name not in found.of_folders], stored.metadata)
    return replace(found, columns=columns, stored=stored, of_folders=frozenset())
