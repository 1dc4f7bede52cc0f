"""Stores of secrets outside the process: a directory of files, and the system's keyring."""

from __future__ import annotations

import importlib
import logging
import os
import stat
from pathlib import Path
from typing import Any

from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.secrets import MAX_SECRET_BYTES, is_secret_name
from dataflare.errors import ConfigError
from dataflare.user_files import as_path

__all__ = ["DirectorySecrets", "KeyringSecrets"]

_log = logging.getLogger("dataflare.secrets")


class DirectorySecrets:
    """Secrets in files: one file for each secret, with its name. One line break at the end is removed.

    A file is read again each time, so that secrets can be rotated. It must belong to this user and be readable by
    nobody else (mode 0600 or less), or belong to root and be readable at most by its group (0640 or less), as for
    secrets of services. Symbolic links are followed only within the directory, as in the layout of Kubernetes. Needs a
    POSIX system.

    Args:
        path: The directory.

    Raises:
        ConfigError: It is not a directory, or users other than this one and root can write to it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = as_path(path, where="secrets.directory")
        try:
            self._root = self._path.resolve(strict=True)
            found = self._root.stat()
        except OSError as error:
            raise ConfigError(f"{self._path}: {error.strerror}", where="secrets.directory") from error
        if not stat.S_ISDIR(found.st_mode):
            raise ConfigError(f"{self._path} is not a directory", where="secrets.directory")
        shared = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
        if shared or found.st_uid not in (0, os.geteuid()):
            raise ConfigError(
                f"others can put files into {self._path}",
                where="secrets.directory",
                hint="make it yours, with mode 0700",
            )

    @property
    def path(self) -> Path:
        """The directory."""
        return self._path

    def get(self, name: str) -> str | None:
        if not is_secret_name(name):
            return None
        try:
            data = self._read(name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            _log.warning("secret %r of %s: %s", name, self._path, error.strerror)
            raise CapabilityFailure("unavailable", f"the secret {name!r} cannot be read now") from error
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise self._refusal(name, "it is not UTF-8") from None

    def _read(self, name: str) -> bytes:
        try:
            real = (self._root / name).resolve(strict=True)
        except RuntimeError:  # before Python 3.13, for a cycle of links
            raise self._refusal(name, "its file is a link that leads nowhere") from None
        if not real.is_relative_to(self._root):
            raise self._refusal(name, "its file is a link out of the directory")
        # The resolved path has no links; without O_NONBLOCK, opening a FIFO would wait forever.
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise self._refusal(name, "it is not a file")
            if found.st_uid not in (0, os.geteuid()):
                raise self._refusal(name, "its file belongs to somebody else")
            if found.st_mode & (0o037 if found.st_uid == 0 else 0o077):
                raise self._refusal(name, f"its file has mode {stat.S_IMODE(found.st_mode):04o}, open to others")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(MAX_SECRET_BYTES + 3)
        finally:
            os.close(descriptor)
        if data.endswith(b"\n"):
            data = data[:-1].removesuffix(b"\r")
        if len(data) > MAX_SECRET_BYTES:
            raise self._refusal(name, f"it is longer than {MAX_SECRET_BYTES} bytes")
        return data

    def _refusal(self, name: str, why: str) -> CapabilityFailure:
        _log.warning("secret %r of %s: %s", name, self._path, why)
        return CapabilityFailure("other", f"the secret {name!r} cannot be used: {why}")


class KeyringSecrets:
    """Secrets in the system's keyring, by service and name. Needs the package `keyring`.

    Args:
        service: The name of the service in the keyring.

    Raises:
        ConfigError: The package is not installed.
    """

    def __init__(self, service: str = "dataflare") -> None:
        try:
            self._keyring: Any = importlib.import_module("keyring")
            self._error: type[Exception] = importlib.import_module("keyring.errors").KeyringError
        except ImportError as error:
            raise ConfigError(
                "the package keyring is not installed", where="secrets.keyring", hint="pip install 'dataflare[keyring]'"
            ) from error
        self._service = service

    def get(self, name: str) -> str | None:
        if not is_secret_name(name):
            return None
        try:
            secret = self._keyring.get_password(self._service, name)
        except self._error as error:
            _log.warning("secret %r: the keyring cannot be reached: %s", name, error)
            raise CapabilityFailure("unavailable", "the keyring cannot be reached") from error
        return None if secret is None else str(secret)
