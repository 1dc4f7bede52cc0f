"""A compiled plugin: its native code, its types, and the codecs of its functions."""

from __future__ import annotations

from wasmtime import component as wc

from dataflare.engine.abi.types import ComponentType
from dataflare.engine.bridges.compose import CALL_EXPORT
from dataflare.engine.call_codecs import CallCodecs, ExportCodec, ImportCodec
from dataflare.engine.compile_profile import CompileProfile
from dataflare.engine.flat.protocol import FLAT_EXPORT, MARKS_EXPORT
from dataflare.errors import UsageError

__all__ = ["CompiledComponent"]


class CompiledComponent:
    """A compiled plugin, flattened or with its bridges. Any thread may use it. It must not outlive its engine.

    Attributes:
        name: The plugin's name, for errors.
        digest: `sha256:` and the hexadecimal digest of the plugin's own bytes.
        shape: What it imports and exports.
        from_cache: Whether the native code came from the cache.
        flattened: Whether it was flattened; otherwise it has bridges.
        codecs: The codecs of exports that were called before; `export_codec` makes the others.
    """

    def __init__(
        self,
        profile: CompileProfile,
        compiled: wc.Component,
        shape: ComponentType,
        codecs: CallCodecs,
        *,
        name: str,
        digest: str,
        from_cache: bool,
    ) -> None:
        self.profile = profile
        self._compiled: wc.Component | None = compiled
        self.shape = shape
        self.name = name
        self.digest = digest
        self.from_cache = from_cache
        self.imports = codecs.imports
        self.exports_count = codecs.exports_count
        self._codecs = codecs
        self.codecs = codecs.exports
        flat = compiled.get_export_index(FLAT_EXPORT)
        self.flattened = flat is not None
        self.has_marks = compiled.get_export_index(MARKS_EXPORT) is not None
        index = flat or compiled.get_export_index(CALL_EXPORT)
        if index is None:
            raise AssertionError("the bridge has no call")
        self._index: wc.ExportIndex | None = index

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.digest[:19]})"

    def code(self) -> tuple[wc.Component, wc.ExportIndex]:
        """Return wasmtime's compiled component and its only export.

        Raises:
            UsageError: The component is closed.
        """
        compiled, index = self._compiled, self._index
        if compiled is None or index is None:
            raise UsageError(f"{self.name} is closed", hint="load it again")
        return compiled, index

    def close(self) -> None:
        """Release the native code and its file; idempotent. Existing instances keep what they need."""
        # wasmtime's own `close` would free twice if an exception came between its steps.
        self._compiled = self._index = None

    def export_codec(self, interface: str, function: str) -> ExportCodec:
        """Return the codec of an export.

        Raises:
            UsageError: The component does not have this export.
        """
        try:
            return self._codecs.export(interface, function)
        except KeyError:
            raise UsageError(
                f"{self.name} exports no {function!r} in {interface or 'its world'!r}",
                hint="dataflare inspect lists what it exports",
            ) from None

    def import_codec(self, number: int) -> ImportCodec:
        """Return the codec of an import, by its number."""
        return self._codecs.host_function(number)
