"""Columns that stand in the names of folders, as Hive lays files out: `year=2013/month=1/part-0.parquet`."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from dataflare.data.guard.vetted import remember, vetted_columns
from dataflare.data.schemas import SchemaError, parse_type
from dataflare.data.type_inference import ColumnGuess, convert, misfit_reason
from dataflare.documents.models import nearest
from dataflare.pipeline.columns import has_odd_offsets
from dataflare.pipeline.connectors.connector import Reader
from dataflare.pipeline.reading.file_schema import FileColumn, FileSchema
from dataflare.pipeline.reading.inputs import split_pattern
from dataflare.pipeline.run_errors import DataError

__all__ = [
    "NULL_FOLDER",
    "FolderColumns",
    "find_folder_columns",
    "folder_texts",
    "folder_type",
    "inferred_type",
    "with_folder_types",
]

NULL_FOLDER: Final = "__HIVE_DEFAULT_PARTITION__"
"""What stands in the name of a folder for a null."""

_NOTED: Final = b"dataflare.folder_columns"
"""Metadata of a file's schema: the Arrow types of the columns that its folders name, as JSON."""

_Texts: TypeAlias = dict[str, str | None]


@dataclass(frozen=True)
class FolderColumns:
    """The columns that the folders of some files name; any thread may use it.

    Args:
        inferred: The types that their texts have, in the order of the folders.
        given: The types that the node says.
        texts: For each file what its folders say.
    """

    inferred: Mapping[str, pa.DataType]
    given: Mapping[str, pa.DataType]
    texts: Mapping[Path, _Texts]

    def reader(self, read: Reader) -> Reader:
        """Make a reader that adds the columns to what another one reads; a column that a file has itself stays."""

        def with_folders(
            source: Any, opener: Any, options: Any, found: FileSchema | None, *, sample_only: bool = False
        ) -> Iterator[Any]:
            first = None if found is None else _without(found)
            parts = read(source, opener, options, first, sample_only=sample_only)
            own, noted = _without_types(next(parts), source.path)
            names = {column.name for column in own.columns}
            added = {name: each for name, each in self._types(source.path, noted, found).items() if name not in names}
            yield _extended(own, added)
            values = {name: self._value(source.path, name, each) for name, each in added.items()}
            for batch in parts:
                checked = vetted_columns(batch)
                for name, value in values.items():
                    batch = batch.append_column(name, pa.repeat(value, batch.num_rows))
                if noted:
                    batch = batch.replace_schema_metadata(own.schema.metadata)
                yield remember(batch, checked | values.keys())

        return with_folders

    def _types(self, path: Path, noted: Mapping[str, pa.DataType], found: FileSchema | None) -> dict[str, pa.DataType]:
        """The types of all columns for one file: as the node says, as the file notes, or as the texts look.

        After the first file they are what they are; a file that notes another one is an error.
        """
        chosen = {name: self.given.get(name) or noted.get(name) or each for name, each in self.inferred.items()}
        if found is not None:
            first = {column.name: column.type for column in found.columns if column.name in found.of_folders}
            for name in first.keys() & noted.keys() - self.given.keys():
                if noted[name] != first[name]:
                    what = f"column {name!r} of its folders was {noted[name]}, and is {first[name]} in the first file"
                    hint = f"give one type: `hive_partitioning: {{{name}: string}}`"
                    raise DataError(what, file=str(path), hint=hint)
            chosen |= first
        return chosen

    def _value(self, path: Path, name: str, data_type: pa.DataType) -> pa.Scalar:
        text = self.texts[path][name]
        try:
            return convert(pa.array([text], pa.string()), data_type)[0]
        except (pa.ArrowException, ValueError) as error:
            what = f"the folder {name}={text} is for column {name!r}, and {text!r} {misfit_reason(text, data_type)}"
            hint = f"give it another type: `hive_partitioning: {{{name}: string}}`"
            raise DataError(what, file=str(path), hint=hint) from error


