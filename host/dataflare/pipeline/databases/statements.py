"""What a query of a pipeline's is made of: it has to be one statement, which nothing follows in brackets either."""

from __future__ import annotations

import re
from typing import Final

from dataflare.errors import ConfigError
from dataflare.permissions.database_keys import DatabaseKind

__all__ = ["check_one_statement"]

_LETTER: Final = r"A-Za-z_\x80-\U0010ffff"
_NOT_WITHIN_A_NAME: Final = rf"(?<![{_LETTER}0-9$])"
_QUOTED: Final = r"'(?:[^']++|'')*+'" + r'|"(?:[^"]++|"")*+"'
_TAG: Final = rf"{_NOT_WITHIN_A_NAME}\$((?:[{_LETTER}][{_LETTER}0-9]*)?)\$"
_SQLITE: Final = re.compile(
    rf"{_QUOTED}|`(?:[^`]++|``)*+`|\[[^\]]*+\]|--[^\n]*|/\*.*?\*/|(?P<unclosed>(?:['\"`\[]|/\*).*)", re.DOTALL
)
_OTHERS: Final = re.compile(
    rf"{_NOT_WITHIN_A_NAME}[eE]'(?:[^'\\]++|\\.|'')*+'|{_QUOTED}|--[^\n\r]*|/\*.*?\*/|{_TAG}.*?\$\1\$"
    rf"|(?P<unclosed>(?:['\"]|/\*|{_TAG}).*)",
    re.DOTALL,
)
"""Texts, names and comments of SQL, as PostgreSQL and DuckDB divide it.

One that is not closed goes to the end: if each of many was looked for in all that follows it, that would take hours.
"""
_SPACES: Final = re.compile(r"[^\S\x00-\x7f]")


def check_one_statement(query: str, kind: DatabaseKind) -> None:
    """Make sure that a query is one statement, which nothing follows, also when it is put into brackets.

    Args:
        query: The query.
        kind: The kind of database, which decides where texts and comments end.

    Raises:
        ConfigError: It is not.
    """
    if kind == "duckdb":
        query = _SPACES.sub(" ", query)  # as DuckDB does
    parts = _SQLITE if kind == "sqlite" else _OTHERS
    code = parts.sub(lambda found: ";" if found.lastgroup == "unclosed" else " ", query)
    depth = 0
    for character in code:
        depth += (character == "(") - (character == ")")
        if depth < 0 or character == ";":
            break
    if depth or ";" in code:
        raise ConfigError("the query is not one complete statement", hint="write one SELECT, without `;`")
