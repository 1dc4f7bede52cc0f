"""Databases in pipelines and policies: their addresses, the allowed access, and the secret that opens them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from dataflare.documents.models import Name, StrictModel
from dataflare.grants import Access

__all__ = ["DatabaseGrant", "DatabaseKind", "DatabaseModel"]

DatabaseKind = Literal["sqlite", "postgresql"]
_FORMS: Final = "postgresql://USER@HOST:PORT/NAME or sqlite:PATH"
_NETLOC: Final = re.compile(r"(?:[^@:/\[\]\s]*@)?(?:[\w.%-]*|\[[0-9A-Fa-f:.%]+\])(?::[0-9]{1,5})?")
_PARAMETERS: Final = frozenset({"sslmode", "connect_timeout", "application_name", "host"})
"""The allowed parameters after `?`: none has a secret or names a file of secrets."""


def _url(text: str) -> str:
    if text.startswith("sqlite:") and len(text) > len("sqlite:") and "\0" not in text:
        return text
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise PydanticCustomError("url", "it is not a URL", {"hint": f"write {_FORMS}"}) from error
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/") or port == 0:
        raise PydanticCustomError("url", "it is not the URL of a database", {"hint": f"write {_FORMS}"})
    if _NETLOC.fullmatch(parts.netloc) is None and parts.password is None:
        raise PydanticCustomError("url", "it does not name one host", {"hint": f"write {_FORMS}"})
    if parts.password is not None or parts.fragment:
        hint = "name the secret that has it: `password: NAME`"
        raise PydanticCustomError("url", "a URL has no password in it", {"hint": hint})
    if unknown := {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)} - _PARAMETERS:
        what = {"name": min(unknown), "hint": f"known are {', '.join(sorted(_PARAMETERS))}"}
        raise PydanticCustomError("url", "the parameter {name} is not one of a database's URL", what)
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseGrant:
    """A database that may be used.

    Args:
        kind: The kind of database.
        place: For SQLite, the absolute path of the file; for PostgreSQL, the URL without a password.
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
        parts = urlsplit(self.place)
        user, _, address = parts.netloc.rpartition("@")
        if password is not None:
            user = f"{user}:{quote(password, safe='')}"
        query = {"connect_timeout": "10", "application_name": "dataflare", **dict(parse_qsl(parts.query))}
        return f"postgresql://{user}{'@' if user else ''}{address}{parts.path}?{urlencode(query)}"

    @property
    def shown(self) -> str:
        """Return the place as it appears in errors."""
        return self.place if self.kind == "sqlite" else unquote(self.place.partition("?")[0])


class DatabaseModel(StrictModel):
    """A database."""

    hints: ClassVar[dict[str, str]] = {"uri": "write `url`", "user": "write it in `url`: postgresql://USER@HOST/NAME"}

    url: Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_url)] = Field(
        description="`postgresql://USER@HOST:PORT/NAME` or `sqlite:PATH`, relative to this file; never with a password."
    )
    password: Name | None = Field(default=None, description="The name of the secret that has the password.")
    access: Access = Field(default="read", description="`write` includes reading.")

    def grant(self, resolve: Callable[[str], Path]) -> DatabaseGrant:
        """Make the grant; `resolve` makes a path absolute."""
        if self.url.startswith("sqlite:"):
            place = str(resolve(self.url.removeprefix("sqlite:")))
            return DatabaseGrant(kind="sqlite", place=place, access=self.access, password=self.password)
        return DatabaseGrant(kind="postgresql", place=self.url, access=self.access, password=self.password)
