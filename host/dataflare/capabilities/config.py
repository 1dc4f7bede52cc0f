"""`dataflare:host/config`: a plugin's configuration."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from dataflare.errors import ConfigError

__all__ = ["Config", "PluginConfig", "imports", "provide"]

_MAX_BYTES = 16 * 2**20
_MAX_DEPTH = 128


class Config(Protocol):
    """A source of a plugin's configuration. Any thread may use it."""

    def get(self, key: str) -> str | None:
        """Return the value of a top-level key as JSON; `None` if the key is absent."""

    def get_all(self) -> str:
        """Return the whole configuration as one JSON object."""


class PluginConfig:
    """A configuration, converted to JSON once: later changes of the original do not reach the plugin.

    Args:
        values: The configuration; keys are strings at every level, values are those of JSON.

    Raises:
        ConfigError: JSON has no such value (such as NaN), a key is not a string, or the whole is over 16 MiB or nested
            over 128 levels deep.
    """

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        for key in values or {}:
            if not isinstance(key, str):
                raise ConfigError(f"the key {key!r} is not a text", where="config")
        self._values = {key: _to_json(value, f"config.{key}") for key, value in (values or {}).items()}
        self._all = "{" + ",".join(f"{_to_json(key, 'config')}:{text}" for key, text in self._values.items()) + "}"
        if len(self._all) > _MAX_BYTES:
            raise ConfigError(f"{len(self._all)} characters of JSON are more than {_MAX_BYTES}", where="config")

    def get(self, key: str) -> str | None:
        return self._values.get(key)

    def get_all(self) -> str:
        return self._all


def imports(config: Config) -> dict[str, Callable[..., Any]]:
    """Make the functions of the interface, by their names in the WIT."""
    return {"get": config.get, "get-all": config.get_all}


def _to_json(value: Any, where: str) -> str:
    _check(value, where, 0)
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError("holds half of a surrogate pair, which is not a text", where=where) from error
    return text


def _check(value: Any, where: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise ConfigError(f"nested deeper than {_MAX_DEPTH} levels", where=where)
    if isinstance(value, Mapping):
        if not isinstance(value, dict):
            raise ConfigError(f"a {type(value).__name__} is not a dict", where=where)
        for key, item in value.items():
            if not isinstance(key, str):
                raise ConfigError(f"the key {key!r} is not a text", where=where)
            _check(item, f"{where}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check(item, f"{where}[{index}]", depth + 1)
    elif isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise ConfigError(f"{value!r} is not a number of JSON", where=where)
    elif value is not None and not isinstance(value, str | int | float | bool):
        raise ConfigError(
            f"a {type(value).__name__} is nothing that JSON has", where=where, hint="write dates and the like as text"
        )


class _Context(Protocol):
    @property
    def settings(self) -> Config: ...


def provide(context: _Context) -> dict[str, Callable[..., Any]]:
    """Make the functions that one plugin gets, by their names in the WIT."""
    return imports(context.settings)
