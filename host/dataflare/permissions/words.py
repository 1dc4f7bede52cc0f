"""Grants and limits as single words of the command line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from dataflare.documents.models import describe_problems, nearest, shorten
from dataflare.documents.reader import parse_document
from dataflare.errors import ConfigError
from dataflare.grants import Grants
from dataflare.interfaces import INTERFACES, NEEDS_GRANT, HostInterface
from dataflare.limits import LIMITS, Limits
from dataflare.permissions.grant_keys import GrantsModel
from dataflare.permissions.limit_keys import LimitsModel

__all__ = ["parse_grants", "parse_limits"]

_GRANT: Final = "--grant"
_LIMIT: Final = "--limit"
_SEED: Final = "random_seed"
_DATASETS: Final = "datasets"
_ACCESSES: Final = ("read", "write")
_SCHEMES: Final = ("http", "https")

_Model = TypeVar("_Model", bound=BaseModel)


def parse_grants(words: Iterable[str], *, base_dir: Path | None = None) -> Grants:
    """Read grants, one per word.

    `clock` and similar words grant an interface as a whole. `files:data=./incoming` grants reading a directory,
    `files:write:out=./out` also writing. `http:GET,POST:https://api.example.com` grants methods at an origin;
    `={timeout: 5s}` after it adds other keys. `secrets:NAME`, `plugins:NAME`, `shared:NAME` and `shared:write:NAME`
    grant what they name. `datasets:NAME` grants a dataset, `datasets:NAME=COLUMN,COLUMN` some of its columns.
    `random_seed=7` makes random bytes repeatable.

    Args:
        words: The grants.
        base_dir: The base of relative paths; `None` for the working directory.

    Raises:
        ConfigError: A word is not a grant, or two words grant the same thing.
    """
    found: dict[str, Any] = {}
    for word in _each(words, "clock"):
        key, name, value = _grant(word)
        place = found if not name else found.setdefault(key, {})
        if (name or key) in place:
            raise ConfigError(f"{shorten(word)} grants the same thing again", where=_GRANT, hint="say it once")
        place[name or key] = value
    for key in ("secrets", "plugins"):
        if key in found:
            found[key] = list(found[key])
    folder = base_dir or Path()
    return _validated(GrantsModel, found, _GRANT).grants(lambda path: folder / path)


def parse_limits(words: Iterable[str]) -> Limits:
    """Read limits, one per word: `memory=64MiB`, `call_timeout=30s`, `fuel=1000`, `host_memory=none`.

    Raises:
        ConfigError: A word is not a limit, or is given twice.
    """
    found: dict[str, Any] = {}
    for word in _each(words, "memory=64MiB"):
        name, equals, value = word.partition("=")
        if not equals:
            raise _refused(word, _LIMIT, "write NAME=VALUE, such as memory=64MiB")
        if name not in LIMITS:
            fields = {row.field: row.name for row in LIMITS.values()}
            hint = f"write {fields[name]}" if name in fields else nearest(name, LIMITS)
            raise ConfigError(f"there is no limit {shorten(name)}", where=_LIMIT, hint=hint)
        if name in found:
            raise ConfigError(f"{name} is given twice", where=_LIMIT)
        found[name] = _whole_number(value) if LIMITS[name].quantity == "count" else value
    return _validated(LimitsModel, found, _LIMIT).limits()


def _each(words: Iterable[str], example: str) -> Iterator[str]:
    """Give the words of a list. A text is a collection of its letters too, and a mapping one of its keys."""
    if isinstance(words, str | Mapping) or not isinstance(words, Iterable):
        kind = (
            "a mapping" if isinstance(words, Mapping) else "a text" if isinstance(words, str) else type(words).__name__
        )
        raise ConfigError(f"give a list of words, not {kind}", where="words", hint=f"write [{example!r}]")
    for word in words:
        if not isinstance(word, str):
            raise ConfigError(f"{shorten(word)} is not a text", where="words", hint=f"write [{example!r}]")
        yield word


def _grant(word: str) -> tuple[str, str, Any]:
    """Return the key of a grant, the name below it (empty if there is none), and the value."""
    left, equals, value = word.partition("=")
    key, colon, rest = left.partition(":")
    if key == _SEED and equals and not colon:
        return key, "", _whole_number(value)
    if key == _DATASETS:
        if not rest or (equals and not value):
            raise _refused(word, _GRANT, "write datasets:NAME or datasets:NAME=COLUMN,COLUMN")
        return key, rest, _columns(value) if equals else "any"
    row = INTERFACES.get(key)
    if row is None or key not in NEEDS_GRANT:
        raise _refused(word, _GRANT, nearest(key, {*NEEDS_GRANT, _SEED, _DATASETS}))
    if row.grant != "named":
        if colon or equals:
            raise _refused(word, _GRANT, f"write {row.word or key}")
        return key, "", True
    name, meaning = _named(row, rest, value, has_value=bool(equals), word=word)
    if not name:
        raise _refused(word, _GRANT, f"write {row.word or key}")
    return key, name, meaning


def _named(row: HostInterface, rest: str, value: str, *, has_value: bool, word: str) -> tuple[str, Any]:
    """Return the name and the value of a named grant; the name is empty if the form is not valid."""
    if row.action == "method":
        methods, _, origin = rest.partition(":")
        if methods in _SCHEMES:  # no method is given
            return "", None
        options = _options(value, word) if has_value else {}
        return origin, {**options, "methods": methods if methods == "any" else methods.split(",")}
    access, name = "read", rest
    if row.action == "access":
        first, colon, second = rest.partition(":")
        if colon and first in _ACCESSES:
            access, name = first, second
    if row.name == "files":
        if value.endswith((":rw", ":ro")):
            name, path = name.partition(":")[0], value[:-3]
            better = f"files:write:{name}={path}" if value.endswith(":rw") else f"files:{name}={path}"
            raise _refused(word, _GRANT, f"write {better}")
        return (name, {"path": value, "access": access}) if value else ("", None)
    return ("", None) if has_value else (name, access)


def _columns(text: str) -> Any:
    """Read names of columns: separated by commas, or as a YAML list, which can have any name."""
    return _yaml(text) if text.startswith("[") else text.split(",")


def _yaml(text: str) -> Any:
    return parse_document(f"value: {text}".encode(), name=_GRANT).value["value"]


def _options(text: str, word: str) -> dict[str, Any]:
    """Read the keys after an origin, as YAML in one line."""
    value = _yaml(text)
    if not isinstance(value, dict) or "methods" in value:
        raise _refused(word, _GRANT, "after `=`, write the other keys of the origin: {timeout: 5s}")
    return value


def _whole_number(text: str) -> int | str:
    """Convert to a number; return other text unchanged, so that the model refuses it."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 40 else text


def _refused(word: str, where: str, hint: str) -> ConfigError:
    return ConfigError(f"{shorten(word)} is not a {where.removeprefix('--')}", where=where, hint=hint)


def _validated(model: type[_Model], value: dict[str, Any], where: str) -> _Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ConfigError(describe_problems(error, model, value), where=where) from error
