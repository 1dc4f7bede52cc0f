"""Reads WIT token by token: the base of the parser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from dataflare.wit.model import (
    Gate,
    Position,
    WitError,
)
from dataflare.wit.tokens import Token, tokenize

__all__ = ["ASYNCHRONOUS", "TokenReader"]

ASYNCHRONOUS = frozenset({"async", "error-context", "future", "stream"})

T = TypeVar("T")


class TokenReader:
    """Reads tokens with one token of lookahead. Only the parsers that extend it use its methods."""

    def __init__(self, text: str, file: str) -> None:
        self._tokens = tokenize(text, file)
        self._token = next(self._tokens)

    # Gates.

    def _preamble(self) -> tuple[str, Gate]:
        """Read the documentation and the gates before an item, in either order."""
        gate = Gate()
        docs = [self._token.docs]
        while self._at("@"):
            position = self._advance().position
            name = self._name("`since`, `unstable` or `deprecated`")
            if name not in ("since", "unstable", "deprecated"):
                raise WitError(f"`@{name}` is not a gate", position=position, hint="since, unstable, deprecated")
            self._expect("(")
            key = "feature" if name == "unstable" else "version"
            given = self._name(f"`{key}`")
            if given != key:
                raise WitError(f"`@{name}` takes `{key}`, not `{given}`", position=position)
            self._expect("=")
            value = self._name("a feature's name") if key == "feature" else self._kind("version", "a version").text
            self._expect(")")
            if getattr(gate, name) is not None:
                raise WitError(f"`@{name}` twice", position=position)
            gate = replace(gate, **{name: value})
            docs.append(self._token.docs)
        if gate.since and gate.unstable:
            raise WitError("either `@since` or `@unstable`, not both", position=self._token.position)
        return "\n".join(filter(None, docs)), gate

    # Tokens.

    def _advance(self) -> Token:
        token = self._token
        if token.kind != "end":
            self._token = next(self._tokens)
        return token

    def _at(self, text: str) -> bool:
        return self._token.kind in ("keyword", "symbol") and self._token.text == text

    def _take(self, text: str) -> bool:
        found = self._at(text)
        if found:
            self._advance()
        return found

    def _expect(self, text: str) -> Token:
        if not self._at(text):
            raise self._unexpected(f"`{text}`")
        return self._advance()

    def _kind(self, kind: str, wanted: str) -> Token:
        if self._token.kind != kind:
            raise self._unexpected(wanted)
        return self._advance()

    def _name(self, wanted: str) -> str:
        if self._token.kind == "keyword":
            raise WitError(
                f"expected {wanted}, found the keyword `{self._token.text}`",
                position=self._token.position,
                hint=f"write `%{self._token.text}` for a name like that",
            )
        return self._kind("name", wanted).text

    def _list(self, end: str, item: Callable[[], T]) -> tuple[T, ...]:
        """Read items separated by commas, through `end`; a trailing comma is allowed."""
        items: list[T] = []
        while not self._take(end):
            items.append(item())
            if not self._take(","):
                self._expect(end)
                break
        return tuple(items)

    def _until(self, end: str, item: Callable[[], T], wanted: str, position: Position) -> tuple[T, ...]:
        items = self._list(end, item)
        if not items:
            raise WitError(f"at least {wanted} is needed", position=position)
        return items

    def _unexpected(self, wanted: str, token: Token | None = None) -> WitError:
        token = token or self._token
        return WitError(f"expected {wanted}, found {token}", position=token.position)

    def _asynchronous(self) -> WitError:
        return WitError(
            f"`{self._token.text}` is not supported",
            position=self._token.position,
            hint="use a resource with a function that returns the next part",
        )
