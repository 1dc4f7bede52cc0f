"""A compiled plugin, from which instances are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dataflare.engine.abi.types import ComponentType
from dataflare.engine.call_codecs import CallCodecs
from dataflare.engine.compiled import CompiledComponent
from dataflare.engine.host_functions import bind
from dataflare.engine.instance import Instance
from dataflare.errors import UsageError
from dataflare.limits import Limits

__all__ = ["Component"]


class Component(CompiledComponent):
    """A compiled plugin. Made by `Engine.load`. Any thread may use it. It must not outlive its engine."""

    def with_types(self, shape: ComponentType) -> Component:
        """Return the same component with the caller's Python classes for values; each of the two must be closed.

        Args:
            shape: The component's own type, in which `made` names the Python classes.

        Raises:
            UsageError: The component is closed.
        """
        compiled, _ = self.code()
        return Component(
            self.profile,
            compiled,
            shape,
            CallCodecs(shape),
            name=self.name,
            digest=self.digest,
            from_cache=self.from_cache,
        )

    def instantiate(
        self,
        host: Mapping[str, Mapping[str, Callable[..., Any]]],
        *,
        limits: Limits | None = None,
        log_lines: Callable[[], tuple[str, ...]] = tuple,
        stderr: Callable[[str], None] | None = None,
    ) -> Instance:
        """Make an instance; the plugin's start code runs now.

        Args:
            host: The functions that the plugin imports, by interface and by name in the WIT.
            limits: Ceilings of this instance; `None` for the defaults.
            log_lines: Returns the plugin's last log lines, for reports of faults.
            stderr: Called with each line that the plugin writes to its standard error; `None` drops them.

        Raises:
            ConfigError: A function is missing, or the limits do not fit how the component was loaded.
            PluginFault: The plugin failed at its start.
        """
        limits = limits or Limits()
        for what, wanted, have in (
            ("fuel", limits.fuel is not None, self.profile.fuel),
            ("limits of time", limits.call_timeout_s is not None, self.profile.timed),
        ):
            if wanted != have:
                raise UsageError(
                    f"{self.name} was compiled {'with' if have else 'without'} {what}",
                    hint="Engine.load takes fuel and timed, which must fit Limits.fuel and Limits.call_timeout_s",
                )
        return Instance(self, bind(self.imports, host, component=self.name), limits, log_lines, stderr)
