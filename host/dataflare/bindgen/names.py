"""Names of WIT as Python writes them, each once in its scope."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeVar

from dataflare.errors import ConfigError

__all__ = ["BUILTINS", "UniqueNames", "camel", "distinct", "require_plain", "snake", "upper"]

BUILTINS: Final = frozenset({"bool", "bytes", "float", "int", "list", "str", "tuple"})
"""The names of Python's own that annotations of generated code use."""

_AMBIGUOUS: Final = frozenset({"l", "I", "O"})
"""Names that read like others, which linters refuse."""
_LABEL: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*")
_MAX_NAME: Final = 200

_T = TypeVar("_T")


def require_plain(name: str, where: str) -> str:
    """Return a name that can be written into source.

    Raises:
        ConfigError: It is not a name of WIT, or is longer than 200 characters.
    """
    if _LABEL.fullmatch(name) is None:
        raise ConfigError(f"{name!a} is not a name of WIT", where=where)
    if len(name) > _MAX_NAME:
        raise ConfigError(f"the name {name[:40]}... has {len(name)} characters, more than {_MAX_NAME}", where=where)
    return name


def snake(name: str) -> str:
    """`list-all-HTTP` as `list_all_http`; a keyword gets an underscore, and so does `l`."""
    return _safe(name.replace("-", "_").lower())


def upper(name: str) -> str:
    """`sold-out` as `SOLD_OUT`."""
    return _safe(name.replace("-", "_").upper())


def camel(name: str) -> str:
    """`shop-error` as `ShopError`; words in capitals, such as those of `HTTP-code`, stay."""
    return _safe("".join(word[0].upper() + word[1:] for word in name.split("-")))


def _safe(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) or name in _AMBIGUOUS else name


class UniqueNames:
    """Keeps the names of one scope, such as a class, different from each other."""

    def __init__(self, reserved: Collection[str] = ()) -> None:
        self.taken = set(reserved)

    def add(self, *candidates: str) -> str:
        """Use the first of these names that is free; if none is, the last one with underscores."""
        name = next((each for each in candidates if each not in self.taken), candidates[-1])
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name


def distinct(items: Sequence[_T], spellings: Sequence[Callable[[_T], str]]) -> list[str]:
    """A name for each item: the shortest spelling that tells it from the others of the same short name.

    Args:
        items: What gets names, in order.
        spellings: From the shortest to the most exact.
    """
    groups: dict[str, list[_T]] = {}
    for item in items:
        groups.setdefault(spellings[0](item), []).append(item)
    scope = UniqueNames()
    names: dict[int, str] = {}
    # Short names that nobody else wants come first, so that no longer one takes them away.
    for group in sorted(groups.values(), key=len):
        for spelling in spellings:
            found = [spelling(item) for item in group]
            if len(set(found)) == len(group):
                break
        for item, name in zip(group, found, strict=True):
            names[id(item)] = scope.add(name)
    return [names[id(item)] for item in items]
