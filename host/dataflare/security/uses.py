"""The capability that a call of a host function uses, and the WIT value that refuses the call."""

from __future__ import annotations

import functools
import urllib.parse
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from dataflare.errors import ConfigError, DataflareError
from dataflare.grants import Origin
from dataflare.security.capability import Capability
from dataflare.values import Err
from dataflare.values import Variant as VariantValue
from dataflare.wit.model import Function, Interface, Named, Primitive, Resource, ResultOf, Variant
from dataflare.wit.standard import standard

__all__ = ["DENIED_CASES", "denial_case", "denial_reason", "refused", "sound", "used_by", "written"]

DENIED_CASES: Final = ("denied", "not-granted")
"""Cases of the standard's error variants for something that is not granted."""

_FALLBACK_CASE: Final = "other"
_FILE_ACTIONS: Final = {"open": "read", "stat": "read", "list-entries": "read", "create": "write", "delete": "write"}
_UNKNOWN: Final = "?"
_MAX_URL_CHARACTERS: Final = 8_192


def used_by(interface: str, function: str, args: tuple[Any, ...]) -> Capability | None:
    """Return what a call uses; `None` for a method of a handle, which uses the capability of the handle.

    Args:
        interface: Short name of an interface of `dataflare:host`.
        function: The function's name in the WIT.
        args: The plugin's arguments. Arguments that are not valid become the object `?`, which nothing grants.
    """
    if function.startswith("[method]"):
        return None
    first = args[0] if args else None
    match interface, function:
        case "files", _ if function in _FILE_ACTIONS:
            name = first.partition("/")[0] if isinstance(first, str) else ""
            return sound(Capability("files", name, _FILE_ACTIONS[function]))
        case "http", _:
            return sound(Capability("http", _origin(first), str(getattr(first, "method", ""))))
        case "secrets" | "plugins", _:
            return sound(Capability(interface, str(first)))
        case "shared", "get" | "put":
            return sound(Capability("shared", str(first), "read" if function == "get" else "write"))
        case _:
            return Capability(interface)


def written(capability: Capability) -> str:
    """Write a capability in the form of the audit log."""
    return str(capability) if capability.object != _UNKNOWN else f"{capability.interface}:{_UNKNOWN}"


def sound(capability: Capability) -> Capability:
    """Return the capability, with the object `?` if it could never be granted."""
    try:
        # A name from a plugin may look like several parts of a capability.
        if Capability.parse(str(capability)) == capability:
            return capability
    except ConfigError:
        pass
    return Capability(capability.interface, _UNKNOWN)


def _origin(request: Any) -> str:
    try:
        if len(request.url) > _MAX_URL_CHARACTERS:  # the broker refuses it anyway, and parsing it would take long
            return ""
        parts = urllib.parse.urlsplit(request.url)
        # Without the part before `@`, which may have a password; the broker refuses such a URL anyway.
        return str(Origin.parse(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"))
    except (AttributeError, TypeError, ValueError):
        return ""


def denial_reason(result: Any) -> str | None:
    """Return why a call was refused, if its result says so; otherwise `None`."""
    if not isinstance(result, Err):
        return None
    case, value = getattr(result.error, "case", result.error), getattr(result.error, "value", None)
    if case not in DENIED_CASES:
        return None
    return value if isinstance(value, str) and value else str(case)


def denial_case(interface: str, function: str) -> str | None:
    """Return the case of a function's error for a refusal: `denied`, `not-granted`, or `other` if it has neither.

    `None` if the function has no error type, or is not in the standard.

    Args:
        interface: Full name, such as `dataflare:host/files@1.0.0`.
        function: The function's name, such as `[method]reader.read`.
    """
    return _denial_cases().get((interface, function))


@functools.cache
def _denial_cases() -> Mapping[tuple[str, str], str]:
    try:
        interfaces = dict(standard().interfaces())
    except DataflareError:
        return MappingProxyType({})
    cases = {}
    for full_name, interface in interfaces.items():
        for name, function in _functions(interface):
            case = _case_of(function, interfaces)
            if case is not None:
                cases[full_name, name] = case
    return MappingProxyType(cases)


def _functions(interface: Interface) -> list[tuple[str, Function]]:
    functions = [(each.name, each) for each in interface.functions]
    for resource in interface.types:
        if isinstance(resource, Resource):
            functions += [(f"[{each.kind}]{resource.name}.{each.name}", each) for each in resource.functions]
    return functions


def _case_of(function: Function, interfaces: Mapping[str, Interface]) -> str | None:
    if not isinstance(function.result, ResultOf) or not isinstance(function.result.error, Named):
        return None
    error = function.result.error
    for definition in interfaces[error.owner].types:
        if definition.name == error.name and isinstance(definition, Variant):
            with_text = {case.name for case in definition.cases if case.payload == Primitive("string")}
            return next((case for case in (*DENIED_CASES, _FALLBACK_CASE) if case in with_text), None)
    return None


def refused(interface: str, function: str, reason: str) -> Err[VariantValue] | None:
    """Return the result that refuses a call; `None` if only an exception can refuse it."""
    case = denial_case(interface, function)
    return None if case is None else Err(VariantValue(case, reason))
