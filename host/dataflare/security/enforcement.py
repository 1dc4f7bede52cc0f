"""Audit and revocation of a plugin's host functions at run time."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from dataflare.errors import PermissionDenied
from dataflare.interfaces import INTERFACES, NEEDS_GRANT, interface_of
from dataflare.locks import Lock
from dataflare.security.audit import AuditEvent, AuditLog, Redactor, utc_now
from dataflare.security.capability import Capability
from dataflare.security.uses import denial_reason, refused, sound, used_by, written
from dataflare.values import Ok

__all__ = ["MAX_LINES", "MAX_OBJECTS", "REST_OBJECT", "Auditor", "Revocations"]

_AUDITED_EACH: Final = frozenset(name for name, each in INTERFACES.items() if each.audited_each)
"""Interfaces whose allowed uses are all written, even repeated ones."""

REST_OBJECT: Final = "*"
"""Stands for all objects beyond `MAX_OBJECTS`; no name has this form."""

MAX_OBJECTS: Final = 1_000
"""Maximum number of one plugin's distinct uses that are written by name; the others are counted together."""

MAX_LINES: Final = 1_000
"""Maximum number of lines for one call of a plugin; one more says how many uses were left out."""

_MAX_REASON: Final = 200
_MAX_TEXT: Final = 4_096


class Revocations:
    """The capabilities revoked at run time. Any thread may use it; a change applies from the plugin's next call on."""

    def __init__(self) -> None:
        self._lock = Lock()
        # Replaced as a whole, so that a reader needs no lock.
        self._revoked: Mapping[str, frozenset[Capability]] = {}

    def revoke(self, plugin: str, capability: Capability | str) -> None:
        """Revoke a capability, in the form of `Capability.parse`, or a whole interface by its short name.

        Raises:
            ConfigError: There is no such capability.
        """
        each = Capability.parse(capability) if isinstance(capability, str) else capability
        with self._lock:
            self._revoked = {**self._revoked, plugin: self._revoked.get(plugin, frozenset()) | {each}}

    def revoke_all(self, plugin: str) -> None:
        """Revoke everything that needs a grant."""
        with self._lock:
            everything = frozenset(map(Capability, NEEDS_GRANT))
            self._revoked = {**self._revoked, plugin: self._revoked.get(plugin, frozenset()) | everything}

    def restore(self, plugin: str, capability: Capability | str) -> None:
        """Undo a revocation; does nothing if the capability was not revoked.

        Raises:
            ConfigError: There is no such capability.
        """
        each = Capability.parse(capability) if isinstance(capability, str) else capability
        with self._lock:
            self._revoked = {**self._revoked, plugin: self._revoked.get(plugin, frozenset()) - {each}}

    def of(self, plugin: str) -> frozenset[Capability]:
        """Return the revoked capabilities of a plugin."""
        return self._revoked.get(plugin, frozenset())

    def is_revoked(self, plugin: str, capability: Capability) -> bool:
        """Whether a capability of a plugin is revoked, by itself or with its interface."""
        revoked = self._revoked.get(plugin)
        return revoked is not None and (capability in revoked or capability.whole in revoked)


