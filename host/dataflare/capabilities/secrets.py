"""`dataflare:host/secrets`: secrets that the operator granted by name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Set
from typing import Any, Protocol

from dataflare.capabilities.capability_failure import CapabilityFailure, returns_result
from dataflare.errors import ConfigError
from dataflare.grants import Grants

__all__ = [
    "MAX_SECRET_BYTES",
    "EnvironmentSecrets",
    "MemorySecrets",
    "SecretStore",
    "imports",
    "is_secret_name",
    "provide",
]

MAX_SECRET_BYTES = 65_536
"""The longest secret, in bytes of UTF-8."""

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_PREFIX = re.compile(r"[A-Z][A-Z0-9_]*_")


class SecretStore(Protocol):
    """Where secrets are kept. Any thread may ask.

    A call raises `CapabilityFailure` with a case of `secret-error`. No message holds a secret, or says where it is.
    """

    def get(self, name: str) -> str | None:
        """Return a secret as it is now, `None` where there is none (under a name that is not a name, too)."""


class MemorySecrets:
    """Secrets in memory; they are not shown by `repr`."""

    def __init__(self, secrets: Mapping[str, str] | None = None) -> None:
        self._secrets = dict(secrets or {})

    def get(self, name: str) -> str | None:
        return self._secrets.get(name) if is_secret_name(name) else None

    def put(self, name: str, secret: str | None) -> None:
        """Change a secret; `None` removes it."""
        if secret is None:
            self._secrets.pop(name, None)
        else:
            self._secrets[name] = secret


class EnvironmentSecrets:
    """Secrets in environment variables: `api-token` is in `DATAFLARE_SECRET_API_TOKEN`.

    `-` and `_` in names are the same to it.

    Args:
        prefix: How the variables begin: capitals, digits and `_`, with `_` at the end. It keeps plugins' secrets apart
            from all other variables, so it cannot be empty.
        environ: The variables.

    Raises:
        ConfigError: The prefix is not of that form.
    """

    def __init__(self, prefix: str = "DATAFLARE_SECRET_", *, environ: Mapping[str, str] | None = None) -> None:
        if _PREFIX.fullmatch(prefix) is None:
            raise ConfigError(
                f"{prefix!r} is not a prefix of capitals, digits and `_` that ends in `_`", where="secrets.prefix"
            )
        self._prefix = prefix
        self._environ = os.environ if environ is None else environ

    def get(self, name: str) -> str | None:
        if not is_secret_name(name):
            return None
        secret = self._environ.get(self._prefix + name.upper().replace("-", "_"))
        try:
            if secret is not None:
                secret.encode()
        except UnicodeEncodeError:
            raise CapabilityFailure("other", f"the secret {name!r} cannot be used: it is not UTF-8") from None
        return secret


def is_secret_name(name: str) -> bool:
    """Whether a text has the form of a secret's name, `[a-z][a-z0-9_-]{0,63}`."""
    return _NAME.fullmatch(name) is not None


def imports(store: SecretStore, granted: Set[str]) -> dict[str, Callable[..., Any]]:
    """Make the functions of the interface, by their names in the WIT.

    Args:
        store: Where the secrets are.
        granted: Names of those that the plugin may hold.
    """

    def get(name: str) -> str:
        secret = store.get(name) if name in granted else None
        if secret is None:
            # One text for both, so that names cannot be tried out.
            raise CapabilityFailure("not-granted", f"no secret {name[:64]!r} is granted, or there is none")
        return secret

    return {"get": returns_result(get)}


class _Context(Protocol):
    @property
    def secrets(self) -> SecretStore | None: ...
    @property
    def grants(self) -> Grants: ...


def provide(context: _Context) -> dict[str, Callable[..., Any]]:
    """Make the functions that one plugin gets, by their names in the WIT.

    Raises:
        ConfigError: The host has no store.
    """
    if context.secrets is None:
        raise ConfigError("there is no store for them", where="grants.secrets", hint="Host(secrets=...)")
    return imports(context.secrets, context.grants.secrets)
