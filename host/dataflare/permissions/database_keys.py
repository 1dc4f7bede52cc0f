"""Databases in pipelines and policies: their addresses, the allowed access, and the secret that opens them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from dataflare.documents.models import Name, StrictModel
from dataflare.grants import Access

__all__ = ["DatabaseGrant", "DatabaseKind", "DatabaseModel"]

DatabaseKind = Literal["sqlite", "duckdb", "postgresql"]
_FORMS: Final = "postgresql://USER@HOST:PORT/NAME, sqlite:PATH or duckdb:PATH"
_FILES: Final[dict[str, DatabaseKind]] = {"sqlite:": "sqlite", "duckdb:": "duckdb"}
"""How the URLs of databases that are files begin."""
_NETLOC: Final = re.compile(r"(?:[^@:/\[\]\s]*@)?(?:[\w.%-]*|\[[0-9A-Fa-f:.%]+\])(?::[0-9]{1,5})?")
_PORT: Final = 5432
_PARAMETERS: Final = frozenset({"sslmode", "connect_timeout", "application_name", "host"})
"""The allowed parameters after `?`: none has a secret or names a file of secrets."""
_CONNECT_S: Final = 10
_SECONDS: Final = re.compile("[0-9]{1,5}")


def _url(text: str) -> str:
    if any(text.startswith(form) and len(text) > len(form) for form in _FILES) and "\0" not in text:
        return text
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise PydanticCustomError("url", "it is not a URL", {"hint": f"write {_FORMS}"}) from error
    # Without slashes, what is before `@` would be part of the path, a password too.
    is_server = parts.scheme in ("postgresql", "postgres") and text[len(parts.scheme) :].startswith("://")
    if not is_server or not parts.path.strip("/") or port == 0:
        raise PydanticCustomError("url", "it is not the URL of a database", {"hint": f"write {_FORMS}"})
    if not text.isprintable() or " " in text:
        raise PydanticCustomError("url", "it has a control character or a space", {"hint": "write a space as %20"})
    if parts.password is None and not _is_one_host(parts):
        raise PydanticCustomError("url", "it does not name one host", {"hint": f"write {_FORMS}"})
    if parts.password is not None or parts.fragment:
        hint = "name the secret that has it: `password: NAME`"
        raise PydanticCustomError("url", "a URL has no password in it", {"hint": hint})
    if unknown := {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)} - _PARAMETERS:
        what = {"name": min(unknown), "hint": f"known are {', '.join(sorted(_PARAMETERS))}"}
        raise PydanticCustomError("url", "the parameter {name} is not one of a database's URL", what)
    if not _SECONDS.fullmatch(_connect_timeout(parts)):
        hint = "write a number of seconds, up to 99999; 0 for no limit"
        raise PydanticCustomError("url", "connect_timeout is not a number of seconds", {"hint": hint})
    return text


def _connect_timeout(parts: SplitResult) -> str:
    return dict(parse_qsl(parts.query)).get("connect_timeout", str(_CONNECT_S))


def _is_one_host(parts: SplitResult) -> bool:
    """Whether a URL names one host: the driver takes a comma, however it is written, for a list, and tries them all."""
    hosts = [value for name, value in parse_qsl(parts.query) if name == "host"]
    is_plain = _NETLOC.fullmatch(parts.netloc) is not None and len(hosts) <= 1
    return is_plain and not any("," in each for each in (unquote(parts.netloc.rpartition("@")[2]), *hosts))


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseGrant:
    """A database that may be used.

    Args:
        kind: The kind of database.
        place: For SQLite and DuckDB, the absolute path of the file; for PostgreSQL, the URL without a password.
        access: `write` includes reading.
        password: The name of the secret that has the password; `None` for none.
    """

    kind: DatabaseKind
    place: str
    access: Access = "read"
    password: str | None = None

    def uri(self, password: str | None) -> str:
        """Return the URI to which the driver connects."""
        if self.kind == "sqlite":
            # To read a file that a dead process left, SQLite must first roll it back, which writes.
            reading = "rw" if os.access(self.place, os.W_OK) else "ro"
            mode = "rwc" if self.access == "write" else reading
            return f"file:{quote(self.place)}?mode={mode}"
        if self.is_file:
            return self.place
        parts = urlsplit(self.place)
        user, _, address = parts.netloc.rpartition("@")
        if password is not None:
            user = f"{user}:{quote(password, safe='')}"
        query = {"connect_timeout": str(_CONNECT_S), "application_name": "dataflare", **dict(parse_qsl(parts.query))}
        return f"postgresql://{user}{'@' if user else ''}{address}{parts.path}?{urlencode(query)}"

    @property
    def host(self) -> tuple[str, int]:
        """Return the host of a server, empty for the driver's default, and its port."""
        parts = urlsplit(self.place)
        address = parts.netloc.rpartition("@")[2]
        named = address[1:].partition("]")[0] if address.startswith("[") else unquote(address.partition(":")[0])
        return dict(parse_qsl(parts.query)).get("host") or named, parts.port or _PORT

    @property
    def connect_s(self) -> float:
        """Return the seconds that connecting to a server may take."""
        return int(_connect_timeout(urlsplit(self.place))) or math.inf

    @property
    def is_file(self) -> bool:
        """Whether it is a file of this machine, not a server."""
        return self.kind != "postgresql"

    @property
    def shown(self) -> str:
        """Return the place as it appears in errors."""
        return self.place if self.is_file else unquote(self.place.partition("?")[0])


class DatabaseModel(StrictModel):
    """A database."""

    hints: ClassVar[dict[str, str]] = {"uri": "write `url`", "user": "write it in `url`: postgresql://USER@HOST/NAME"}

    url: Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_url)] = Field(
        description="`postgresql://USER@HOST:PORT/NAME`, or `sqlite:PATH` or `duckdb:PATH`, relative to this file; "
        "never with a password."
    )
    password: Name | None = Field(default=None, description="The name of the secret that has the password.")
    access: Access = Field(default="read", description="`write` includes reading.")

    def grant(self, resolve: Callable[[str], Path]) -> DatabaseGrant:
        """Make the grant; `resolve` makes a path absolute."""
        form, _, path = self.url.partition(":")
        if (kind := _FILES.get(f"{form}:")) is not None:
            return DatabaseGrant(kind=kind, place=str(resolve(path)), access=self.access, password=self.password)
        return DatabaseGrant(kind="postgresql", place=self.url, access=self.access, password=self.password)
