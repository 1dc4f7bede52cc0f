"""The errors that the package raises on purpose.

```
DataflareError
├── ConfigError            what the caller wrote is wrong: a pipeline, a grant, an option
├── UsageError             a wrong call: out of order, closed, wrong type of argument
│   └── ValueTypeError     a value does not fit its WIT type (also a TypeError)
├── ComponentError         a file that is not a plugin
│   ├── NotAComponent      not WebAssembly, a core module, truncated
│   ├── UnsupportedComponent  valid, but with something that the engine cannot carry
│   └── WorldMismatch      a component that fits no world: a missing export, an unknown import
├── HostShortage           the system has no memory left, for a plugin within its limits or the host's own work
├── PermissionDenied       the plugin needs what its operator did not grant
├── AuditFailed            a use could not be written to the audit log, so it was not allowed
├── PluginError            the plugin answered with an error: its own `err`, as a value
└── PluginFault            the plugin failed, and its instance is gone
    ├── LimitExceeded      exceeded one of its limits
    │   ├── CallTimeout            wall time of a call
    │   ├── OutOfFuel              work of a call
    │   ├── MemoryLimitExceeded    linear memory
    │   ├── TableLimitExceeded     elements of a table, from the start
    │   ├── InstanceLimitExceeded  core instances, memories and tables within it
    │   ├── StackOverflow          depth of its calls
    │   ├── HandleLimitExceeded    batches, open files and similar objects held at a time
    │   ├── HostBytesExceeded      memory that the host keeps for it
    │   ├── HostCallLimitExceeded  calls of the host within one call
    │   ├── HostCallRateExceeded   calls of the host in a second
    │   ├── CopyLimitExceeded      bytes copied in and out within one call
    │   ├── OutputLimitExceeded    rows or bytes that a call returns
    │   └── LogLimitExceeded       log events over the rate within one call
    ├── CallCancelled      the host ended the call, since it was interrupted
    ├── WorkerDied         its worker process died (isolation)
    ├── GuestPanic         aborted, or trapped by itself
    └── ProtocolFault      broke the canonical ABI: a dropped handle, invalid UTF-8, an address out of bounds
```

An exception that a host function raises is not one of these: it reaches the caller of the plugin unchanged.
"""

from __future__ import annotations

from typing import Any, Final

from dataflare.texts import LOG_CHARACTERS, cut, cut_frames

__all__ = [
    "AuditFailed",
    "CallCancelled",
    "CallTimeout",
    "ComponentError",
    "ConfigError",
    "CopyLimitExceeded",
    "DataflareError",
    "GuestPanic",
    "HandleLimitExceeded",
    "HostBytesExceeded",
    "HostCallLimitExceeded",
    "HostCallRateExceeded",
    "HostShortage",
    "InstanceLimitExceeded",
    "LimitExceeded",
    "LogLimitExceeded",
    "MemoryLimitExceeded",
    "NotAComponent",
    "OutOfFuel",
    "OutputLimitExceeded",
    "PermissionDenied",
    "PluginError",
    "PluginFault",
    "ProtocolFault",
    "StackOverflow",
    "TableLimitExceeded",
    "UnsupportedComponent",
    "UsageError",
    "ValueTypeError",
    "WorkerDied",
    "WorldMismatch",
]

MAX_SHOWN_LOG_LINES: Final = 10
MAX_SHOWN_FRAMES: Final = 20
"""How much of a fault's log and of its backtrace is in its text."""


class DataflareError(Exception):
    """The root of all errors of this package.

    Args:
        message: What went wrong, where, for people.
        hint: What to do about it; empty if there is nothing to say.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        # Whatever a file or a plugin has put into it: nobody reads more, and a terminal takes a minute for megabytes.
        message = cut(message, LOG_CHARACTERS)
        super().__init__(message)
        self.message = message
        self.hint = cut(hint, LOG_CHARACTERS)

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class ConfigError(DataflareError):
    """What the caller wrote is wrong. `where` is `file:line` or the dotted path of the key."""

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message, hint=hint)
        self.where = where


class UsageError(DataflareError):
    """A wrong call: out of order, on something closed, with a wrong argument."""


class ValueTypeError(UsageError, TypeError):
    """A Python value does not fit its WIT type. `path` leads to it, such as `input.fields[2].name`."""

    def __init__(self, message: str, *, path: str = "", hint: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message, hint=hint)
        self.path = path


class ComponentError(DataflareError):
    """A file that is not a plugin. `component` names the file."""

    def __init__(self, message: str, *, component: str = "", hint: str = "") -> None:
        super().__init__(f"{component}: {message}" if component else message, hint=hint)
        self.component = component


class NotAComponent(ComponentError):
    """Not WebAssembly, a core module instead of a component, or a damaged file."""


class UnsupportedComponent(ComponentError):
    """A valid component with something that the engine cannot carry, such as a stream."""


class WorldMismatch(ComponentError):
    """A component that fits none of the worlds: an export is missing, or an import is unknown."""


class HostShortage(DataflareError):
    """The system has no memory or address space left for a plugin that is within its limits.

    The plugin is not at fault. In a run it may also be the host's own work that needs more.
    """


class PermissionDenied(DataflareError):
    """A plugin needs what its operator did not grant.

    `plugin` names the plugin, `capability` what it asked for, such as `dataflare:host/files`. `missing` has the short
    names of all interfaces that it imports without a grant.
    """

    def __init__(
        self, message: str, *, plugin: str = "", capability: str = "", missing: tuple[str, ...] = (), hint: str = ""
    ) -> None:
        super().__init__(f"plugin {plugin!r}: {message}" if plugin else message, hint=hint)
        self.plugin = plugin
        self.capability = capability
        self.missing = missing


class AuditFailed(DataflareError):
    """The audit log cannot be written, for example on a full disk; the plugin whose use was not logged is stopped.

    `log` names the log.
    """

    def __init__(self, message: str, *, log: str = "", hint: str = "") -> None:
        super().__init__(f"{log}: {message}" if log else message, hint=hint)
        self.log = log


class PluginError(DataflareError):
    """A plugin answered with an error. Its instance still works.

    `error` is the WIT value (`case` and `value`), `retryable` whether a retry can help, `retry_after_ms` when, if the
    plugin said so. The text is cut (see `dataflare.texts`).
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
        super().__init__(f"plugin {plugin!r}, {export}: {cut(message)}", hint=hint)
        self.plugin = plugin
        self.export = export
        self.error = error
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms


