"""Every error that the package raises on purpose.

```
DataflareError
├── ConfigError            what the caller wrote is wrong: a pipeline, a grant, an option
├── UsageError             a call that does not fit: out of order, closed, wrong type of argument
│   └── ValueTypeError     a value does not fit its WIT type (also a TypeError)
├── ComponentError         a file that is no plugin
│   ├── NotAComponent      not WebAssembly, a core module, truncated
│   ├── UnsupportedComponent  valid, but with something that the engine cannot carry
│   └── WorldMismatch      a component for no world: a missing export, an unknown import
├── PermissionDenied       the plugin needs what its operator did not grant
├── PluginError            the plugin answered with an error: its own `err`, as a value
└── PluginFault            the plugin failed, and its instance is gone
    ├── CallTimeout        passed its wall-time limit
    ├── OutOfFuel          used up its fuel
    ├── MemoryLimitExceeded  wanted more memory or table space than its limit
    ├── StackOverflow      nested too deeply
    ├── GuestPanic         aborted, or trapped by itself
    └── ProtocolFault      broke the canonical ABI: a dropped handle, invalid UTF-8, an address out of bounds
```

An exception that a host function raises is none of these: it reaches the caller of the plugin unchanged.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "CallTimeout",
    "ComponentError",
    "ConfigError",
    "DataflareError",
    "GuestPanic",
    "MemoryLimitExceeded",
    "NotAComponent",
    "OutOfFuel",
    "PermissionDenied",
    "PluginError",
    "PluginFault",
    "ProtocolFault",
    "StackOverflow",
    "UnsupportedComponent",
    "UsageError",
    "ValueTypeError",
    "WorldMismatch",
]


class DataflareError(Exception):
    """The root of all errors of this package.

    Args:
        message: What went wrong, where, for people.
        hint: What to do about it; empty where there is nothing to say.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class ConfigError(DataflareError):
    """What the caller wrote is wrong. `where` is `file:line` or the dotted path of the key."""

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.where = where


class UsageError(DataflareError):
    """A call that does not fit: out of order, on something closed, with a wrong argument."""


class ValueTypeError(UsageError, TypeError):
    """A Python value does not fit its WIT type. `path` leads to it, such as `input.fields[2].name`."""

    def __init__(self, message: str, *, path: str = "", hint: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message, hint=hint)
        self.path = path


class ComponentError(DataflareError):
    """A file that is no plugin. `component` names the file."""

    def __init__(self, message: str, *, component: str = "", hint: str = "") -> None:
        super().__init__(f"{component}: {message}" if component else message, hint=hint)
        self.component = component


class NotAComponent(ComponentError):
    """Not WebAssembly, a core module instead of a component, or a damaged file."""


class UnsupportedComponent(ComponentError):
    """A valid component with something that the engine cannot carry, such as a stream."""


class WorldMismatch(ComponentError):
    """A component for none of the worlds: an export is missing, or an import is unknown."""


class PermissionDenied(DataflareError):
    """A plugin needs what its operator did not grant.

    `plugin` names the plugin, `capability` what it asked for, such as `dataflare:host/files`.
    """

    def __init__(self, message: str, *, plugin: str = "", capability: str = "", hint: str = "") -> None:
        super().__init__(f"plugin {plugin!r}: {message}" if plugin else message, hint=hint)
        self.plugin = plugin
        self.capability = capability


class PluginError(DataflareError):
    """A plugin answered with an error. Its instance lives on.

    `error` is the WIT value (`case` and `value`), `retryable` whether a retry can help, `retry_after_ms` when, where the plugin
    said so.
    """

    def __init__(
        self,
        message: str,
        *,
        plugin: str = "",
        export: str = "",
        error: Any = None,
        retryable: bool = False,
        retry_after_ms: int | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(f"plugin {plugin!r}, {export}: {message}", hint=hint)
        self.plugin = plugin
        self.export = export
        self.error = error
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms


class PluginFault(DataflareError):
    """A plugin failed in a way that its instance did not survive.

    `plugin` and `export` say where, `backtrace` is the guest's (innermost frame first), `log_lines` the last lines that it
    logged or wrote to its standard error.
    """

    def __init__(
        self,
        message: str,
        *,
        plugin: str = "",
        export: str = "",
        backtrace: tuple[str, ...] = (),
        log_lines: tuple[str, ...] = (),
        hint: str = "",
    ) -> None:
        super().__init__(f"plugin {plugin!r}, {export}: {message}", hint=hint)
        self.plugin = plugin
        self.export = export
        self.backtrace = backtrace
        self.log_lines = log_lines

    def __str__(self) -> str:
        parts = [super().__str__()]
        if self.log_lines:
            parts.append("  last log lines:\n" + "\n".join(f"    {line}" for line in self.log_lines[-10:]))
        if self.backtrace:
            parts.append("  guest backtrace:\n" + "\n".join(f"    {frame}" for frame in self.backtrace[:20]))
        return "\n".join(parts)


class CallTimeout(PluginFault):
    """A call passed its wall-time limit."""


class OutOfFuel(PluginFault):
    """A call used up its fuel."""


class MemoryLimitExceeded(PluginFault):
    """The plugin wanted more memory or table space than its limit, and did not survive the refusal."""


class StackOverflow(PluginFault):
    """The plugin nested its calls too deeply."""


class GuestPanic(PluginFault):
    """The plugin aborted (a panic, an uncaught exception) or trapped by itself (a division by zero)."""


class ProtocolFault(PluginFault):
    """The plugin broke the canonical ABI: a dropped handle, invalid UTF-8, an address out of bounds."""
