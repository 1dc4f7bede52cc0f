"""Models of documents that people write, and the translation of validation errors into file, line, key and hint."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, TypeVar, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    Tag,
    ValidationError,
    WrapSerializer,
)

from dataflare.documents.reader import Document, KeyPath
from dataflare.errors import ConfigError
from dataflare.suggestions import close_matches
from dataflare.texts import cut

__all__ = [
    "FilePath",
    "Frozen",
    "FrozenSet",
    "Name",
    "Names",
    "StrictModel",
    "describe_problems",
    "first_problem",
    "json_schema_of",
    "nearest",
    "shorten",
    "validate_document",
]

_SHOWN: Final = 6
_KEY_CHARACTERS: Final = 100
_HIDDEN: Final = "secrets"
"""Below this key values are never shown: somebody may have written a secret where its name belongs."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_Model = TypeVar("_Model", bound=BaseModel)


class StrictModel(BaseModel):
    """An immutable mapping with known keys only, whose values are not converted (no text becomes a number).

    `hints` says of keys that others would expect here what to write instead.
    """

    hints: ClassVar[Mapping[str, str]] = {}

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
"""The name of a node, plugin, directory, secret and similar."""

FilePath = Annotated[
    str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$", description="Relative to this file.")
]


def _as_dict(value: Mapping[Any, Any], written: SerializerFunctionWrapHandler) -> Any:
    # What is in it is written as its own type says: sets in order.
    return written(dict(value))


Frozen = Annotated[
    Mapping[_Key, _Value], AfterValidator(lambda value: MappingProxyType(dict(value))), WrapSerializer(_as_dict)
]
"""A mapping that stays as it was validated."""

# Not strict: documents have lists, no sets. What is in them is as strict as everything else.
FrozenSet = Annotated[frozenset[_Value], Field(strict=False), PlainSerializer(sorted)]
"""A set, written as a list."""

Names = FrozenSet[Name]


def validate_document(document: Document, model: type[_Model]) -> _Model:
    """Fit a document to a model.

    Raises:
        ConfigError: It does not fit. `where` is `file:line` of the first problem, which is the message; up to five
            others follow it, a line each.
    """
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        found = sorted(_located(error, document.value), key=lambda each: document.line(each[0]))
        told = [_told(document, path, each, model) for path, each in found[:_SHOWN]]
        (where, what, hint), *others = told
        what += "".join(f"\n{place}: {other}{f' ({note})' if note else ''}" for place, other, note in others)
        if len(found) > _SHOWN:
            what += f"\nand {len(found) - _SHOWN} more"
        raise ConfigError(what, where=where, hint=hint) from error


def describe_problems(error: ValidationError, model: type[BaseModel], value: Any) -> str:
    """Say in one line what is wrong with a value that is not a document: the first problems, and how many there are."""
    found = _located(error, value)
    told = [_sentence(path, each, model) for path, each in found[:_SHOWN]]
    text = "; ".join(f"{what}{f' ({hint})' if hint else ''}" for what, hint in told)
    return f"{text}; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else text


