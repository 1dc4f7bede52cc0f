"""The interfaces that plugins can import from the host: one row each, from which everything else follows.

The row of an interface alone says what can be granted, asked for in a manifest, written in a policy or a pipeline,
narrowed, reviewed, audited and given on the command line, and which module implements it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

__all__ = [
    "FREE",
    "INTERFACES",
    "NEEDS_GRANT",
    "OFFERED",
    "SWITCHES",
    "HostInterface",
    "interface_name",
    "interface_of",
    "is_wasi",
    "provider_of",
    "same_major",
    "short_name",
]

_FULL_NAME: Final = re.compile(r"dataflare:([a-z-]+)/([a-z-]+)@([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})")
_WASI: Final = re.compile(r"wasi:(?:cli|clocks|filesystem|io|random|sockets)/[a-z][a-z0-9-]*@0\.2\.\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostInterface:
    """An interface of the host.

    Args:
        name: Its short name, by which it is granted.
        module: The module below `dataflare` whose `provide(context)` makes its functions; empty if it has types
            alone. It is imported when the first plugin that imports the interface is loaded.
        grant: How it is granted: `free` to every plugin; by a `switch`; or by naming what of it (`named`).
        package: The WIT package, `dataflare:PACKAGE`.
        version: The version that the host has. It serves components of this one and of earlier compatible ones; another
            major version is a row of its own, after the older ones.
        action: What is allowed of one object of it: an `access` (`read`, or `write`, which includes reading), or each
            `method` of an origin; `all` where naming the object allows all of it.
        example: What is written under `grants:` of a pipeline or policy to grant it.
        word: How it is granted in one line, as `--grant` takes it; empty for its name alone.
        says: What it is good for, in one line.
        audited_each: Whether each allowed use has a line in the audit log, whatever it repeats.
    """

    name: str
    module: str
    grant: Literal["free", "switch", "named"]
    package: str = "host"
    version: str = "1.0.0"
    action: Literal["all", "access", "method"] = "all"
    example: str = "true"
    word: str = ""
    says: str = "Whether it may use the interface."
    audited_each: bool = False

    @property
    def full_name(self) -> str:
        """Its name in the WIT, such as `dataflare:host/files@1.0.0`."""
        return f"dataflare:{self.package}/{self.name}@{self.version}"


_ROWS: Final = (
    HostInterface(name="batches", module="data.batches", grant="free", package="data"),
    HostInterface(name="expressions", module="data.expressions.interface", grant="free", package="data"),
    HostInterface(name="schemas", module="", grant="free", package="data"),
    HostInterface(name="config", module="capabilities.config", grant="free"),
    HostInterface(name="logging", module="capabilities.logging", grant="free"),
    HostInterface(name="clock", module="capabilities.clock", grant="switch", says="The time."),
    HostInterface(
        name="metrics", module="capabilities.metrics", grant="switch", says="Counters, gauges and histograms."
    ),
    HostInterface(name="random", module="capabilities.random", grant="switch", says="Random bytes."),
    HostInterface(name="tasks", module="capabilities.tasks", grant="switch", says="Progress and cancellation."),
    HostInterface(name="state", module="capabilities.state", grant="switch", says="A key-value store of its own."),
    HostInterface(
        name="files",
        module="capabilities.directory_files",
        grant="named",
        action="access",
        example="{ NAME: { path: DIRECTORY } }",
        word="files:NAME=DIRECTORY or files:write:NAME=DIRECTORY",
    ),
    HostInterface(
        name="http",
        module="capabilities.http_broker",
        grant="named",
        action="method",
        example="{ https://HOST: { methods: [GET] } }",
        word="http:METHOD,...:https://HOST or http:METHOD,...:https://HOST={timeout: 5s}",
        audited_each=True,
    ),
    HostInterface(
        name="secrets",
        module="capabilities.secrets",
        grant="named",
        example="[NAME]",
        word="secrets:NAME",
        audited_each=True,
    ),
    HostInterface(
        name="plugins",
        module="capabilities.plugins",
        grant="named",
        example="[NODE]",
        word="plugins:NODE",
        audited_each=True,
    ),
    HostInterface(
        name="shared",
        module="capabilities.shared",
        grant="named",
        action="access",
        example="{ NAME: read }",
        word="shared:NAME or shared:write:NAME",
    ),
)

INTERFACES: Final[Mapping[str, HostInterface]] = MappingProxyType({each.name: each for each in _ROWS})
"""All interfaces, by short name, each in its latest version."""

FREE: Final = frozenset(name for name, each in INTERFACES.items() if each.grant == "free")
"""Interfaces that every plugin may use, by short name."""

NEEDS_GRANT: Final = frozenset(INTERFACES) - FREE
"""Interfaces that reach outside of the plugin, by short name."""

OFFERED: Final = frozenset(INTERFACES)
"""All that this host has."""

SWITCHES: Final = tuple(name for name, each in INTERFACES.items() if each.grant == "switch")
"""Interfaces that are granted as a whole, by short name."""


def interface_name(short: str) -> str:
    """Write an interface's full name: `files` is `dataflare:host/files@1.0.0`.

    Raises:
        KeyError: The table does not have the interface.
    """
    return INTERFACES[short].full_name


def provider_of(full_name: str) -> HostInterface | None:
    """Find what serves an interface of a version: a row of the same interface that is compatible and not older."""
    row = same_major(full_name)
    return row if row is not None and _version_of(row.full_name) >= _version_of(full_name) else None


def short_name(interface: str) -> str | None:
    """Find an interface's short name; `None` for one that this host does not serve, such as of a later version."""
    row = provider_of(interface)
    return None if row is None else row.name


def interface_of(full_name: str) -> str | None:
    """Find the short name of an interface, whatever its minor version; `None` for one that is not of this host."""
    row = same_major(full_name)
    return None if row is None else row.name


def same_major(full_name: str) -> HostInterface | None:
    """Find the row of an interface in the same major version, be it older or newer; `None` where there is none."""
    match = _FULL_NAME.fullmatch(full_name)
    if match is None:
        return None
    rows = (each for each in _ROWS if (each.package, each.name) == (match[1], match[2]))
    # Before 1.0, a minor version is as incompatible as a major one.
    count = 1 if int(match[3]) else 2
    wanted = _version_of(full_name)[:count]
    return next((each for each in rows if _version_of(each.full_name)[:count] == wanted), None)


def _version_of(full_name: str) -> tuple[int, ...]:
    match = _FULL_NAME.fullmatch(full_name)
    return (0, 0, 0) if match is None else tuple(map(int, match.groups()[2:]))


def is_wasi(interface: str) -> bool:
    """Whether wasmtime itself has an interface: WASI 0.2 without http, by its full name."""
    return _WASI.fullmatch(interface) is not None
