"""What the operator of a pipeline allows one plugin."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from dataflare.errors import ConfigError

__all__ = ["DirectoryGrant", "Grants"]

_DIRECTORY_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_SEED_LIMIT = 2**64


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryGrant:
    """One directory that a plugin may use through `files`.

    Args:
        path: The directory; kept absolute, its symbolic links resolved. It need not exist yet.
        writable: Whether files in it may be made, replaced and deleted.

    Raises:
        ConfigError: The path is none, or cannot be resolved.
    """

    path: Path
    writable: bool = False

    def __post_init__(self) -> None:
        try:
            if not str(self.path):
                raise ValueError("the path is empty")
            resolved = Path(self.path).resolve()
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(f"{self.path!r} is no usable path: {error}", where="grants.files") from error
        if not isinstance(self.writable, bool):
            raise ConfigError(f"{self.writable!r} is neither true nor false", where="grants.files.writable")
        object.__setattr__(self, "path", resolved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """What one plugin may use; nothing, unless it is said.

    Args:
        files: Directories by the name that the plugin uses for them, `[a-z][a-z0-9_-]{0,63}`. Empty: `files` is not
            granted.
        state: A key-value store of its own.
        metrics: Counters, gauges and histograms.
        clock: The time.
        random: Random bytes.
        random_seed: Makes the random bytes follow from this seed, 0 to 2**64 - 1, for runs that repeat; needs `random`.

    Raises:
        ConfigError: A name or a value is out of its form or range.
    """

    files: Mapping[str, DirectoryGrant] = field(default_factory=dict)
    state: bool = False
    metrics: bool = False
    clock: bool = False
    random: bool = False
    random_seed: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.files, Mapping):
            raise ConfigError(f"{self.files!r} does not map names to directories", where="grants.files")
        for name, grant in self.files.items():
            if not isinstance(name, str) or _DIRECTORY_NAME.fullmatch(name) is None:
                raise ConfigError(
                    f"{name!r} is not of the form [a-z][a-z0-9_-]{{0,63}}",
                    where="grants.files",
                    hint="the name is what the plugin writes before the first `/` of a path",
                )
            if not isinstance(grant, DirectoryGrant):
                raise ConfigError(f"{grant!r} is no DirectoryGrant", where=f"grants.files.{name}")
        for flag in ("state", "metrics", "clock", "random"):
            if not isinstance(getattr(self, flag), bool):
                raise ConfigError(f"{getattr(self, flag)!r} is neither true nor false", where=f"grants.{flag}")
        if self.random_seed is not None:
            if isinstance(self.random_seed, bool) or not isinstance(self.random_seed, int):
                raise ConfigError(f"{self.random_seed!r} is no whole number", where="grants.random_seed")
            if not 0 <= self.random_seed < _SEED_LIMIT:
                raise ConfigError(f"{self.random_seed} is not in 0 to 2**64 - 1", where="grants.random_seed")
            if not self.random:
                raise ConfigError(
                    "a seed is of no use without random", where="grants.random_seed", hint="add random: true"
                )
        # A copy behind a read-only view: what was checked stays what is used.
        object.__setattr__(self, "files", MappingProxyType(dict(self.files)))

    @property
    def capabilities(self) -> frozenset[str]:
        """The short names of the granted interfaces of `dataflare:host`, such as `files`."""
        flags = {name for name in ("state", "metrics", "clock", "random") if getattr(self, name)}
        return frozenset(flags | {"files"} if self.files else flags)
