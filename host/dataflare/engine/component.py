"""A compiled plugin, of which instances are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wasmtime import component as wc

from dataflare.engine.abi.types import Shape
from dataflare.engine.bridges.compose import CALL_EXPORT
from dataflare.engine.call_codecs import CallCodecs, ExportCodec, ImportCodec
from dataflare.engine.compile_profile import Flavour
from dataflare.engine.instance import Instance, bind
from dataflare.errors import UsageError
from dataflare.limits import Limits

__all__ = ["Component"]


class Component:
    """A compiled plugin with its bridges. Made by `Engine.load`; any thread may use it; lives as long as its engine.

    Attributes:
        name: For errors.
        digest: `sha256:` and the hexadecimal digest of the plugin's own bytes.
        shape: What it imports and exports.
        from_cache: Whether it was not compiled anew.
    """

    def __init__(
        self,
        flavour: Flavour,
        compiled: wc.Component,
        shape: Shape,
        codecs: CallCodecs,
        *,
        name: str,
        digest: str,
        from_cache: bool,
    ) -> None:
        self.flavour = flavour
        self._compiled: wc.Component | None = compiled
        self.shape = shape
        self.name = name
        self.digest = digest
        self.from_cache = from_cache
        self.imports = codecs.imports
        self._codecs = codecs
        index = compiled.get_export_index(CALL_EXPORT)
        if index is None:
            raise AssertionError("the bridge has no call")
        self._index: wc.ExportIndex | None = index

    def __repr__(self) -> str:
        return f"Component({self.name!r}, {self.digest[:19]})"

    def code(self) -> tuple[wc.Component, wc.ExportIndex]:
        """wasmtime's compiled component and its only export.

        Raises:
            UsageError: The component is closed.
        """
        compiled, index = self._compiled, self._index
        if compiled is None or index is None:
            raise UsageError(f"{self.name} is closed", hint="load it again")
        return compiled, index

    def close(self) -> None:
        """Let go of the native code and of its file; idempotent. Instances that there are keep what they need."""
        # wasmtime's own `close` would free twice where an exception comes between its steps.
        self._compiled = self._index = None

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
        """How an export is called.

        Raises:
            UsageError: There is no such export.
        """
        try:
            return self._codecs.export(interface, function)
        except KeyError:
            raise UsageError(
                f"{self.name} exports no {function!r} in {interface or 'its world'!r}",
                hint="dataflare inspect lists what it exports",
            ) from None

    def import_codec(self, number: int) -> ImportCodec:
        """How the plugin calls one of the host's functions."""
        return self._codecs.host_function(number)
