"""Reads JSON Lines, and files of one JSON array, part by part."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Literal, TypeAlias

import pyarrow as pa
from pyarrow import types
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from dataflare.data.batches import MAX_BATCH_BYTES
from dataflare.data.json_numbers import Inexact, guess_numbers, inexact_numbers, number_paths, retyped, written
from dataflare.data.json_reader import decode_json_lines
from dataflare.data.schemas import parse_type
from dataflare.data.shapes import DataFailure
from dataflare.data.type_inference import misfit_reason
from dataflare.documents.models import StrictModel
from dataflare.documents.quantities import Size, parse_size
from dataflare.pipeline.reading.common_options import BatchRows, Columns, CompressionName, EncodingName, Sample
from dataflare.pipeline.reading.file_schema import FileColumn, FileSchema
from dataflare.pipeline.reading.inputs import InputFile, Opener
from dataflare.pipeline.reading.json_parts import Part, cut
from dataflare.pipeline.reading.json_remedies import fitting_type
from dataflare.pipeline.reading.json_texts import as_texts
from dataflare.pipeline.reading.json_types import merged_types, with_text
from dataflare.pipeline.reading.text import open_text
from dataflare.pipeline.run_errors import DataError
from dataflare.suggestions import close_matches

__all__ = ["JsonlReadOptions", "read_json_lines"]

_log = logging.getLogger(__name__)
_UNREAD = re.compile(r"Failed to parse string: '(.*)' as a scalar of type (\S+(?: ?[^:]*\])?)(?:: .*)?$", re.DOTALL)
_LINE_IN_MESSAGE = re.compile(r"^(?:[a-z-]+: )?line (\d+): ")
_COLUMN_IN_MESSAGE = re.compile(r"Column\(/([^)]{0,1000})\)")


_WORD = re.compile(r'[^\s,:\[\]{}"]*')
_END_OF_WORD = re.compile(r'[^\s,:\[\]{}"]*$')
_MOST_WORD = 1000
"""How far before a place is looked for where its word begins: looking takes time by the square of that."""
_NO_JSON = {
    r"(?!-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$)[-+]?[0-9.]": "JSON numbers have no leading zeros, plus "
    "signs or underscores, and digits before and after the point: correct it, or write a text, in double quotes",
    r"(?i)(?:none|undefined|true|false|null|[-+]?(?:nan|inf))\b": "JSON has null, true and false; NaN, Infinity and "
    "-Infinity are read too",
    r"['`]|[^\W\d]": "JSON has names and texts in double quotes",
}
"""What other languages have, by how it begins, and what JSON has."""


class JsonlReadOptions(StrictModel):
    """How to read JSON Lines, or one JSON array of objects."""

    batch_rows: BatchRows = 65_536
    columns: Columns = Field(default={})
    compression: CompressionName = "auto"
    encoding: EncodingName = "utf-8"
    sample: Sample = "16MiB"
    max_line: Size = Field(default="64MiB", description="The longest line, or object of an array; 1 GiB at most.")

    @model_validator(mode="after")
    def _check(self) -> JsonlReadOptions:
        if not 1 <= parse_size(self.max_line) <= 2**30:
            raise PydanticCustomError("size", "give 1B to 1GiB", {"key": "max_line"})
        return self


def read_json_lines(
    source: InputFile,
    opener: Opener,
    options: JsonlReadOptions,
    found: FileSchema | None,
    *,
    sample_only: bool = False,
) -> Iterator[Any]:
    """Read a file; see `read_csv`.

    Strings stay text, and numbers become what keeps all of them. A column that comes up only after the sample is an
    error, not a loss.
    """
    return _JsonFile(source, opener, options).batches(found, sample_only)


_Seen: TypeAlias = tuple[Part, pa.RecordBatch]
"""A part, and what was read of it with types that were inferred from it alone."""


class _JsonFile:
    def __init__(self, source: InputFile, opener: Opener, options: JsonlReadOptions) -> None:
        self._source = source
        self._opener = opener
        self._options = options
        self._types = {name: parse_type(text) for name, text in options.columns.items()}
        self._texts = frozenset(name for name, kind in self._types.items() if types.is_string(kind))
        self._is_later = False
        """Whether an earlier file decided the columns."""
        self._without_values: frozenset[str] = frozenset()
        """Columns of which no value decided the type: they are text because nothing else is known."""

    def batches(self, found: FileSchema | None, sample_only: bool) -> Iterator[Any]:
        parts = self._parts(self._source.file)
        if found is None:
            if self._options.sample == "all" and self._source.is_regular:
                with self._opener(self._source.path) as digits:
                    found, _ = self._find_out(parts, None, self._parts(digits))
                self._note_decided(found)
                with self._opener(self._source.path) as again:
                    yield found
                    yield from () if sample_only else self._decode_all(self._parts(again), found)
                return
            wanted = None if self._options.sample == "all" else parse_size(self._options.sample)
            found, waiting = self._find_out(parts, wanted, ())
            self._note_decided(found)
            yield found
            if not sample_only:
                yield from self._decode_sample(waiting, found)
        else:
            self._is_later = True
            self._note_decided(found)
            yield found
        if not sample_only:
            yield from self._decode_all(parts, found)

    def _note_decided(self, found: FileSchema) -> None:
        self._without_values = frozenset(each.name for each in found.columns if not each.valued)

    def _parts(self, file: Any) -> Iterator[Part]:
        options = self._options
        text = open_text(self._source.path, file, compression=options.compression, encoding=options.encoding)
        for part in cut(self._source.path, text, parse_size(options.max_line)):
            try:
                part.text.decode()
            except UnicodeDecodeError as error:
                line = part.line_of(part.text.count(b"\n", 0, error.start) + 1)
                hint = "if it is in another encoding, say so in `options`: encoding: latin-1, windows-1252, utf-16 ..."
                raise self._error("is not UTF-8", line, hint) from error
            yield part

    # Types

    def _find_out(
        self, parts: Iterator[Part], wanted: int | None, again: Iterable[Part]
    ) -> tuple[FileSchema, list[_Seen]]:
        """Infer types from this many bytes (`None`: from all), and keep the parts that were read for it.

        `again` gives the parts that are not kept a second time, for columns whose digits have to be counted.
        """
        fields: dict[str, pa.DataType] = {}
        numbers: Inexact = {}
        waiting: list[_Seen] = []
        size = rows = 0
        whole = True
        first: list[str] = []
        empty = list(self._types)
        for part in parts:
            batch = self._infer(part)
            empty = [name for name in empty if batch.column(name).null_count == batch.num_rows]
            first = first or _names_of_first_row(part)
            rows += batch.num_rows
            for field in batch.schema:
                if field.name not in self._types:
                    self._merge(fields, field, part)
            size += len(part.text)
            waiting.append((part, batch))
            if wanted is not None and size >= wanted:
                whole = False
                break
            if wanted is None:
                self._collect(waiting.pop()[0], fields, numbers)
        for part, _ in waiting:
            self._collect(part, fields, numbers)
        notes = self._keep_digits(fields, numbers, chain((part for part, _ in waiting), again))
        known = {**dict.fromkeys(first), **dict.fromkeys(fields), **dict.fromkeys(self._types)}
        names = [name for name in known if name in fields or name in self._types]
        columns = [
            FileColumn(name, self._types[name], note=_empty_note(name, fields) if name in empty else "")
            if name in self._types
            else FileColumn(
                name,
                with_text(fields[name]),
                inferred=True,
                note=notes.get(name, ""),
                valued=not pa.types.is_null(fields[name]),
            )
            for name in names
        ]
        return FileSchema(tuple(columns), rows, whole, named=rows > 0), waiting

    def _infer(self, part: Part) -> pa.RecordBatch:
        if not self._types:
            return self._decode(part, None)
        return self._decode(part, pa.schema(list(self._types.items())), extra="infer")

    def _merge(self, fields: dict[str, pa.DataType], field: pa.Field, part: Part) -> None:
        try:
            merged = merged_types(fields[field.name], field.type) if field.name in fields else field.type
        except ValueError as error:
            self._decode(part, pa.schema([(field.name, fields[field.name])]))  # which fails, and names the line
            what = f"column {field.name!r} is {error}, in the lines from here on"
            raise self._error(what, part.line_of(1), _mixed(field.name, part.text)) from error
        fields[field.name] = merged

    def _collect(self, part: Part, fields: dict[str, pa.DataType], numbers: Inexact) -> None:
        for line, path, number in inexact_numbers(part.text, number_paths(pa.schema(list(fields.items())))):
            if len(number) > len(numbers.get(path, ("", 0))[0]):
                numbers[path] = number, part.line_of(line)

    def _keep_digits(self, fields: dict[str, pa.DataType], numbers: Inexact, parts: Iterable[Part]) -> dict[str, str]:
        """Make decimals of doubles that would lose digits; returns why, by column."""
        notes = {}
        for path, guess in guess_numbers(numbers, (part.text for part in parts)).items():
            kind = guess.type()
            if types.is_string(kind):
                number, place = numbers[path]
                what = f"column {'.'.join(path)!r}: no type keeps {number[:60]} and the other numbers"
                rounds = len(path) == 1 and math.isfinite(float(number))
                hint = _as_written(path[0]) + (f"; {{{path[0]}: double}} rounds" if rounds else "")
                raise self._error(what, place, hint)
            fields[path[0]] = retyped(fields[path[0]], path[1:], kind)
            notes[path[0]] = guess.note
        return notes

    # Rows

    def _decode_sample(self, waiting: list[_Seen], found: FileSchema) -> Iterator[pa.RecordBatch]:
        """Give the rows that types were inferred from; what was read with the right types already is not read again."""
        schema = found.schema
        while waiting:
            part, batch = waiting.pop(0)
            yield batch if batch.schema.equals(schema) else self._decode(part, schema, extra="refuse")

    def _decode_all(self, parts: Iterator[Part], found: FileSchema) -> Iterator[pa.RecordBatch]:
        schema = found.schema
        watched = number_paths(pa.schema([(column.name, column.type) for column in found.columns if column.inferred]))
        for part in parts:
            for line, path, number in inexact_numbers(part.text, watched):
                kind = watched[path]
                what = f"{'.'.join(path)!r}: {number[:60]} is not kept by {kind}, which was found out from the sample"
                hint = self._give_type(path[0], part.text.split(b"\n", line)[line - 1], schema)
                raise self._error(what, part.line_of(line), hint)
            yield self._decode(part, schema, extra="refuse")

    def _decode(
        self, part: Part, schema: pa.Schema | None, *, extra: Literal["drop", "infer", "refuse"] = "drop"
    ) -> pa.RecordBatch:
        try:
            return decode_json_lines(part.text, schema, MAX_BATCH_BYTES, extra=extra, exact=False)
        except DataFailure as error:
            if self._texts and (text := as_texts(part.text, self._texts)) != part.text:
                return self._decode(Part(text, part.line_of), schema, extra=extra)
            if schema is not None and extra == "refuse" and "unexpected field" in error.message:
                self._check_complete(part, schema)
                # What the options give a type, the reader takes by that type and nothing more.
                return self._decode(part, schema)
            raise self._located(error, part, schema) from error

    def _located(self, error: DataFailure, part: Part, schema: pa.Schema | None) -> DataError:
        message, line, number = error.message.removeprefix("malformed: "), 0, 1
        text = part.text
        if match := _LINE_IN_MESSAGE.match(message):
            number = int(match.group(1))
            line = part.line_of(number)
            message = message[match.end() :]
            text = text.split(b"\n", number)[number - 1]
            if message.startswith("'"):
                message = f"column {message}"
            elif (match := _COLUMN_IN_MESSAGE.search(message)) is None and schema is not None:
                message = _named_column(text, schema) + message
        message = _UNREAD.sub(_why_unread, message)
        hint = ""
        if "specified twice" in message:
            message = _COLUMN_IN_MESSAGE.sub(lambda match: f"{match.group(1).replace('/', '.')!r}", message)
            message = message.replace(" was specified twice", " stands twice in one object")
            hint = "remove one of the two, or rename it"
        elif match := _COLUMN_IN_MESSAGE.search(message):
            message = message.replace(match.group(), f"column {match.group(1).replace('/', '.')!r}", 1)
            column = match.group(1).partition("/")[0]
            # A column that was null so far has no other kind of values.
            known = column not in self._without_values
            hint = _mixed(column, part.text) if known else self._give_type(column, text, schema)
        elif "convert" in message or "couldn't parse" in message or "column" in message or "is not a value" in message:
            column = match.group(1) if (match := re.match(r"column '([^']*)'", message)) else "..."
            hint = self._give_type(column, text, schema)
        elif "too big" in message:
            message, hint = _too_large(text)
        elif "encoding in string" in message:
            message = "a text holds a control character, such as a tab, or an invalid escape"
            hint = "write it as an escape, such as \\t"
        elif "surrogate" in message:
            message = "a text holds half of a surrogate pair, such as \\ud800, which is not a character"
            hint = "replace it in the file"
        elif "nested deeper" in message:
            message, hint = _too_deep(message, text)
        else:
            message, hint = _broken(message, text)
        return self._error(message, line, hint)

    def _check_complete(self, part: Part, schema: pa.Schema) -> None:
        """Refuse to drop values that only appear later: columns, and parts of columns that are records."""
        late = self._late(part.text, schema)
        if not late:
            return
        lines = part.text.split(b"\n")
        numbers = (n for n, text in enumerate(lines, start=1) if text.strip() and late[0] in self._late(text, schema))
        number = next(numbers, 1)
        hint = self._give_type(late[0].partition(".")[0], lines[number - 1], schema)
        what = f"{late[0]!r} comes up here first, after the columns were found out"
        raise self._error(what, part.line_of(number), hint)

    def _late(self, text: bytes, schema: pa.Schema) -> list[str]:
        found = decode_json_lines(text, None, MAX_BATCH_BYTES, exact=False).schema
        return _late([field for field in found if field.name not in self._types], schema)

    def _give_type(self, column: str, line: bytes, schema: pa.Schema | None) -> str:
        has_type = schema is not None and column in schema.names and column not in self._without_values
        known = schema.field(column).type if schema is not None and has_type else None
        found = fitting_type(line, column, known)
        fitting = found or "string"
        if column in self._types:
            return f"change its type in `columns`: {{{column}: {fitting}}} takes this value"
        hint = f"give its type in `options`: columns: {{{column}: {fitting}}}"
        if self._is_later:
            reason = ", and has no value of this column" if column in self._without_values else ""
            return f"{hint}; the first file decides the types{reason}"
        # Nothing but text takes them all: reading more of the file finds no other type.
        return hint if found is None else f"{hint}; or infer it from all: sample: all"

    def _error(self, what: str, line: int, hint: str = "") -> DataError:
        return DataError(what, file=str(self._source.path), line=line, hint=hint)


def _empty_note(column: str, others: Iterable[str]) -> str:
    near = close_matches(column, others)
    meant = f": did you mean {near[0]!r}?" if near else ""
    if near:
        _log.warning("no row has a value for column %r, to which the options give a type%s", column, meant)
    return f"it has no values{meant}"


def _mixed(column: str, text: bytes) -> str:
    hint = f"a column has values of one kind; {_as_written(column)}"
    if b'"NaN"' in text or b'Infinity"' in text:
        hint += f', and {{{column}: double}} numbers with "NaN" and "Infinity" among them'
    return hint


def _as_written(column: str) -> str:
    return f"columns: {{{column}: string}} reads all of them as they are written"


def _why_unread(match: re.Match[str]) -> str:
    """Explain why a text is not a value of a type, in place of Arrow's message."""
    text, data_type = match.groups()
    return f"{text[:60]!r} {misfit_reason(text, parse_type(data_type))}"


