"""YAML as plain values, each with its line; only the part of YAML that means one thing to everybody.

Scalars follow the core schema of YAML 1.2: `no` and `2013-01-01` are texts, `1e3` is a number. Refused, with the line:
anchors and aliases, tags, merge keys, repeated keys, keys that are not texts, numbers that YAML 1.1 and 1.2 read as
different ones (`010`) or that neither JSON nor 64 bits can hold, several documents, nesting beyond `MAX_DEPTH`, more
than 400,000 keys and values, files beyond `MAX_BYTES`.
"""

from __future__ import annotations

import decimal
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import yaml

from dataflare.documents.variables import Variables
from dataflare.errors import ConfigError
from dataflare.texts import cut
from dataflare.user_files import read_file

__all__ = ["MAX_BYTES", "MAX_DEPTH", "Document", "KeyPath", "parse_document", "read_document"]

MAX_BYTES: Final = 2**20
MAX_DEPTH: Final = 32
_MAX_PARTS: Final = 400_000
_MAX_SHOWN: Final = 300

KeyPath = tuple[str | int, ...]
"""The keys and the positions that lead to a value."""

_NULL = re.compile(r"null|Null|NULL|~|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+", re.ASCII)
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+", re.ASCII)
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Document:
    """A document: `value` of dicts, lists, texts, numbers, booleans and nulls, and where each part stands.

    `lines` has the line, from 1, of every value by its path; for the value of a mapping it is its key's line. It is
    empty if the document was made in a program, and not read. `digest` is that of the bytes that were parsed,
    `sha256:` and hexadecimal digits.
    """

    name: str
    value: Any
    lines: Mapping[KeyPath, int]
    digest: str = ""

    def where(self, path: KeyPath) -> str:
        """Write `file:line` of a value, or of the nearest one around it; without lines, `name: keys`."""
        if not self.lines:
            return f"{self.name}: {'.'.join(map(str, path))}" if path else self.name
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.name}:{self.lines.get(path, 1)}"

    def line(self, path: KeyPath) -> int:
        """The line of a value, or of the nearest one around it; 1 without lines."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_document(file: Path, *, name: str = "", variables: Variables | None = None) -> Document:
    """Read a YAML file, with variables or without; `name` is what errors call it, else its path.

    Raises:
        ConfigError: It cannot be read, or `parse_document` refuses it.
    """
    try:
        return parse_document(read_file(file, MAX_BYTES), name=name or str(file), variables=variables)
    except ConfigError as error:
        if error.where != str(file) or not name:
            raise
        raise ConfigError(error.message.removeprefix(f"{file}: "), where=name, hint=error.hint) from error


def parse_document(data: bytes | str, *, name: str, variables: Variables | None = None) -> Document:
    """Parse YAML.

    Args:
        data: UTF-8, with a byte order mark or without; or a text.
        name: What errors call the document: the file's name.
        variables: What `${NAME}` stands for; `None` leaves it as it is. A plain scalar that is one variable and nothing
            else is what its value would be in its place (`10` a number); in quotes, or beside other text, it is a text.

    Raises:
        ConfigError: It is not YAML, or has a part that is refused; `where` is `name:line`.
    """
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    if len(data) > MAX_BYTES:
        raise ConfigError(f"is longer than {MAX_BYTES} bytes", where=f"{name}:1")
    if data.startswith(b"\0asm"):
        hint = "a plugin stands in a pipeline's node, `plugin: FILE`; `dataflare inspect FILE` describes it"
        raise ConfigError("is WebAssembly, not YAML", where=name, hint=hint)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("is not UTF-8", where=f"{name}:{line}") from error
    document = _parse(text, name, variables)
    return replace(document, digest=f"sha256:{sha256(data).hexdigest()}")


def _parse(text: str, name: str, variables: Variables | None) -> Document:
    # libyaml is some twenty times faster. What it refuses, PyYAML's own parser reads: it has the better messages, and
    # takes the two escapes by which JSON writes some characters.
    if yaml.__with_libyaml__:
        try:
            return _Parser(text, name, variables and variables.again(), yaml.CSafeLoader).parse()
        except (yaml.YAMLError, ValueError, OverflowError):
            pass
    try:
        return _Parser(text, name, variables, yaml.SafeLoader).parse()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"the character U+{error.character:04X} is not allowed"
        raise ConfigError(what, where=f"{name}:{line}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = " ".join(filter(None, [error.context, error.problem]))
        # PyYAML counts lines that end in ways which editors do not know, so that this one may be behind the last.
        source = "".join(text.split("\n")[mark.line : mark.line + 1]) if mark else ""
        hint = 'within { } and [ ], put a variable into quotes: "${NAME}"' if "${" in source else ""
        where = f"{name}:{mark.line + 1 if mark else 1}"
        raise ConfigError(f"is not YAML: {cut(problem, _MAX_SHOWN)}", where=where, hint=hint) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # What PyYAML lets through from Python, such as a \U escape beyond Unicode.
        raise ConfigError(f"is not YAML: {error}", where=f"{name}:1") from error


class _Parser:
    """Builds values from the events of one document."""

    def __init__(self, text: str, name: str, variables: Variables | None, loader: Any) -> None:
        self._text = text
        self._loader = loader
        self._name = name
        self._variables = variables
        self._lines: dict[KeyPath, int] = {}
        self._events: Iterator[Any] = iter(())
        self._parts = 0

    def parse(self) -> Document:
        # Events, not nodes: errors are found before anything is built.
        self._events = iter(yaml.parse(self._text, Loader=self._loader))
        self._next()  # the stream begins
        begin = self._next()
        if not isinstance(begin, yaml.DocumentStartEvent):
            raise ConfigError("is empty", where=f"{self._name}:1")
        value = self._value(self._next(), ())
        self._next()  # the document ends
        more = self._next()
        if isinstance(more, yaml.DocumentStartEvent):
            raise self._refused(more, "a second document begins", hint="write one document in a file")
        if self._variables is not None:
            self._variables.check_given()
        return Document(self._name, value, self._lines)

    def _next(self) -> Any:
        event = next(self._events)
        self._parts += 1
        # What libyaml refuses is read once more by PyYAML, which takes seconds for a megabyte of short keys.
        if self._parts > _MAX_PARTS:
            raise self._refused(event, f"has more than {_MAX_PARTS} keys and values")
        return event

    def _value(self, event: Any, path: KeyPath) -> Any:
        self._check_plain(event)
        self._lines.setdefault(path, event.start_mark.line + 1)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(self._with_variables(event))
        if len(path) >= MAX_DEPTH:
            raise self._refused(event, f"nested deeper than {MAX_DEPTH} levels")
        return self._mapping(path) if isinstance(event, yaml.MappingStartEvent) else self._sequence(path)

    def _check_plain(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent):
            raise self._refused(event, f"the alias *{event.anchor}", hint="write the value out")
        if getattr(event, "anchor", None) is not None:
            raise self._refused(event, f"the anchor &{event.anchor}", hint="leave it out; aliases are not taken")
        if getattr(event, "tag", None) is not None:
            raise self._refused(event, f"the tag {event.tag}", hint="leave it out")

    def _sequence(self, path: KeyPath) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            values.append(self._value(event, (*path, len(values))))
        return values

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event)
            if key in values:
                first = self._lines[(*path, key)]
                raise self._refused(event, f"the key {_shorten(key)!r} is there twice, first in line {first}")
            self._lines[(*path, key)] = event.start_mark.line + 1
            values[key] = self._value(self._next(), (*path, key))
        return values

    def _key(self, event: Any) -> str:
        self._check_plain(event)
        if not isinstance(event, yaml.ScalarEvent):
            raise self._refused(event, "a key that is not a text", hint="put it into quotes")
        key = self._scalar(event)
        if not isinstance(key, str):
            raise self._refused(event, f"the key {_shorten(event.value)!r} is not a text", hint="put it into quotes")
        if key == "<<" and not event.style:
            raise self._refused(event, "a merge key <<", hint="write the keys out")
        return key

    def _with_variables(self, event: yaml.ScalarEvent) -> yaml.ScalarEvent:
        if self._variables is None or "${" not in event.value:
            return event
        try:
            value, whole = self._variables.expand(event.value)
        except ConfigError as error:
            raise self._refused(event, error.message, hint=error.hint) from error
        # What is put together is a text; so is an empty value, which is not the same as none.
        style = event.style if whole and value else event.style or '"'
        return yaml.ScalarEvent(None, None, event.implicit, value, event.start_mark, event.end_mark, style)

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        text: str = event.value
        if _SURROGATE.search(text):
            try:
                # JSON writes some characters as two escapes, which PyYAML leaves apart.
                text = text.encode("utf-16", "surrogatepass").decode("utf-16")
            except UnicodeDecodeError as error:
                hint = "write the character itself"
                raise self._refused(event, "half of a surrogate pair", hint=hint) from error
        if event.style:
            return text
        if _NULL.fullmatch(text):
            return None
        if _TRUE.fullmatch(text):
            return True
        if _FALSE.fullmatch(text):
            return False
        if _LEADING_ZERO.fullmatch(text):
            what = f"the number {_shorten(text)} can be read in more than one way"
            raise self._refused(event, what, hint="put a text into quotes; write a number without leading zeros")
        for pattern, base in ((_INTEGER, 10), (_OCTAL, 8), (_HEXADECIMAL, 16)):
            if pattern.fullmatch(text):
                return self._integer(event, base)
        if _FLOAT.fullmatch(text):
            number = float(text)
            if math.isinf(number):
                raise self._refused(event, f"the number {_shorten(text)} is beyond a 64-bit float")
            if not _is_kept(text, number):
                what = f"the number {_shorten(text)} has more digits than a 64-bit float keeps"
                raise self._refused(event, what, hint="in quotes it is a text")
            return number
        if _NOT_FINITE.fullmatch(text):
            raise self._refused(event, f"the number {text}, which JSON does not have")
        return text

    def _integer(self, event: yaml.ScalarEvent, base: int) -> int:
        text = event.value
        # Python refuses to read thousands of digits, with an error of its own.
        number = int(text, base) if len(text) <= 100 else None
        if number is None or not -(2**63) <= number < 2**64:
            hint = "in quotes it is a text"
            raise self._refused(event, f"the whole number {_shorten(text)} does not fit 64 bits", hint=hint)
        return number

    def _refused(self, event: Any, what: str, *, hint: str = "") -> ConfigError:
        where = f"{self._name}:{event.start_mark.line + 1}"
        return ConfigError(cut(what, _MAX_SHOWN), where=where, hint=cut(hint, _MAX_SHOWN))


def _is_kept(text: str, number: float) -> bool:
    """Whether a float has all digits of the text that it was read from.

    Python writes the shortest number that is read as a float: 0.1 is kept, though the float has 55 digits.
    """
    try:
        return decimal.Decimal(text) == decimal.Decimal(repr(number))
    except decimal.InvalidOperation:  # an exponent that no number needs
        return False


def _shorten(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
