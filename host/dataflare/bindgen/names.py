"""WIT names as Python names, unique in their scope."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeVar

from dataflare.errors import ConfigError

__all__ = ["BUILTINS", "UniqueNames", "camel", "distinct", "require_plain", "snake", "upper"]

BUILTINS: Final = frozenset({"bool", "bytes", "float", "int", "list", "str", "tuple"})
"""Python's built-in names that annotations of generated code use."""

_AMBIGUOUS: Final = frozenset({"l", "I", "O"})
"""Names that look like other characters; linters refuse them."""
_LABEL: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*")
_MAX_NAME: Final = 200

_T = TypeVar("_T")


def require_plain(name: str, where: str) -> str:
    """Return a name that can be written into source.

    Raises:
        ConfigError: It is not a WIT name, or is longer than 200 characters.
    """
    if _LABEL.fullmatch(name) is None:
        raise ConfigError(
            f"{name!a} is not a name of WIT", where=where, hint="words of letters and digits, with hyphens between them"
        )
    if len(name) > _MAX_NAME:
        raise ConfigError(
            f"the name {name[:40]}... has {len(name)} characters, more than {_MAX_NAME}", where=where, hint="shorten it"
        )
    return name


def snake(name: str) -> str:
    """Convert `list-all-HTTP` to `list_all_http`; a keyword gets an underscore, and so does `l`."""
    return _safe(name.replace("-", "_").lower())


def upper(name: str) -> str:
    """Convert `sold-out` to `SOLD_OUT`."""
    return _safe(name.replace("-", "_").upper())


def camel(name: str) -> str:
    """Convert `shop-error` to `ShopError`; words in capitals, as in `HTTP-code`, stay."""
    return _safe("".join(word[0].upper() + word[1:] for word in name.split("-")))


def _safe(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) or name in _AMBIGUOUS else name


class UniqueNames:
    """Keeps the names of one scope, such as a class, distinct."""

    def __init__(self, reserved: Collection[str] = ()) -> None:
        self.taken = set(reserved)

    def add(self, *candidates: str) -> str:
        """Reserve and return the first free name of these; if none is free, the last one with underscores."""
        name = next((each for each in candidates if each not in self.taken), candidates[-1])
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name


def distinct(items: Sequence[_T], spellings: Sequence[Callable[[_T], str]]) -> list[str]:
    """Name each item by the shortest spelling that differs from those of the other items.

    Args:
        items: The items, in order.
        spellings: Functions that name an item, from the shortest to the most exact.
    """
    groups: dict[str, list[_T]] = {}
    for item in items:
        groups.setdefault(spellings[0](item), []).append(item)
    scope = UniqueNames()
    names: dict[int, str] = {}
    # Unique short names come first, so that no longer spelling takes them.
    for group in sorted(groups.values(), key=len):
        for spelling in spellings:
            found = [spelling(item) for item in group]
            if len(set(found)) == len(group):
                break
        for item, name in zip(group, found, strict=True):
            names[id(item)] = scope.add(name)
    return [names[id(item)] for item in items]