def _too_large(text: bytes) -> tuple[str, str]:
    """Name the column of a number that is infinite as a double, and say what to do."""
    what = "a number is beyond the range of a double"
    for path, number in written(text):
        if number.lstrip("-")[0].isdigit() and math.isinf(float(number)):
            return f"column {'.'.join(path)!r}: {what}", _as_written(path[0])
    return what, "write it as a text in the file, in double quotes"


def _too_deep(message: str, line: bytes) -> tuple[str, str]:
    """Name the column of a value that nests too deeply, and say what to do."""
    try:
        record = json.loads(line, parse_int=str)
        for name, value in record.items():
            try:
                decode_json_lines(json.dumps({name: value}).encode(), None, MAX_BATCH_BYTES, exact=False)
            except DataFailure:
                return f"column {name!r}: {message}", _as_written(name)
    except (ValueError, RecursionError, AttributeError):
        pass  # deeper than a parser goes, or not JSON either
    return message, "write the value as a text in the file, or leave it out"


def _broken(message: str, line: bytes) -> tuple[str, str]:
    """Say what is wrong with a line that is not JSON, and what to do."""
    hint = "each line has one JSON object and ends with a line feed; one array, [{...}, ...], is read too"
    if b"\0" in line:
        return (
            "a NUL character stands in the line",
            "get the file again: a program or a disk that failed left it; in a text, write it as \\u0000",
        )
    if line.rstrip().endswith(b"},"):
        return (
            "a comma follows the object",
            "remove the commas, or put [ and ] around the file, which makes it an array",
        )
    if "does not end on its line" in message:
        hint += "; `jq -c .` puts each object on one line, `jq -c '.NAME[]'` those of an array within an object"
    try:
        json.loads(line, parse_int=str)
    except json.JSONDecodeError as error:
        word = _word_at(error.doc, error.pos)
        hint = next((says for form, says in _NO_JSON.items() if re.match(form, word)), hint)
        message = f"{message.removesuffix('.')}, at character {error.colno}{f': {word[:60]}' if word else ''}"
    except (ValueError, RecursionError):
        pass  # nothing more is known of it
    return message, hint


