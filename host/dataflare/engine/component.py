"""A compiled plugin, of which instances are made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from wasmtime import component as wc

from dataflare.engine.bridge import CALL_EXPORT
from dataflare.engine.codec import Codecs
from dataflare.engine.flavour import Flavour
from dataflare.engine.instance import Instance, bind
from dataflare.engine.links import Link, export_links, import_links
from dataflare.engine.side import Side
from dataflare.engine.types import Shape, size
from dataflare.errors import UsageError
from dataflare.limits import Limits

__all__ = ["Component", "ExportCodec", "ImportCodec"]


@dataclass(frozen=True, slots=True)
class ExportCodec:
    """How one of the plugin's functions is called."""

    number: int
    link: Link
    arguments_size: int
    encode_arguments: Callable[[Side, int, Any], None]
    decode_result: Callable[[Side, int], Any] | None


@dataclass(frozen=True, slots=True)
class ImportCodec:
    """How the plugin calls one of the host's functions."""

    link: Link
    result_size: int
    decode_arguments: Callable[[Side, int], tuple[Any, ...]]
    encode_result: Callable[[Side, int, Any], None] | None


class Component:
    """A compiled plugin with its bridges. Made by `Engine.load`; any thread may use it; lives as long as its engine.

    Attributes:
        name: For errors.
        digest: `sha256:` and the hexadecimal digest of the plugin's own bytes.
        shape: What it imports and exports.
        from_cache: Whether it was not compiled anew.
    """

    def __init__(
        self, flavour: Flavour, compiled: wc.Component, shape: Shape, *, name: str, digest: str, from_cache: bool
    ) -> None:
        self.flavour = flavour
        self.compiled = compiled
        self.shape = shape
        self.name = name
        self.digest = digest
        self.from_cache = from_cache
        self.imports = import_links(shape)
        index = compiled.get_export_index(CALL_EXPORT)
        if index is None:
            raise AssertionError("the bridge has no call")
        self.call_index = index
        self._numbers = {(link.interface, link.name): (n, link) for n, link in enumerate(export_links(shape))}
        self._codecs = Codecs(shape.resources)
        self._exports: dict[tuple[str, str], ExportCodec] = {}
        self._imports: dict[int, ImportCodec] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Component({self.name!r}, {self.digest[:19]})"

    def instantiate(
        self,
        host: Mapping[str, Mapping[str, Callable[..., Any]]],
        *,
        limits: Limits | None = None,
        log_lines: Callable[[], tuple[str, ...]] = tuple,
        stderr: Callable[[str], None] | None = None,
    ) -> Instance:
        """Make an instance; what the plugin does at its start runs now.

        Args:
            host: The functions that the plugin imports, by interface and by name in the WIT.
            limits: Ceilings of this instance.
            log_lines: Gives the plugin's last log lines, for reports of faults.
            stderr: Takes each line that the plugin writes to its standard error.

        Raises:
            ConfigError: A function is missing, or the limits do not fit how the component was loaded.
            PluginFault: The plugin failed at its start.
        """
        limits = limits or Limits()
        for what, wanted, have in (
            ("fuel", limits.fuel is not None, self.flavour.fuel),
            ("limits of time", limits.call_timeout_s is not None, self.flavour.timed),
        ):
            if wanted != have:
                raise UsageError(
                    f"{self.name} was compiled {'with' if have else 'without'} {what}",
                    hint="Engine.load takes fuel and timed, which must fit Limits.fuel and Limits.call_timeout_s",
                )
        return Instance(self, bind(self, host), limits, log_lines, stderr)

    def export_codec(self, interface: str, function: str) -> ExportCodec:
        """The codec of an export, compiled at its first use.

        Raises:
            UsageError: There is no such export.
        """
        key = (interface, function)
        codec = self._exports.get(key)
        return codec if codec is not None else self._compile_export(key)

    def import_codec(self, number: int) -> ImportCodec:
        """The codec of an import, compiled at its first use."""
        codec = self._imports.get(number)
        return codec if codec is not None else self._compile_import(number)

    def _compile_export(self, key: tuple[str, str]) -> ExportCodec:
        if key not in self._numbers:
            raise UsageError(
                f"{self.name} exports no {key[1]!r} in {key[0] or 'its world'!r}",
                hint="dataflare inspect lists what it exports",
            )
        number, link = self._numbers[key]
        func = link.func
        with self._lock:
            decode = self._codecs.decoder(func.result) if func.result is not None else None
            made = ExportCodec(number, link, size(func.args), self._codecs.encoder(func.args), decode)
            self._exports[key] = made
        return made

    def _compile_import(self, number: int) -> ImportCodec:
        link = self.imports[number]
        result = link.func.result
        with self._lock:
            encode = self._codecs.encoder(result) if result is not None else None
            decode = self._codecs.decoder(link.func.args)
            made = ImportCodec(link, size(result) if result is not None else 0, decode, encode)
            self._imports[number] = made
        return made
