"""Compares a plugin's configuration with the JSON Schema that the plugin gives for it.

A part of JSON Schema 2020-12, which tells the usual mistakes with the place where they are: types, known and required
keys, lists of values, bounds, lengths, alternatives, references within the schema. Other keywords are passed over,
since the plugin has the last word. The schema is a stranger's: what is looked at and compared has a bound, and it is
not asked to match patterns (which can take forever), and it names no other document.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from dataflare.documents.models import shorten
from dataflare.documents.reader import KeyPath
from dataflare.suggestions import close_matches

__all__ = ["Misfit", "misfits"]

_MAX_CHARACTERS: Final = 2**20
_MAX_MISFITS: Final = 100
_MAX_STEPS: Final = 100_000
_MAX_DEPTH: Final = 64
_MAX_COMPARED: Final = 1000
_STEPS_OF_A_TEXT: Final = 20
"""How much longer it takes to tell how alike two texts are than to look at a value."""
_TYPES: Final[Mapping[str, Any]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
    "integer": int,
    "number": (int, float),
}
_BOUNDS: Final[tuple[tuple[str, Callable[[float, float], bool], str], ...]] = (
    ("minimum", lambda value, bound: value >= bound, "at least"),
    ("maximum", lambda value, bound: value <= bound, "at most"),
    ("exclusiveMinimum", lambda value, bound: value > bound, "more than"),
    ("exclusiveMaximum", lambda value, bound: value < bound, "less than"),
)
_LENGTHS: Final[tuple[tuple[str, str, type[Sized]], ...]] = (
    ("minLength", "maxLength", str),
    ("minItems", "maxItems", list),
    ("minProperties", "maxProperties", dict),
)


@dataclass(frozen=True, slots=True)
class Misfit:
    """A value that does not fit: where it is, why not, and what could be meant."""

    path: KeyPath
    message: str
    hint: str = ""


class _GaveUp(Exception):
    """The schema asks for more work than it is given."""


def misfits(config: Mapping[str, Any], schema: str) -> list[Misfit]:
    """Find what does not fit, at most 100 misfits; empty if all fits, or if the schema cannot be used.

    Args:
        config: The configuration, of what JSON can hold.
        schema: The text of the schema.
    """
    if len(schema) > _MAX_CHARACTERS:
        return []
    found: list[Misfit] = []
    with suppress(ValueError, RecursionError, _GaveUp):
        parsed = json.loads(schema)
        for each in islice(_Comparison(parsed).check(config, parsed, (), 0), _MAX_MISFITS):
            found.append(each)
    return found


class _Comparison:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._left = _MAX_STEPS

    def check(self, value: Any, schema: Any, path: KeyPath, depth: int) -> Iterator[Misfit]:
        self._spend(1)
        if depth > _MAX_DEPTH:
            raise _GaveUp
        if schema is False:
            yield Misfit(path, "is not a known key" if path else "no configuration is taken")
        if not isinstance(schema, dict):
            return
        self._spend(sum(len(each) for each in schema.values() if isinstance(each, list | dict)))
        if isinstance(reference := schema.get("$ref"), str):
            yield from self.check(value, self._find(reference), path, depth + 1)
        if "type" in schema and not _is_of(value, schema["type"]):
            yield Misfit(path, f"{shorten(value)} is not {_type_names(schema['type'])}")
            return
        if isinstance(choices := schema.get("enum"), list) and not any(self._same(value, each) for each in choices):
            yield Misfit(path, f"{shorten(value)} is not one of {_listed(choices)}", self._near(value, choices))
        if "const" in schema and not self._same(value, schema["const"]):
            yield Misfit(path, f"{shorten(value)} is not {shorten(schema['const'])}")
        yield from _out_of_bounds(value, schema, path)
        yield from self._parts(value, schema, path, depth)
        yield from self._alternatives(value, schema, path, depth)

    def _parts(self, value: Any, schema: Mapping[str, Any], path: KeyPath, depth: int) -> Iterator[Misfit]:
        if isinstance(value, list) and "items" in schema:
            for position, each in enumerate(value):
                yield from self.check(each, schema["items"], (*path, position), depth + 1)
        if not isinstance(value, dict):
            return
        properties = schema.get("properties")
        known = properties if isinstance(properties, dict) else {}
        for key in schema.get("required", ()) if isinstance(schema.get("required"), list) else ():
            if isinstance(key, str) and key not in value:
                yield Misfit(path, f"{key} is missing")
        others = schema.get("additionalProperties", True)
        for key, each in value.items():
            if key in known:
                yield from self.check(each, known[key], (*path, key), depth + 1)
            elif others is False and "patternProperties" not in schema:
                hint = self._near(key, list(known)) or f"known are {_listed(sorted(known))}"
                yield Misfit((*path, key), "unknown key", hint)
            elif "patternProperties" not in schema:
                yield from self.check(each, others, (*path, key), depth + 1)

    def _alternatives(self, value: Any, schema: Mapping[str, Any], path: KeyPath, depth: int) -> Iterator[Misfit]:
        for each in _list(schema.get("allOf")):
            yield from self.check(value, each, path, depth + 1)
        for keyword in ("anyOf", "oneOf"):
            if choices := _list(schema.get(keyword)):
                found = [next(self.check(value, each, path, depth + 1), None) for each in choices]
                misfits = [each for each in found if each is not None]
                if len(misfits) == len(choices):
                    # What fits best is what most likely was meant: its first misfit lies deepest.
                    yield max(misfits, key=lambda each: len(each.path))

    def _find(self, reference: str) -> Any:
        found = self._root
        self._spend(len(reference))
        if not reference.startswith("#"):
            return True
        for part in reference.removeprefix("#").removeprefix("/").split("/") if reference != "#" else ():
            key = part.replace("~1", "/").replace("~0", "~")
            found = found.get(key, True) if isinstance(found, dict) else True
        return found

    def _same(self, one: Any, other: Any) -> bool:
        if isinstance(one, list | dict):
            self._spend(_part_count(one))
        return (type(one) is type(other) and bool(one == other)) or (
            _is_number(one) and _is_number(other) and one == other
        )

    def _near(self, value: Any, choices: list[Any]) -> str:
        texts = [each for each in choices if isinstance(each, str)][:_MAX_COMPARED]
        self._spend(_STEPS_OF_A_TEXT * len(texts))
        found = close_matches(str(value), texts)
        return f"did you mean {found[0]!r}?" if found else ""

    def _spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise _GaveUp


def _out_of_bounds(value: Any, schema: Mapping[str, Any], path: KeyPath) -> Iterator[Misfit]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        for keyword, holds, words in _BOUNDS:
            bound = schema.get(keyword)
            if isinstance(bound, int | float) and not holds(value, bound):
                yield Misfit(path, f"{value} is not {words} {bound}")
    for least, most, kind in _LENGTHS:
        if isinstance(value, kind):
            if isinstance(bound := schema.get(least), int) and len(value) < bound:
                yield Misfit(path, f"is shorter than {bound}" if bound > 1 else "is empty")
            if isinstance(bound := schema.get(most), int) and len(value) > bound:
                yield Misfit(path, f"is longer than {bound}")


def _is_of(value: Any, types: Any) -> bool:
    for each in types if isinstance(types, list) else [types]:
        kind = _TYPES.get(each) if isinstance(each, str) else None
        if kind is None:
            return True  # nothing that is known here
        if each == "integer" and isinstance(value, float) and value.is_integer():
            return True
        if isinstance(value, kind) and not (isinstance(value, bool) and each in ("integer", "number")):
            return True
    return False


def _type_names(types: Any) -> str:
    words = {"object": "a mapping", "array": "a list", "string": "a text", "boolean": "true or false", "null": "null"}
    words |= {"integer": "a whole number", "number": "a number"}
    return " or ".join(words.get(each, str(each)) for each in (types if isinstance(types, list) else [types]))


def _part_count(value: Any) -> int:
    parts: Iterable[Any] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_part_count, parts))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _listed(values: list[Any]) -> str:
    shown = ", ".join(shorten(each) for each in values[:10])
    return f"{shown} and {len(values) - 10} more" if len(values) > 10 else shown or "none"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
