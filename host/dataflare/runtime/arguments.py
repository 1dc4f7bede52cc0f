"""Checks the arguments of `Host.load`, and reads the component."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from dataflare.built_in_plugins import built_in_file
from dataflare.errors import ConfigError
from dataflare.grants import Grants
from dataflare.limits import Limits
from dataflare.user_files import as_path, read_component

__all__ = ["ComponentFile", "ComponentSource", "check_arguments", "default_name"]

ComponentSource: TypeAlias = str | os.PathLike[str] | bytes
"""A component: its file, `builtin:NAME` for a plugin of this package, or its contents."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class ComponentFile:
    """A component's contents, read once, so that what was verified is what is loaded. `name` is its name in errors."""

    contents: bytes
    name: str
    signature: bytes | None = None
    certificate: bytes | None = None

    @classmethod
    def read(
        cls,
        component: ComponentSource,
        *,
        signature: bytes | None = None,
        signed: bool = False,
        certificate: bytes | None = None,
        certified: bool = False,
    ) -> ComponentFile:
        """Read a component.

        Args:
            component: Its file, or its contents.
            signature: Its signature; `None` takes the `.sig` file beside it.
            signed: Whether the signature is needed.
            certificate: Its certificate of conformance; `None` takes the `.cert` file beside it.
            certified: Whether the certificate is needed.

        Raises:
            ConfigError: A file cannot be read.
        """
        if isinstance(component, bytes | bytearray | memoryview):
            return cls(bytes(component), "component", signature, certificate)
        path = as_path(component, where="component")
        path = built_in_file(path) or path
        contents = read_component(path)
        if signed and signature is None:
            # Imported here, since cryptography is slow to load.
            from dataflare.security.signatures import read_signature

            signature = read_signature(path)
        if certified and certificate is None:
            from dataflare.security.certificates import read_certificate

            certificate = read_certificate(path)
        return cls(contents, str(component), signature, certificate)


def check_arguments(
    plugin: str, pipeline: str, config: Mapping[str, Any] | None, grants: Grants | None, limits: Limits | None
) -> None:
    """Check the arguments that can be checked without the component.

    Raises:
        ConfigError: An argument has a wrong form or type.
    """
    for name, where in ((plugin, "name"), (pipeline, "pipeline")):
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise ConfigError(f"{name!r} is not of the form {_NAME.pattern}", where=where)
    given: tuple[tuple[object, type, str], ...] = (
        (config, Mapping, "config"),
        (grants, Grants, "grants"),
        (limits, Limits, "limits"),
    )
    for value, expected, where in given:
        if value is not None and not isinstance(value, expected):
            hint = "" if expected is Mapping else f"make one with dataflare.{expected.__name__}(...) or parse_{where}"
            raise ConfigError(f"a {type(value).__name__} is not a {expected.__name__}", where=where, hint=hint)


def default_name(component: ComponentSource) -> str:
    """Return the default name of a plugin: the name of its file."""
    if isinstance(component, str | os.PathLike):
        file = Path(component).name.removesuffix(".wasm").removeprefix("builtin:")
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", file).lstrip("._-")[:128]
        if name:
            return name
    return "plugin"
