"""What a reader found out about a file before it reads on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa

__all__ = ["FileColumn", "FileSchema"]


@dataclass(frozen=True, slots=True)
class FileColumn:
    """One column of a file.

    Args:
        name: The column.
        type: Its type.
        inferred: Whether the type was found out from values: neither the file nor the options say it.
        note: Why it is not the type that it looks like; mostly empty.
        valued: Whether a value was there to infer the type from.
    """

    name: str
    type: pa.DataType
    inferred: bool = False
    note: str = ""
    valued: bool = True


@dataclass(frozen=True, slots=True)
class FileSchema:
    """The columns of a file.

    Args:
        columns: The columns, in order.
        sampled_rows: How many rows types were inferred from.
        whole: Whether these were all rows.
        stored: The schema with its metadata, where the file has one.
        of_folders: The columns that are not in the file: the names of its folders say them.
        named: Whether the file says which columns it has; JSON Lines without a row does not.
    """

    columns: tuple[FileColumn, ...]
    sampled_rows: int = 0
    whole: bool = True
    stored: pa.Schema | None = None
    of_folders: frozenset[str] = frozenset()
    named: bool = True

    @property
    def schema(self) -> pa.Schema:
        """The schema of all batches."""
        if self.stored is not None:
            return self.stored
        return pa.schema([pa.field(column.name, column.type) for column in self.columns])

    @property
    def inferred(self) -> dict[str, str]:
        """The inferred types by column."""
        return {column.name: str(column.type) for column in self.columns if column.inferred}

    def with_known(self, known: pa.Schema | None) -> FileSchema:
        """Give columns without a value the types that are known of them: they are no reason for others.

        A file that does not say which columns it has gets the known ones.
        """
        types = {} if known is None else dict(zip(known.names, known.types, strict=True))
        columns = [
            each if each.valued else replace(each, type=types.get(each.name, each.type)) for each in self.columns
        ]
        if not self.named:
            lacking = {name: each for name, each in types.items() if name not in self.schema.names}
            columns += [FileColumn(name, each, inferred=True, valued=False) for name, each in lacking.items()]
        return replace(self, columns=tuple(columns))

    @classmethod
    def of_file(cls, schema: pa.Schema) -> FileSchema:
        """Take the schema that a file carries."""
        return cls(tuple(FileColumn(field.name, field.type) for field in schema), stored=schema)