class Auditor:
    """Audits the host functions of one plugin in one pipeline, and refuses those that were revoked.

    Any thread may use it. A call fails if its event cannot be written to the log.

    Args:
        plugin: The plugin's name.
        pipeline: The pipeline's name; empty outside any pipeline.
        log: Receives the events.
        revocations: The revoked capabilities; `None` if nothing can be revoked.
        redactor: Masks secrets in reasons; it learns those that the plugin gets from `secrets`.
        now: Returns the current time.
    """

    def __init__(
        self,
        plugin: str,
        *,
        log: AuditLog,
        pipeline: str = "",
        revocations: Revocations | None = None,
        redactor: Redactor | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._plugin = plugin
        self._pipeline = pipeline
        self._log = log
        self._revocations = revocations or Revocations()
        self._redactor = redactor or Redactor()
        self._now = now
        self._lock = Lock()
        self._counts: dict[tuple[str, str, str, str], int] = {}
        self._call = threading.local()
        self._handles: weakref.WeakKeyDictionary[Any, Capability] = weakref.WeakKeyDictionary()

    def wrap_imports(
        self, imports: Mapping[str, Mapping[str, Callable[..., Any]]]
    ) -> dict[str, dict[str, Callable[..., Any]]]:
        """Wrap every function of a plugin's imports, by the full name of the interface, as for
        `Component.instantiate`."""
        return {
            interface: {name: self.wrap(interface, name, function) for name, function in functions.items()}
            for interface, functions in imports.items()
        }

    def wrap(self, interface: str, function_name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function, so that its uses are logged, and refused after a revocation.

        A refusal is the function's own error (`denied` or `not-granted`, otherwise `other`) if its WIT has an error,
        and `PermissionDenied` if it has none. Functions of interfaces that need no grant are returned unchanged.

        Args:
            interface: The full name, such as `dataflare:host/files@1.0.0`.
            function_name: The function's name in the WIT, such as `open`.
            function: The capability's function.
        """
        short = interface_of(interface)
        if short not in NEEDS_GRANT:
            return function

        # `wraps` also copies the attributes by which the engine recognises some functions.
        @functools.wraps(function)
        def audited(*args: Any) -> Any:
            used = used_by(short, function_name, args)
            is_method = used is None
            if used is None:
                used = self._source_of(args[0] if args else None, short)
            if self._is_revoked(used, is_method):
                reason = f"{used} was revoked"
                self._record(short, function_name, used, "deny", reason)
                result = refused(interface, function_name, reason)
                if result is None:
                    raise PermissionDenied(reason, plugin=self._plugin, capability=str(used))
                return result
            try:
                result = function(*args)
            except BaseException as error:
                self._record(short, function_name, used, "allow", f"raised {type(error).__name__}")
                raise
            denied = denial_reason(result)
            if denied is not None:
                self._record(short, function_name, used, "deny", denied)
            elif not is_method:
                self._learn(short, used, result)
                self._record(short, function_name, used, "allow", "")
            return result

        return audited

    def request_refusal(self, origin: str, method: str, redirected: bool) -> str:
        """Say why an HTTP request may not be sent or read any further; empty if it may.

        A request of the plugin itself is already in the log; a request from a redirect is written to the log here.

        Args:
            origin: The request's origin, in the form of grants.
            method: The request's method.
            redirected: Whether it is about to be sent because of a redirect.
        """
        used = sound(Capability("http", origin, method))
        revoked = self._is_revoked(used, False)
        reason = f"{used} was revoked" if revoked else ""
        if redirected:
            self._record("http", "send", used, "deny" if revoked else "allow", reason or "redirected")
        return reason

    def record_passed_limit(self, limit: str, function: str, reason: str) -> None:
        """Log that the plugin was stopped by one of its limits.

        Args:
            limit: The limit's name in `dataflare.limits.Limits`.
            function: The called export.
            reason: What happened.
        """
        self._write("limits", function, f"limit:{limit}", "deny", 1, reason)

    def record_refused_dataset(self, function: str, dataset: str, reason: str) -> None:
        """Log that a dataset, or a column of it, is not granted.

        Args:
            function: The function of the source or destination.
            dataset: The dataset.
            reason: What is not granted.
        """
        self._write("datasets", function, f"datasets:{dataset}", "deny", 1, reason)

    def record_alert(self, feature: str, reason: str, *, refused: bool) -> None:
        """Log that the plugin deviates from its usual behaviour.

        Args:
            feature: The deviating number, such as `calls.http`.
            reason: The usual and the current value.
            refused: Whether its calls are refused from now on.
        """
        self._write("behaviour", "observe", f"behaviour:{feature}", "deny" if refused else "allow", 1, reason)

    def end_call(self) -> None:
        """At the end of a call in this thread, log how many uses had no line because there were too many."""
        left_out = max(0, getattr(self._call, "lines", 0) - MAX_LINES)
        self._call.lines = 0
        if left_out:
            reason = f"a call writes {MAX_LINES} lines: so many uses more were not written"
            self._write("audit", "end-call", "audit:left-out", "allow", left_out, reason)

    def flush(self) -> None:
        """Log the current number of each repeated use, if the log does not have it yet."""
        with self._lock:
            counts = dict(self._counts)
        for (capability, function, used, decision), count in counts.items():
            if count & (count - 1):
                self._write(capability, function, used, decision, count, "so far")

    def _is_revoked(self, used: Capability, is_method: bool) -> bool:
        if not self._revocations.of(self._plugin):
            return False
        if self._revocations.is_revoked(self._plugin, used):
            return True
        # A handle of unknown origin may refer to something that was revoked.
        return (is_method and used == used.whole) and any(
            each.interface == used.interface for each in self._revocations.of(self._plugin)
        )

    def _source_of(self, handle: Any, short: str) -> Capability:
        try:
            with self._lock:
                return self._handles.get(handle) or Capability(short)
        except TypeError:
            return Capability(short)

    def _learn(self, short: str, used: Capability, result: Any) -> None:
        if not isinstance(result, Ok):
            return
        if short == "secrets" and isinstance(result.value, str):
            self._redactor.add(result.value)
        elif short == "files" and hasattr(result.value, "close_handle"):
            try:
                with self._lock:
                    self._handles[result.value] = used
            except TypeError:
                return  # cannot be recorded: `_is_revoked` treats it as possibly revoked

    def _record(self, capability: str, function: str, used: Capability, decision: str, reason: str) -> None:
        key = (capability, function, written(used), decision)
        each_use = decision == "allow" and capability in _AUDITED_EACH
        with self._lock:
            if key not in self._counts and len(self._counts) >= MAX_OBJECTS:
                # The plugin may invent names: they are counted together, so that neither memory nor log grows with
                # them.
                key = (capability, function, f"{used.interface}:{REST_OBJECT}", decision)
                reason, each_use = f"beyond {MAX_OBJECTS} different uses; the last: {reason}", False
            count = self._counts[key] = self._counts.get(key, 0) + 1
        if not each_use and count & (count - 1):
            return
        lines = self._call.lines = getattr(self._call, "lines", 0) + 1
        if lines <= MAX_LINES:
            self._write(*key, 1 if each_use else count, reason)

    def _write(self, capability: str, function: str, used: str, decision: str, count: int, reason: str) -> None:
        self._log.record(
            AuditEvent.model_validate(
                {
                    "when": self._now(),
                    "plugin": self._plugin,
                    "pipeline": self._pipeline,
                    "capability": capability,
                    "function": function[:300],
                    # A plugin may use a secret as a name, for example of a directory.
                    "object": self._redactor.redact(used[:_MAX_TEXT])[:300],
                    "decision": decision,
                    "count": count,
                    "reason": self._redactor.redact(reason[:_MAX_TEXT])[:_MAX_REASON],
                }
            )
        )