def find_folder_columns(
    folder: Path, read: str | Sequence[str], paths: Sequence[Path], typed: Mapping[str, str] | None = None
) -> FolderColumns | None:
    """Find the columns that the folders of files name: those that a pattern matched or went through.

    Args:
        folder: What relative patterns are relative to.
        read: What found the files, as for `find_files`.
        paths: The files.
        typed: Arrow types of columns. The others' are what the files note, or inferred from all values.

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
    given = {name: parse_type(text) for name, text in (typed or {}).items()}
    if unknown := [name for name in given if name not in names]:
        what = f"no folder is named {unknown[0]}=..., for which `hive_partitioning` gives a type"
        raise DataError(what, file=str(paths[0]), hint=nearest(unknown[0], names))
    if not names:
        return None
    return FolderColumns(
        {name: inferred_type([found[name] for found in texts.values()]) for name in names}, given, texts
    )


def with_folder_types(schema: pa.Schema, rows: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    """Note the types of the columns that folders name in the schema of the files below them."""
    noted = {column: str(folder_type(rows.field(column).type)) for column in columns}
    return schema.with_metadata({**(schema.metadata or {}), _NOTED: orjson.dumps(noted)})


def folder_type(data_type: pa.DataType) -> pa.DataType:
    """The type that a column has when its values are read from the names of folders."""
    if types.is_dictionary(data_type):
        return folder_type(data_type.value_type)
    is_text = types.is_string(data_type) or types.is_large_string(data_type) or types.is_string_view(data_type)
    return pa.string() if is_text else data_type


def folder_texts(array: pa.Array) -> pa.Array:
    """The texts that stand for values in the names of folders, before what is special in a path is escaped."""
    texts = array.cast(pa.large_string())
    if types.is_timestamp(array.type) and array.type.tz and (odd := has_odd_offsets(array)) is not None:
        in_utc = array.cast(pa.timestamp(array.type.unit, "UTC")).cast(pa.large_string())
        texts = pc.if_else(odd, in_utc, texts)
    return texts


def inferred_type(texts: Sequence[str | None]) -> pa.DataType:
    """Infer the type of a column from the names of folders. Of a text, they are all that there is: where the type would
    write it in another way, as `1.50`, it stays text."""
    values = pa.array([text for text in dict.fromkeys(texts) if text is not None], pa.string())
    guess = ColumnGuess()
    guess.add(values)
    found = guess.type()
    read = convert(values, found)
    again = folder_texts(read).cast(pa.string())
    if types.is_floating(found):
        again = pc.if_else(pc.ends_with(values, ".0"), pc.binary_join_element_wise(again, ".0", ""), again)
    return found if again.equals(values) and len(read.unique()) == len(values) else pa.string()


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


def _extended(own: FileSchema, added: Mapping[str, pa.DataType]) -> FileSchema:
    columns = (*own.columns, *(FileColumn(name, each) for name, each in added.items()))
    stored = own.stored
    if stored is not None:
        stored = pa.schema([*stored, *(pa.field(name, each) for name, each in added.items())], stored.metadata)
    return replace(own, columns=columns, stored=stored, of_folders=frozenset(added))


def _without_types(own: FileSchema, path: Path) -> tuple[FileSchema, dict[str, pa.DataType]]:
    """Take the types of folders' columns out of what a file says: they are not for who takes its rows."""
    metadata = dict((own.stored.metadata if own.stored is not None else None) or {})
    text = metadata.pop(_NOTED, None)
    if own.stored is None or text is None:
        return own, {}
    try:
        noted = {name: parse_type(each) for name, each in orjson.loads(text).items()}
    except (ValueError, AttributeError, TypeError, SchemaError) as error:
        what = f"its metadata {_NOTED.decode()!r} does not name types"
        hint = "give the types, or leave the names of folders aside: `hive_partitioning: false`"
        raise DataError(what, file=str(path), hint=hint) from error
    return replace(own, stored=own.stored.with_metadata(metadata or None)), noted


def _without(found: FileSchema) -> FileSchema:
    """What a file has itself."""
    columns = tuple(column for column in found.columns if column.name not in found.of_folders)
    stored = found.stored
    if stored is not None:
        stored = pa.schema([field for field in stored if field.name not in found.of_folders], stored.metadata)
    return replace(found, columns=columns, stored=stored, of_folders=frozenset())
