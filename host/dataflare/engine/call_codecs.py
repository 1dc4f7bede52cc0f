"""The codecs of a component's functions, compiled at their first use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dataflare.engine.abi.bridge_memory import BridgeMemory
from dataflare.engine.abi.codecs import Codecs
from dataflare.engine.abi.types import ComponentType, size
from dataflare.engine.bridges.call_table import Link, export_links, import_links
from dataflare.engine.bridges.post_return import result_mark
from dataflare.locks import Lock

__all__ = ["CallCodecs", "ExportCodec", "ImportCodec"]


@dataclass(frozen=True, slots=True)
class ExportCodec:
    """How one of the plugin's functions is called."""

    number: int
    link: Link
    arguments_size: int
    encode_arguments: Callable[[BridgeMemory, int, Any], None]
    decode_result: Callable[[BridgeMemory, int], Any] | None
    result_mark: slice | None


@dataclass(frozen=True, slots=True)
class ImportCodec:
    """How the plugin calls one of the host's functions."""

    link: Link
    result_size: int
    decode_arguments: Callable[[BridgeMemory, int], tuple[Any, ...]]
    encode_result: Callable[[BridgeMemory, int, Any], None] | None


class CallCodecs:
    """The codecs of all components of one type. Any thread may use them."""

    def __init__(self, shape: ComponentType) -> None:
        self.imports = import_links(shape)
        self._numbers = {(link.interface, link.name): (n, link) for n, link in enumerate(export_links(shape))}
        self.exports_count = len(self._numbers)
        self._resources = shape.resources
        self._codecs = Codecs(shape.resources)
        self._half_done = False
        self.exports: dict[tuple[str, str], ExportCodec] = {}
        """The codecs of exports that were called before, by interface and name."""
        self._imports: dict[int, ImportCodec] = {}
        self._lock = Lock()

    def export(self, interface: str, function: str) -> ExportCodec:
        """Return the codec of an export; KeyError if there is no such export."""
        codec = self.exports.get((interface, function))
        return codec if codec is not None else self._compile_export(interface, function)

    def host_function(self, number: int) -> ImportCodec:
        """Return the codec of an import, by its number."""
        codec = self._imports.get(number)
        return codec if codec is not None else self._compile_import(number)

    def _compile_export(self, interface: str, function: str) -> ExportCodec:
        number, link = self._numbers[interface, function]
        func = link.func
        with self._lock:
            codecs = self._begin()
            decode = codecs.decoder(func.result) if func.result is not None else None
            encode = codecs.encoder(func.args)
            made = ExportCodec(number, link, size(func.args), encode, decode, result_mark(func.result))
            self.exports[interface, function] = made
            self._half_done = False
        return made

    def _compile_import(self, number: int) -> ImportCodec:
        link = self.imports[number]
        result = link.func.result
        with self._lock:
            codecs = self._begin()
            encode = codecs.encoder(result) if result is not None else None
            decode = codecs.decoder(link.func.args)
            made = ImportCodec(link, size(result) if result is not None else 0, decode, encode)
            self._imports[number] = made
            self._half_done = False
        return made

    def _begin(self) -> Codecs:
        """Return the compiler; a new one if the last use was cut off, for example by an interrupt."""
        if self._half_done:
            self._codecs = Codecs(self._resources)
        self._half_done = True
        return self._codecs
