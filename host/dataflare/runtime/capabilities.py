"""The functions of the host that one plugin may call."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, Protocol

from dataflare.capabilities import (
    clock,
    config,
    logging,
    metrics,
    plugins,
    secrets,
    shared,
    state,
    tasks,
)
from dataflare.capabilities.http_transport import Transport
from dataflare.errors import LimitExceeded
from dataflare.grants import Grants
from dataflare.interfaces import FREE, OFFERED, provider_of
from dataflare.limits import Limits
from dataflare.runtime.options import Services, Wrap

__all__ = ["LIMIT_METRIC", "Audit", "Capabilities", "Context", "PipelineServices"]

LIMIT_METRIC: Final = "dataflare:limit_exceeded"
"""The counter of exceeded limits, by its label `limit`; no plugin can have one of this name."""


class Audit(Protocol):
    """Sees every use of a capability, and every exceeded limit."""

    def wrap(self, interface: str, function_name: str, function: Callable[..., Any]) -> Callable[..., Any]: ...
    def request_refusal(self, origin: str, method: str, redirected: bool) -> str: ...
    def record_passed_limit(self, limit: str, function: str, reason: str) -> None: ...
    def record_refused_dataset(self, function: str, dataset: str, reason: str) -> None: ...
    def end_call(self) -> None: ...
    def flush(self) -> None: ...


_ENGINE_MARKS = ("takes_views", "text_as_bytes")
"""Attributes of functions that the engine reads; a wrapper must keep them."""

_NO_LIMITS_GIVEN: Final = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineServices:
    """What the plugins of one pipeline share: `plugins`, `shared`, and the cancellation of `tasks`."""

    plugins: plugins.PluginCaller
    shared: shared.SharedStore
    cancellation: tasks.CancellationToken


@dataclass(slots=True, kw_only=True)
class Context:
    """The inputs of one plugin's capabilities: `provide(context)` of each uses what it needs.

    Args:
        plugin: The plugin's name.
        pipeline: The pipeline's name, under which its state is stored.
        grants: What the operator allows the plugin.
        limits: The ceilings of its instances.
        settings: Its configuration.
        log: Its log.
        request_refusal: Given an origin, a method, and whether a redirect led there, returns why no request may go
            there; empty if it may.
        at_end_of_call: Registers functions that must run after each call of the plugin.
        resources: Objects that are closed with the plugin.
        dropped_before: The number of events that had been dropped from the log before the current call.
        remaining_s: Returns the seconds left for the plugin call that this thread is in.
        write_refusal: Given an open directory and a name in it, returns why no plugin may write or delete the file;
            empty if it may.

    The other attributes are those of `Services` and `PipelineServices`.
    """

    plugin: str
    pipeline: str
    grants: Grants
    limits: Limits
    settings: config.Config
    log: logging.PluginLog
    state_store: state.StateStore
    metrics: metrics.MetricsSink
    clock: clock.Clock
    secrets: secrets.SecretStore | None
    transport: Callable[[], Transport] | None
    progress: tasks.ProgressSink
    max_batch_bytes: int
    remaining_s: Callable[[], float]
    write_refusal: Callable[[int, str], str]
    request_refusal: Callable[[str, str, bool], str]
    plugins: plugins.PluginCaller
    shared: shared.SharedStore
    cancellation: tasks.CancellationToken
    at_end_of_call: Callable[[Callable[[], None]], None]
    resources: ExitStack = field(default_factory=ExitStack)
    dropped_before: int = 0

    def count_limit(self, limit: str, amount: int = 1, /) -> None:
        """Count in the metrics that the plugin exceeded a limit."""
        self.metrics.add_to_counter(self.plugin, LIMIT_METRIC, float(amount), (("limit", limit),))


class Capabilities:
    """The host functions that one plugin may call: those of imported interfaces that are free or granted.

    Any thread may use it. It must be closed.

    Args:
        services: The implementations.
        shared: The implementations that the plugin's pipeline shares.
        grants: What the operator allows the plugin.
        wanted: The full names of all interfaces that the plugin imports, including those of other packages.
        settings: The plugin's configuration.
        plugin: The plugin's name, for its log, its metrics and its part of the state.
        pipeline: The pipeline's name, for its part of the state.
        limits: The ceilings of its instances.
        audit: The outermost wrapper; records every use of what needs a grant. `None` for no audit.
        count: Wraps every function to count it; `None` for no counting.
        remaining_s: As in `Context`.
        write_refusal: As in `Context`.

    Raises:
        ConfigError: A granted directory is missing, or secrets are granted and there is no store.
    """

    def __init__(
        self,
        services: Services,
        shared: PipelineServices,
        *,
        grants: Grants,
        wanted: Iterable[str],
        settings: config.Config,
        plugin: str,
        pipeline: str,
        limits: Limits = _NO_LIMITS_GIVEN,
        audit: Audit | None = None,
        count: Wrap | None = None,
        remaining_s: Callable[[], float] = lambda: math.inf,
        write_refusal: Callable[[int, str], str] = lambda _folder, _name: "",
    ) -> None:
        log_limits = logging.LogLimits(events_per_s=limits.log_events_per_s, bytes_per_s=limits.log_bytes_per_s)
        self.log = logging.PluginLog(services.log_sink(plugin), limits=log_limits, clock=services.clock)
        self._audit = audit
        self._wrap = None if services.wrap is None else services.wrap(plugin, pipeline)
        self._wrap_to_count = count
        self._after_call: list[Callable[[], None]] = []
        self._context = Context(
            plugin=plugin,
            pipeline=pipeline,
            grants=grants,
            limits=limits,
            settings=settings,
            log=self.log,
            state_store=services.state_store,
            metrics=services.metrics,
            clock=services.clock,
            secrets=services.secrets,
            transport=services.transport,
            progress=services.progress,
            max_batch_bytes=services.max_batch_bytes,
            remaining_s=remaining_s,
            write_refusal=write_refusal,
            request_refusal=_nothing_refused if audit is None else audit.request_refusal,
            plugins=shared.plugins,
            shared=shared.shared,
            cancellation=shared.cancellation,
            at_end_of_call=self._after_call.append,
        )
        allowed = OFFERED & (FREE | grants.capabilities)
        self.functions: dict[str, dict[str, Callable[..., Any]]] = {}
        try:
            for name in sorted(wanted):
                row = provider_of(name)
                if row is not None and row.name in allowed:
                    # Imported on demand: few plugins make requests or use expressions, and these modules are slow to
                    # load.
                    made = import_module(f"dataflare.{row.module}").provide(self._context) if row.module else {}
                    self.functions[name] = self._wrapped(row.full_name, made)
        except BaseException:
            self.close()
            raise

    def end_call(self) -> None:
        """Run the functions that wait for the end of a call of the plugin."""
        for action in self._after_call:
            action()
        if self.log.dropped != self._context.dropped_before:
            self.log.tell_dropped()
            self._context.count_limit("log", self.log.dropped - self._context.dropped_before)
            self._context.dropped_before = self.log.dropped
        if self._audit is not None:
            self._audit.end_call()

    def passed_limit(self, fault: LimitExceeded) -> None:
        """Count an instance that was lost to a limit, and write it to the audit log."""
        self._context.count_limit(fault.limit)
        if self._audit is not None:
            self._audit.record_passed_limit(fault.limit, fault.export, fault.message)

    def refused_dataset(self, function: str, dataset: str, why: str) -> None:
        """Write to the audit log that a dataset was refused."""
        if self._audit is not None:
            self._audit.record_refused_dataset(function, dataset, why)

    def close(self) -> None:
        """Close directories and connections; idempotent."""
        try:
            self.log.tell_dropped(at_last=True)
            if self._audit is not None:
                self._audit.flush()
        finally:
            self._context.resources.close()

    def _wrapped(self, interface: str, functions: dict[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
        audited = None if self._audit is None else self._audit.wrap
        wraps = [wrap for wrap in (self._wrap, audited, self._wrap_to_count) if wrap is not None]
        wrapped = {}
        for name, function in functions.items():
            outer = function
            for wrap in wraps:
                outer = wrap(interface, name, outer)
            lost = {key: True for key in _ENGINE_MARKS if hasattr(function, key) and not hasattr(outer, key)}
            if lost:
                outer = functools.partial(outer)
                vars(outer).update(lost)
            wrapped[name] = outer
        return wrapped


def _nothing_refused(_origin: str, _method: str, _redirected: bool) -> str:
    return ""