def first_problem(error: ValidationError) -> str:
    """Say the first thing that is wrong with JSON that this program wrote, and where; for nothing that people write."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = _keys(first["loc"])
    return cut(f"{place}: {first['msg']}" if place else first["msg"])


def json_schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Make the JSON Schema (2020-12) of a document, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}


def shorten(value: Any) -> str:
    """Write a value of a document for a message."""
    text = json.dumps(value) if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(name: str, known: Iterable[str]) -> str:
    """Name the known word that is most like a wrong one, for a hint: `did you mean 'input'?`; else list them all."""
    words = sorted(known)
    if found := close_matches(name, words):
        return f"did you mean {found[0]!r}?"
    return f"known are {', '.join(words)}" if words else "there is none"


def _located(error: ValidationError, value: Any) -> list[tuple[KeyPath, Any]]:
    """Every problem and its keys, unknown keys first."""
    entries = [(_key_path(each, value), each) for each in error.errors(include_url=False)]
    unknown = {path[:-1] for path, each in entries if each["type"] == "extra_forbidden"}
    # If a key is missing beside an unknown one, the unknown key was probably meant to be it.
    entries = [(path, each) for path, each in entries if each["type"] != "missing" or path[:-1] not in unknown]
    return sorted(entries, key=lambda entry: entry[1]["type"] != "extra_forbidden")


def _key_path(problem: Any, value: Any) -> KeyPath:
    """Leave out of pydantic's path what is not in the document: the name of a union's member, the mark of a key."""
    path: list[str | int] = []
    *_, last = problem["loc"] or ("",)
    for part in problem["loc"]:
        held = _holds(value, part)
        if held:
            value = value[part]
        if held or (problem["type"] == "missing" and part is last):
            path.append(part)
    key = problem.get("ctx", {}).get("key")
    return tuple(path) if key is None else (*path, key)


def _holds(value: Any, part: str | int) -> bool:
    if isinstance(value, Mapping):
        return part in value
    return isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)


_WANTED: Final = {
    "bool_type": "give true or false",
    "dict_type": "give a mapping",
    "float_type": "give a number",
    "frozen_set_type": "give a list",
    "int_from_float": "give a whole number",
    "int_type": "give a whole number",
    "list_type": "give a list",
    "mapping_type": "give a mapping",
    "model_type": "give a mapping",
    "string_type": "give a text",
    "too_short": "give at least one",
    "tuple_type": "give a list",
}


def _told(document: Document, path: KeyPath, problem: Any, model: type[BaseModel]) -> tuple[str, str, str]:
    """Where it is wrong, what, and a hint; without lines the place has the keys, which are not said twice."""
    where = document.where(path)
    what, hint = _sentence(path, problem, model)
    return where, what if document.lines else what.removeprefix(f"{_keys(path)}: "), hint


def _keys(path: KeyPath) -> str:
    return ".".join(str(part)[:_KEY_CHARACTERS] for part in path)


def _sentence(path: KeyPath, problem: Any, model: type[BaseModel]) -> tuple[str, str]:
    """What is wrong, and a hint."""
    keys = _keys(path)
    if problem["type"] == "missing":
        return f"{keys} is missing", ""
    if problem["type"] == "extra_forbidden":
        return f"{keys}: unknown key", _hint(str(path[-1]), model, problem["loc"][:-1])
    hidden = _HIDDEN in path
    what = _describe(problem, hidden=hidden)
    hint = problem.get("ctx", {}).get("hint", "")
    if problem["type"] == "string_type" and not hidden and isinstance(problem["input"], int | float | None):
        missing = "the value is missing, or " if problem["input"] is None else ""
        hint = f'{missing}in quotes it is a text: "{shorten(problem["input"])}"'
    return f"{keys}: {what}" if keys else what, str(hint)


def _describe(problem: Any, *, hidden: bool) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    shown = "this" if hidden else shorten(problem["input"])
    if kind in _WANTED:
        return f"{_WANTED[kind]}, not {shown}"
    if kind == "literal_error":
        return f"{shown} is not one of {context['expected']}"
    if kind == "string_pattern_mismatch":
        return f"{shown} is not of the form {context['pattern']}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    bare = re.sub(r"^(?:Input|String|List|Dictionary) should ", "", message)
    return message if bare == message else f"{shown}: it should {bare}"


def _hint(key: str, model: type[BaseModel], path: Iterable[str | int]) -> str:
    """What to write instead of a key that the model at a path of pydantic does not have."""
    candidates: list[Any] = [model]
    for part in path:
        candidates = list(_step(candidates, part))
    models = [each for each in _members(candidates) if isinstance(each, type) and issubclass(each, BaseModel)]
    for each in models:
        if hint := getattr(each, "hints", {}).get(key):
            return str(hint)
    return nearest(key, {field.alias or name for each in models for name, field in each.model_fields.items()})


def _step(annotations: Iterable[Any], part: str | int) -> Iterator[Any]:
    tagged = [each for each in _members(annotations, tag=str(part)) if each is not None]
    if tagged:
        yield from tagged
        return
    for each in _members(annotations):
        if isinstance(each, type) and issubclass(each, BaseModel):
            fields = each.model_fields
            field = next((found for name, found in fields.items() if (found.alias or name) == part), None)
            if field is not None:
                yield field.annotation
        elif arguments := get_args(each):
            # A mapping or a list: the last argument is what its values are.
            yield arguments[-1]


def _members(annotations: Iterable[Any], *, tag: str | None = None) -> Iterator[Any]:
    """The types that an annotation may stand for; with `tag`, only the member of a union that has it."""
    for annotation in annotations:
        inner = annotation
        tags = set()
        while get_origin(inner) is Annotated:
            inner, *metadata = get_args(inner)
            tags |= {each.tag for each in metadata if isinstance(each, Tag)}
        if tag is not None and tag in tags:
            yield inner
        elif get_origin(inner) in (Union, types.UnionType):
            yield from _members(get_args(inner), tag=tag)
        elif tag is None and inner is not type(None):
            yield inner
