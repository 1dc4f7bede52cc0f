"""A WIT text as tokens, each with its position and the documentation before it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from dataflare.wit.model import Position, WitError

__all__ = ["KEYWORDS", "MAX_SOURCE_BYTES", "VERSION", "Token", "tokenize"]

MAX_SOURCE_BYTES = 4 * 2**20
_WORDS = """
    as async bool borrow char constructor enum error-context export f32 f64 flags from func future import include
    interface list option own package record resource result s16 s32 s64 s8 static stream string tuple type u16 u32
    u64 u8 use variant with world
"""
KEYWORDS = frozenset(_WORDS.split())

_NUMBER = r"(?:0|[1-9][0-9]{0,9})"
_SUFFIX = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_SUFFIX})?(?:\+{_SUFFIX})?")
_TOKEN = re.compile(
    rf"(?P<version>{VERSION.pattern})"
    r"|(?P<integer>[0-9]+)"
    r"|(?P<name>%?[A-Za-z](?:[A-Za-z0-9]|-(?=[A-Za-z0-9]))*)"
    r"|(?P<symbol>->|[{}()<>:,;=./@_])"
)
_LABEL = re.compile(r"(?:[a-z][a-z0-9]*|[A-Z][A-Z0-9]*)(?:-(?:[a-z0-9]+|[A-Z0-9]+))*")
_SPACE = re.compile(r"[ \t\r\n]+")
_COMMENT_EDGE = re.compile(r"/\*|\*/")
# Control characters, and characters that make a text look different from its content (https://trojansource.codes).
_DECEITFUL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Token:
    """A token. `kind` is `name`, `keyword`, `version`, `integer`, `symbol` or `end`; the `text` of a name has no
    `%`."""

    kind: str
    text: str
    position: Position
    docs: str = ""

    def __str__(self) -> str:
        return "the end of the file" if self.kind == "end" else f"`{self.text}`"


def tokenize(text: str, file: str) -> Iterator[Token]:
    """Split a text into tokens; the last one has the kind `end`. Takes time proportional to the text's length.

    Raises:
        WitError: A character that WIT does not allow, a comment without an end, or a malformed name.
    """
    line, line_start, at = 1, 0, 0
    docs: list[str] = []

    def here(offset: int) -> Position:
        return Position(file, line, offset - line_start + 1)

    def pass_over(start: int, end: int) -> None:
        nonlocal line, line_start
        line += text.count("\n", start, end)
        line_start = max(line_start, text.rfind("\n", start, end) + 1)

    if deceitful := _DECEITFUL.search(text):
        pass_over(0, deceitful.start())
        raise WitError(f"the character {deceitful.group()!a} is not allowed", position=here(deceitful.start()))
    while at < len(text):
        if space := _SPACE.match(text, at):
            pass_over(at, space.end())
            at = space.end()
        elif text.startswith("//", at):
            end = text.find("\n", at)
            end = len(text) if end < 0 else end
            if text.startswith("///", at):
                docs.append(text[at + 3 : end].removeprefix(" ").rstrip())
            at = end
        elif text.startswith("/*", at):
            end = _comment_end(text, at, here(at))
            if text.startswith("/**", at) and end - at > 4:
                docs += _block_docs(text[at + 3 : end - 2])
            pass_over(at, end)
            at = end
        else:
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise WitError(f"{text[at]!r} has no place here", position=here(at))
            yield _token(match, here(at), "\n".join(docs))
            docs.clear()
            at = match.end()
    yield Token("end", "", here(at))


def _token(match: re.Match[str], position: Position, docs: str) -> Token:
    kind, text = str(match.lastgroup), match.group()
    if kind == "name":
        if text in KEYWORDS:
            kind = "keyword"
        text = text.removeprefix("%")
        if not _LABEL.fullmatch(text):
            raise WitError(
                f"`{text}` is not a name",
                position=position,
                hint="names are words joined by single hyphens, each all in lower or all in upper case",
            )
    return Token(kind, text, position, docs)


def _comment_end(text: str, start: int, position: Position) -> int:
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, start):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    raise WitError("this comment has no end", position=position)


def _block_docs(body: str) -> list[str]:
    lines = [line.strip().removeprefix("*").strip() for line in body.strip().splitlines()]
    return lines
