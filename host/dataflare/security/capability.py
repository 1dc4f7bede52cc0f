"""Single capabilities: the least things that a plugin asks for, is granted, or uses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias

from dataflare.errors import ConfigError
from dataflare.grants import Grants, Origin
from dataflare.interfaces import FREE, INTERFACES, NEEDS_GRANT, interface_of

__all__ = [
    "NAME_PATTERN",
    "Capability",
    "Kind",
    "Needs",
    "capabilities_of",
    "needed_by_imports",
    "with_interfaces",
]

NAME_PATTERN: Final = r"^[a-z][a-z0-9_-]{0,63}$"
"""The form of the names of plugins, directories, secrets and the like."""

Kind: TypeAlias = str
"""What a capability is of: `interface`, or one of those that the rows of `dataflare.interfaces` name."""

_NAME: Final = re.compile(NAME_PATTERN.strip("^$"))
_METHOD: Final = re.compile(r"[A-Z][A-Z-]{0,31}")
_INTERFACES: Final[Mapping[str, str]] = {
    each.capability: each.name for each in INTERFACES.values() if each.capability != "interface"
}
_KINDS: Final = frozenset({"interface", *_INTERFACES})
_TYPES_ONLY: Final = re.compile(r"dataflare:plugin/(?:types|datasets)@1\.[0-9]+\.[0-9]+")


@dataclass(frozen=True, slots=True, order=True)
class Capability:
    """One thing that may be allowed: `str()` writes it as `kind:object` or `kind:object#action`.

    | kind | object | action |
    | --- | --- | --- |
    | `interface` | short name, such as `clock` | |
    | `directory` | the plugin's name for it | `read` or `write` |
    | `http` | origin, such as `https://api.example.com` | method |
    | `state` | namespace; `own` is the plugin's own in its pipeline | |
    | `secret`, `plugin` | name | |
    | `shared` | name | `read` or `write` |
    """

    kind: Kind
    object: str
    action: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.object}" + (f"#{self.action}" if self.action else "")

    @property
    def interface(self) -> str:
        """The short name of the interface that this belongs to."""
        return _INTERFACES.get(self.kind, self.object)

    @classmethod
    def parse(cls, text: str) -> Capability:
        """Read what `str()` writes; a short name alone, such as `files`, is the whole interface.

        Raises:
            ConfigError: It is no capability.
        """
        if text in NEEDS_GRANT:
            return cls("interface", text)
        kind, colon, rest = text.partition(":")
        name, mark, action = rest.partition("#")
        if not colon or kind not in _KINDS or (mark and not action) or not _fits(kind, name, action):
            raise ConfigError(
                f"{text[:100]!r} is no capability",
                hint="such as files, directory:input#read, http:https://api.example.com#GET, secret:api-token",
            )
        return cls(kind, name, action)


def _fits(kind: str, name: str, action: str) -> bool:
    match kind:
        case "interface":
            return name in NEEDS_GRANT and not action
        case "http":
            try:
                return str(Origin.parse(name)) == name and _METHOD.fullmatch(action) is not None
            except ValueError:
                return False
        case _:
            return _NAME.fullmatch(name) is not None and action in (INTERFACES[_INTERFACES[kind]].actions or ("",))


def needed_by_imports(imports: Iterable[str]) -> frozenset[Capability]:
    """What a component needs by what it imports, interfaces by their full names.

    WASI is linked but empty, and the types of plugins are no more than types, so they need nothing. What the host does
    not know is kept under its full name: no policy grants that.
    """
    needed = set()
    for name in imports:
        short = interface_of(name)
        if short not in FREE and not name.startswith("wasi:") and not _TYPES_ONLY.fullmatch(name):
            needed.add(Capability("interface", short or name))
    return frozenset(needed)


def with_interfaces(capabilities: Iterable[Capability]) -> frozenset[Capability]:
    """The capabilities, and the interface that each belongs to."""
    given = frozenset(capabilities)
    return given | {Capability("interface", each.interface) for each in given}


def capabilities_of(grants: Grants) -> frozenset[Capability]:
    """Everything that grants allow, interfaces included."""
    given = {Capability("interface", name) for name in grants.capabilities}
    for name, directory in grants.files.items():
        given |= {
            Capability("directory", name, action) for action in _actions("write" if directory.writable else "read")
        }
    for origin, grant in grants.http.items():
        given |= {Capability("http", origin, method) for method in grant.methods}
    for name, access in grants.shared.items():
        given |= {Capability("shared", name, action) for action in _actions(access)}
    given |= {Capability("secret", name) for name in grants.secrets}
    given |= {Capability("plugin", name) for name in grants.plugins}
    if grants.state:
        given.add(Capability("state", "own"))
    return frozenset(given)


def _actions(access: str) -> tuple[str, ...]:
    # Whoever may write may read.
    return ("read", "write") if access == "write" else ("read",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one version of a plugin asks for.

    Args:
        plugin: Its name.
        version: Its version; `None` where it is not known.
        digest: Its component's digest, without manifest and signature; `None` where it is not known.
        capabilities: Everything that it asks for, interfaces included.
        limits: The ceilings that it asks for, by the names of a policy's `limits`, such as `memory_bytes`.
    """

    plugin: str
    version: str | None = None
    digest: str | None = None
    capabilities: frozenset[Capability] = frozenset()
    limits: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "capabilities", with_interfaces(self.capabilities))
        object.__setattr__(self, "limits", MappingProxyType(dict(self.limits)))
