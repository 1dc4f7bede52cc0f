"""Rules for types that only hold, or do not, once all names are resolved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from dataflare.wit.model import (
    Alias,
    Borrow,
    Function,
    Named,
    Resource,
    Type,
    TypeDefinition,
    WitError,
    definition_types,
    inner_types,
)

__all__ = ["check_types"]

_MAX_ALIASES_DEEP: Final = 200
"""How many aliases may hold each other, with lists, options, tuples and results between them."""


def check_types(definitions: Mapping[tuple[str, str], TypeDefinition], functions: Iterable[Function]) -> None:
    """Check all definitions, and what functions do with them.

    Args:
        definitions: The definitions by owner and name.
        functions: The functions that are not a resource's.

    Raises:
        WitError: A type contains itself, types are nested too deeply, or a function returns a borrowed handle.
    """
    order = _check_circles(definitions)
    _check_depth(order, definitions)
    _check_borrows(order, definitions, functions)


def _check_circles(definitions: Mapping[tuple[str, str], TypeDefinition]) -> list[tuple[str, str]]:
    """Refuse a type that contains itself. A resource's own functions may use the resource: they have handles.

    Returns:
        The definitions' keys, each after those of the types that it contains.
    """
    done: dict[tuple[str, str], None] = {}

    def parts(key: tuple[str, str]) -> Iterator[tuple[str, str]]:
        definition = definitions[key]
        if isinstance(definition, Resource):
            return
        for value in definition_types(definition):
            for each in inner_types(value):
                if isinstance(each, Named) and (each.owner, each.name) not in done:
                    yield each.owner, each.name

    for start in definitions:
        if start in done:
            continue
        path = {start: parts(start)}
        while path:
            key = next(reversed(path))
            following = next(path[key], None)
            if following is None:
                done[key] = None
                del path[key]
            elif following in path:
                raise WitError(f"the type `{following[1]}` holds itself", position=definitions[following].position)
            elif following not in done:
                path[following] = parts(following)
    return list(done)


def _check_depth(order: list[tuple[str, str]], definitions: Mapping[tuple[str, str], TypeDefinition]) -> None:
    """Refuse types without names of their own that are nested, by aliases, too deeply to be written out."""
    depths: dict[tuple[str, str], int] = {}
    for key in order:
        definition = definitions[key]
        if not isinstance(definition, Alias):
            continue
        named = [each for each in inner_types(definition.type) if isinstance(each, Named)]
        inner = max((depths.get((each.owner, each.name), 0) for each in named), default=0)
        depths[key] = inner + (not isinstance(definition.type, Named))
        if depths[key] > _MAX_ALIASES_DEEP:
            raise WitError(f"types hold each other more than {_MAX_ALIASES_DEEP} deep", position=definition.position)


def _check_borrows(
    order: list[tuple[str, str]],
    definitions: Mapping[tuple[str, str], TypeDefinition],
    functions: Iterable[Function],
) -> None:
    """Refuse a function that returns a borrowed handle, at any depth."""
    lending: set[tuple[str, str]] = set()

    def lends(value: Type | None) -> bool:
        return any(
            isinstance(each, Borrow) or (isinstance(each, Named) and (each.owner, each.name) in lending)
            for each in inner_types(value)
        )

    for key in order:
        definition = definitions[key]
        if not isinstance(definition, Resource) and any(lends(value) for value in definition_types(definition)):
            lending.add(key)
    of_resources = (each for value in definitions.values() if isinstance(value, Resource) for each in value.functions)
    for function in (*functions, *of_resources):
        if lends(function.result):
            raise WitError("a result holds no borrowed handle", position=function.position, hint="return an owned one")
