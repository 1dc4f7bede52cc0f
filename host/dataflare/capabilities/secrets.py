"""`dataflare:host/secrets`: secrets that the operator granted by name."""

from __future__ import annotations

import math
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Mapping, Set
from typing import Any, Final, Protocol

from dataflare.budgets import OverTime, current
from dataflare.capabilities.capability_failure import CapabilityFailure, returns_result
from dataflare.errors import ConfigError
from dataflare.grants import Grants

__all__ = [
    "MAX_SECRET_BYTES",
    "EnvironmentSecrets",
    "MemorySecrets",
    "SecretStore",
    "ask",
    "imports",
    "is_secret_name",
    "provide",
]

MAX_SECRET_BYTES = 65_536
"""The longest secret, in bytes of UTF-8."""

_waiting: Final = threading.BoundedSemaphore(16)
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_PREFIX = re.compile(r"[A-Z][A-Z0-9_]*_")


class SecretStore(Protocol):
    """A store of secrets. Any thread may use it.

    A call raises `CapabilityFailure` with a case of `secret-error`. No message contains a secret or its location.
    """

    def get(self, name: str) -> str | None:
        """Return a secret's current value; `None` if there is none, also for a name that is not valid."""


class MemorySecrets:
    """Secrets in memory; `repr` does not show them."""

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

    `-` and `_` in names mean the same.

    Args:
        prefix: The beginning of the variables' names: capitals, digits and `_`, with `_` at the end. It separates
            secrets from other variables, so it cannot be empty.
        environ: The variables; `None` for those of this process.

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


def ask(store: SecretStore, name: str) -> str | None:
    """Ask a store for a secret, at most until the current call's deadline.

    If the call has a deadline, the store is asked in a separate thread, since it may wait (for a user who must unlock a
    keyring, or for a network file system). The thread may keep waiting after the call has ended. There are at most 16
    such threads.

    Raises:
        CapabilityFailure: The store's failure; `other` for a secret of more than `MAX_SECRET_BYTES`.
        OverTime: The call's time is over.
    """
    budget = current()
    left_s = budget.deadline_s - time.monotonic()
    if isinstance(store, MemorySecrets | EnvironmentSecrets) or left_s == math.inf:
        secret = store.get(name)
    else:
        secret = _ask_in_time(store, name, max(0.0, left_s))
    if secret is not None and len(secret) > MAX_SECRET_BYTES // 4 and len(secret.encode()) > MAX_SECRET_BYTES:
        raise CapabilityFailure("other", f"the secret {name!r} cannot be used: it has over {MAX_SECRET_BYTES} bytes")
    return secret


def _ask_in_time(store: SecretStore, name: str, left_s: float) -> str | None:
    answers: queue.SimpleQueue[tuple[str | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((store.get(name), None))
        except BaseException as error:
            answers.put((None, error))
        finally:
            _waiting.release()

    if not _waiting.acquire(timeout=min(left_s, threading.TIMEOUT_MAX)):
        raise OverTime
    try:
        threading.Thread(target=work, name="dataflare-secret", daemon=True).start()
    except BaseException:
        _waiting.release()
        raise
    try:
        secret, error = answers.get(timeout=min(left_s, threading.TIMEOUT_MAX))
    except queue.Empty:
        raise OverTime from None
    if error is not None:
        raise error
    return secret


def imports(store: SecretStore, granted: Set[str]) -> dict[str, Callable[..., Any]]:
    """Make the functions of the interface, by their names in the WIT.

    Args:
        store: The store of secrets.
        granted: Names of the secrets that the plugin may read.
    """

    def get(name: str) -> str:
        secret = ask(store, name) if name in granted else None
        if secret is None:
            # The same text for both cases, so that a plugin cannot probe names.
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
