"""Capabilities: the smallest units that a plugin asks for, is granted, or uses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from dataflare.errors import ConfigError
from dataflare.grants import Access, DatasetGrants, Grants, Origin
from dataflare.interfaces import FREE, INTERFACES, NEEDS_GRANT, interface_of
from dataflare.limits import LimitValue
from dataflare.permissions.grant_keys import AsksModel
from dataflare.suggestions import close_matches

__all__ = [
    "Capability",
    "Needs",
    "capabilities_of",
    "needed_by_imports",
    "requested_capabilities",
    "with_interfaces",
]

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_METHOD: Final = re.compile(r"[A-Z][A-Z-]{0,31}")
_TYPES_ONLY: Final = re.compile(r"dataflare:plugin/(?:types|datasets)@1\.[0-9]+\.[0-9]+")


@dataclass(frozen=True, slots=True, order=True)
class Capability:
    """A single permission: `str()` writes it as `--grant` takes it, without the path of a directory.

    | text | what it is |
    | --- | --- |
    | `clock`, `files` | an interface as a whole |
    | `files:read:NAME`, `files:write:NAME` | a directory, by the plugin's name for it |
    | `http:METHOD:ORIGIN` | a method at an origin, such as `http:GET:https://api.example.com` |
    | `secrets:NAME`, `plugins:NAME` | a secret, a plugin of the pipeline |
    | `shared:read:NAME`, `shared:write:NAME` | a shared batch |

    Args:
        interface: The short name of its interface; for an unknown interface, the full name.
        object: The object of the interface; empty for the whole interface.
        action: The allowed action on the object; empty if the object has no separate actions.
    """

    interface: str
    object: str = ""
    action: str = ""

    def __str__(self) -> str:
        return ":".join(part for part in (self.interface, self.action, self.object) if part)

    @property
    def whole(self) -> Capability:
        """Return the capability for the whole interface."""
        return Capability(self.interface)

    @classmethod
    def parse(cls, text: str) -> Capability:
        """Read what `str()` writes.

        Raises:
            ConfigError: It is not a capability.
        """
        interface, colon, rest = text.partition(":")
        row = INTERFACES.get(interface)
        if row is not None and interface in NEEDS_GRANT:
            if not colon:
                return cls(interface)
            action, _, name = ("", "", rest) if row.action == "all" else rest.partition(":")
            if row.grant == "named" and _fits(row.action, name, action):
                return cls(interface, name, action)
        close = close_matches(interface, NEEDS_GRANT)
        raise ConfigError(
            f"{text[:100]!r} is not a capability",
            hint=f"did you mean {close[0]!r}?"
            if close and row is None
            else "such as files, files:read:input, http:GET:https://api.example.com, secrets:api-token",
        )


def _fits(kind: str, name: str, action: str) -> bool:
    match kind:
        case "method":
            try:
                return str(Origin.parse(name)) == name and _METHOD.fullmatch(action) is not None
            except ValueError:
                return False
        case "access":
            return _NAME.fullmatch(name) is not None and action in ("read", "write")
        case _:
            return _NAME.fullmatch(name) is not None


def needed_by_imports(imports: Iterable[str]) -> frozenset[Capability]:
    """Return what a component needs, given the full names of the interfaces that it imports.

    WASI is linked but empty, and the types of plugins are only types, so they need nothing. An interface that the host
    does not know is kept under its full name, which no policy grants.
    """
    needed = set()
    for name in imports:
        short = interface_of(name)
        if short not in FREE and not name.startswith("wasi:") and not _TYPES_ONLY.fullmatch(name):
            needed.add(Capability(short or name))
    return frozenset(needed)


def with_interfaces(capabilities: Iterable[Capability]) -> frozenset[Capability]:
    """Return the capabilities, together with the whole interface of each."""
    given = frozenset(capabilities)
    return given | {each.whole for each in given}


def capabilities_of(grants: Grants) -> frozenset[Capability]:
    """Return everything that grants allow, interfaces included."""
    given = {Capability(name) for name in grants.capabilities}
    given |= _accesses("files", {name: each.access for name, each in grants.files.items()})
    given |= _accesses("shared", grants.shared)
    given |= {Capability("http", origin, each) for origin, grant in grants.http.items() for each in grant.methods}
    given |= {Capability(key, name) for key in ("secrets", "plugins") for name in getattr(grants, key)}
    return frozenset(given)


def requested_capabilities(asks: AsksModel) -> frozenset[Capability]:
    """Return everything that a manifest asks for, without the interfaces that it implies."""
    asked: set[Capability] = {Capability(name) for name in asks.switches}
    for key in ("files", "http", "secrets", "plugins", "shared"):
        named: Any = getattr(asks, key)
        if named == "any":
            asked.add(Capability(key))
        elif key == "http":
            asked |= {Capability(key, origin, each) for origin, ask in named.items() for each in ask.allowed}
        elif key == "files":
            asked |= _accesses(key, {name: each.access for name, each in named.items()})
        elif key == "shared":
            asked |= _accesses(key, named)
        else:
            asked |= {Capability(key, name) for name in named}
    return frozenset(asked)


def _accesses(interface: str, objects: Mapping[str, Access]) -> frozenset[Capability]:
    return frozenset(
        Capability(interface, name, action)
        for name, access in objects.items()
        for action in ({"read", access})  # writing includes reading
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one version of a plugin asks for.

    Args:
        plugin: The plugin's name.
        version: Its version; `None` if unknown.
        digest: Its component's digest, without manifest and signature; `None` if unknown.
        capabilities: Everything that it asks for, interfaces included.
        limits: The ceilings that it asks for, by the fields of `dataflare.limits.Limits`, such as `memory_bytes`.
        datasets: The datasets and columns that it needs; `None` if it needs no particular ones.
    """

    plugin: str
    version: str | None = None
    digest: str | None = None
    capabilities: frozenset[Capability] = frozenset()
    limits: Mapping[str, LimitValue] = field(default_factory=dict)
    datasets: DatasetGrants | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "capabilities", with_interfaces(self.capabilities))
        object.__setattr__(self, "limits", MappingProxyType(dict(self.limits)))