def _word_at(text: str, place: int) -> str:
    """What stands at a place, without the punctuation of JSON around it."""
    before, after = _END_OF_WORD.search(text, max(0, place - _MOST_WORD), place), _WORD.match(text, place)
    assert before is not None and after is not None  # both may be empty
    return before.group() + after.group()


def _named_column(line: bytes, schema: pa.Schema) -> str:
    """Name the column of a line that does not fit its type; what is not JSON is the fault of none."""
    try:
        decode_json_lines(line, None, MAX_BATCH_BYTES, exact=False)
    except DataFailure:
        return ""
    for field in schema:
        try:
            decode_json_lines(line, pa.schema([field]), MAX_BATCH_BYTES)
        except DataFailure:
            return f"column {field.name!r}: "
    return ""


def _names_of_first_row(part: Part) -> list[str]:
    """The order of the columns: Arrow puts those whose types are given first."""
    line = next((line for line in part.text.split(b"\n", 64) if line.strip()), b"{}")
    return list(json.loads(line, parse_int=str))  # which has no limit on the digits


def _late(found: Any, known: Any, prefix: str = "") -> list[str]:
    """The names in a schema, or in the struct types within it, that another one does not have; dotted."""
    names = {field.name: field for field in known}
    late: list[str] = []
    for field in found:
        if field.name not in names:
            late.append(prefix + field.name)
            continue
        one, other = _item(field.type), _item(names[field.name].type)
        if types.is_struct(one) and types.is_struct(other):
            late += _late(one, other, f"{prefix}{field.name}.")
    return late


def _item(data_type: pa.DataType) -> pa.DataType:
    """What lists of lists are of in the end."""
    while types.is_list(data_type):
        data_type = data_type.value_type
    return data_type