class PluginFault(DataflareError):
    """A plugin failed, and its instance did not survive.

    `plugin` and `export` say where, `backtrace` is the guest's (innermost frame first), `log_lines` the last lines that
    it logged or wrote to its standard error. All of them are cut (see `dataflare.texts`).
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
        super().__init__(f"plugin {plugin!r}, {export}: {cut(message)}", hint=hint)
        self.plugin = plugin
        self.export = export
        self.backtrace = cut_frames(backtrace)
        self.log_lines = tuple(cut(line, LOG_CHARACTERS) for line in log_lines)

    def __str__(self) -> str:
        parts = [super().__str__()]
        if self.log_lines:
            parts.append(
                "  last log lines:\n" + "\n".join(f"    {line}" for line in self.log_lines[-MAX_SHOWN_LOG_LINES:])
            )
        if self.backtrace:
            parts.append(
                "  guest backtrace:\n" + "\n".join(f"    {frame}" for frame in self.backtrace[:MAX_SHOWN_FRAMES])
            )
        return "\n".join(parts)


class LimitExceeded(PluginFault):
    """A plugin exceeded one of its limits. `limit` is the limit's name in `dataflare.Limits`."""

    limit: str = ""


class CallTimeout(LimitExceeded):
    """A call exceeded its wall-time limit."""

    limit = "call_timeout_s"


class OutOfFuel(LimitExceeded):
    """A call used up its fuel."""

    limit = "fuel"


class MemoryLimitExceeded(LimitExceeded):
    """The plugin asked for more memory than its limit, and did not survive the refusal."""

    limit = "memory_bytes"


class TableLimitExceeded(LimitExceeded):
    """A table of the plugin is too large from the start. Growing it later only fails inside the plugin."""

    limit = "table_elements"


class InstanceLimitExceeded(LimitExceeded):
    """The plugin has more core instances, memories or tables than its limits."""

    limit = "instances"


class StackOverflow(LimitExceeded):
    """The plugin nested its calls too deeply."""

    limit = "stack"


class HandleLimitExceeded(LimitExceeded):
    """The plugin held more batches, open files and similar objects at a time than its limit."""

    limit = "handles"


class HostBytesExceeded(LimitExceeded):
    """The host would have kept more memory for the plugin (batches, columns, texts, bodies) than its limit."""

    limit = "host_memory_bytes"


class HostCallLimitExceeded(LimitExceeded):
    """The plugin called the host more often within one call than its limit."""

    limit = "host_calls"


class HostCallRateExceeded(LimitExceeded):
    """The plugin called the host more often in a second than its limit."""

    limit = "host_calls_per_s"


class CopyLimitExceeded(LimitExceeded):
    """One call would have copied more bytes into and out of the plugin than its limit."""

    limit = "copied_bytes"


class OutputLimitExceeded(LimitExceeded):
    """A call would have returned more rows or bytes than its limit."""

    limit = "output_bytes"


class LogLimitExceeded(LimitExceeded):
    """The plugin kept logging after the rate limit had dropped too many events of the call."""

    limit = "log_dropped_events"


class CallCancelled(PluginFault):
    """The host ended the call because the run was interrupted."""


class WorkerDied(PluginFault):
    """The worker process of the plugin's instance died."""


class GuestPanic(PluginFault):
    """The plugin aborted (a panic, an uncaught exception) or trapped by itself (a division by zero)."""


class ProtocolFault(PluginFault):
    """The plugin broke the canonical ABI: a dropped handle, invalid UTF-8, an address out of bounds."""
