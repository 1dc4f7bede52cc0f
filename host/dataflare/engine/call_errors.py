"""How the calls of one instance can fail: each cause as one of the package's errors."""

from __future__ import annotations

from collections.abc import Callable

from wasmtime import _bindings as raw

from dataflare.budgets import OverHostBytes, OverTime
from dataflare.engine.abi.bridge_memory import BrokenAddress, OverBudget
from dataflare.engine.abi.handles import TooManyHandles
from dataflare.engine.flat.faults import FAULTS, TOO_MANY_HANDLES
from dataflare.engine.flat.handles import MAX_HANDLES
from dataflare.engine.native.callbacks import Call
from dataflare.engine.native.capi import error_message, error_trace
from dataflare.engine.native.memories import MemoryBudget
from dataflare.engine.traps import cause_of, classify, placed_frames
from dataflare.errors import (
    CallCancelled,
    CallTimeout,
    CopyLimitExceeded,
    DataflareError,
    HandleLimitExceeded,
    HostBytesExceeded,
    HostShortage,
    LimitExceeded,
    OutputLimitExceeded,
    ProtocolFault,
    UnsupportedComponent,
)
from dataflare.limits import Limits
from dataflare.shortages import SHORTAGE_HINT
from dataflare.texts import cut, cut_name

__all__ = ["ENDINGS", "Endings"]

ENDINGS = (BrokenAddress, OverBudget, TooManyHandles, OverHostBytes, OverTime)
"""What code below the engine raises to end a call; `Endings.of` gives the error for each."""


class Endings:
    """Makes the errors of one instance.

    Args:
        plugin: The plugin's name.
        limits: The instance's ceilings.
        log_lines: Returns the plugin's last log lines.
    """

    __slots__ = ("_limits", "_log_lines", "_plugin", "export")

    def __init__(self, plugin: str, limits: Limits, log_lines: Callable[[], tuple[str, ...]]) -> None:
        self._plugin = plugin
        self._limits = limits
        self._log_lines = log_lines
        self.export = "instantiation"
        """The export that is being called."""

    def over(self, kind: type[LimitExceeded], text: str, hint: str) -> LimitExceeded:
        """Make the error for an exceeded limit."""
        return kind(text, plugin=self._plugin, export=self.export, log_lines=self._log_lines(), hint=hint)

    def over_copy(self) -> LimitExceeded:
        """Make the error for too many copied bytes."""
        return self.over(
            CopyLimitExceeded,
            f"copied more than copied_bytes = {self._limits.copied_bytes} in one call",
            "raise the limit, or let the plugin look at fewer columns at a time",
        )

    def over_output(self) -> LimitExceeded:
        """Make the error for a result that is too large."""
        return self.over(
            OutputLimitExceeded,
            f"would have returned more than output_bytes = {self._limits.output_bytes}",
            "raise the limit, or use smaller batches",
        )

    def of(self, cause: BaseException, *, over_budget: Callable[[], LimitExceeded]) -> DataflareError:
        """Make the error for one of `ENDINGS`.

        Args:
            cause: What was raised.
            over_budget: Makes the error if a read would have exceeded the memory's ceiling.
        """
        limits = self._limits
        match cause:
            case OverBudget():
                return over_budget()
            case TooManyHandles():
                return self.over(
                    HandleLimitExceeded,
                    f"held more than handles = {limits.handles}",
                    "raise the limit, or let the plugin drop handles as soon as it does not need them",
                )
            case OverHostBytes():
                return self.over(
                    HostBytesExceeded,
                    f"made the host keep more than host_memory_bytes = {limits.host_memory_bytes} for it",
                    "raise the limit, use smaller batches, or let the plugin drop batches as soon as it does not need"
                    " them",
                )
            case OverTime():
                return self.over(
                    CallTimeout,
                    f"took longer than call_timeout_s = {limits.call_timeout_s}; the last part was the host's own work",
                    "raise the limit, or use smaller batches",
                )
            case BrokenAddress():
                return ProtocolFault(str(cause), plugin=self._plugin, export=self.export, log_lines=self._log_lines())
        raise TypeError(f"{cause!r} does not end a call")

    def of_native(self, native: Call, memory_budget: MemoryBudget, *, interrupted: bool, fault: int) -> DataflareError:
        """Make the error for what ended wasm itself, such as a trap. Takes the outcome out of `native`.

        Args:
            native: What native code knows of the call.
            memory_budget: The instance's memories.
            interrupted: Whether the host ended the call.
            fault: 1 if a value did not fit into the host's memory; a key of `FAULTS`; 0 for none.
        """
        message = ""
        backtrace: tuple[str, ...] = ()
        if outcome := native.take_outcome():
            message = error_message(outcome)
            backtrace = placed_frames(message) or error_trace(outcome)
            raw.wasmtime_error_delete(outcome)
        limits, plugin, log_lines = self._limits, self._plugin, self._log_lines()
        if interrupted:
            return CallCancelled(
                "was ended by the host", plugin=plugin, export=self.export, backtrace=backtrace, log_lines=log_lines
            )
        if memory_budget.shortage:
            return HostShortage(
                f"the system has no memory for plugin {plugin!r}, which is within its limit of"
                f" memory_bytes = {limits.memory_bytes}",
                hint=SHORTAGE_HINT,
            )
        if fault == TOO_MANY_HANDLES:
            return self.over(
                HandleLimitExceeded,
                f"held more than {MAX_HANDLES:,} handles",
                "let the plugin drop handles as soon as it does not need them",
            )
        if fault in FAULTS:
            return ProtocolFault(
                f"broke the canonical ABI: {FAULTS[fault]}",
                plugin=plugin,
                export=self.export,
                backtrace=backtrace,
                log_lines=log_lines,
                hint="the plugin's bindings or its toolchain are at fault",
            )
        if "matching implementation was not found in the linker" in message:
            found = message.split("`")
            return UnsupportedComponent(
                f"imports {cut_name(found[1] if len(found) > 2 else 'something')} in a form that this host does not"
                f" have: {cut(cause_of(message))}",
                component=plugin,
                hint="build it for WASI 0.2",
            )
        return classify(
            message,
            plugin=plugin,
            export=self.export,
            backtrace=backtrace,
            log_lines=log_lines,
            timeout_s=limits.call_timeout_s,
            fuel=limits.fuel,
            memory_bytes=limits.memory_bytes,
            memory_refused=memory_budget.refused,
            overflow=fault == 1,
        )
