"""The options of a host, and of one plugin."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

from dataflare.capabilities import clock, logging, metrics, secrets, state, tasks
from dataflare.capabilities.http_transport import Transport
from dataflare.data.batches import MAX_BATCH_BYTES
from dataflare.errors import ConfigError
from dataflare.grants import Grants
from dataflare.limits import Limits
from dataflare.runtime.pool import PoolSettings
from dataflare.security.admission import AdmittedPipeline

if TYPE_CHECKING:
    from dataflare.security.behaviour import Alert, BehaviourSettings

__all__ = ["InstanceOptions", "Isolation", "LoadOptions", "Services", "Watching", "Wrap", "WrapFactory"]

Isolation: TypeAlias = Literal["none", "process", "process-best-effort"]
"""Where a plugin's instances live: in the host's process, or each in one of its own."""

Wrap: TypeAlias = Callable[[str, str, Callable[..., Any]], Callable[..., Any]]
"""Given an interface's full name, a function's name and the function, returns the plugin's replacement for it."""

WrapFactory: TypeAlias = Callable[[str, str], Wrap]
"""Given a plugin's name and its pipeline's, returns its `Wrap`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The implementations of the capabilities, for all plugins of a host.

    Args:
        state_store: Where plugins with the grant `state` keep their values; the caller closes it. In memory by default.
        metrics: Where plugins' numbers go; kept in memory by default.
        log_sink: Makes the sink of a plugin's log, given the plugin's name; the standard library's logging by default.
        clock: The time that plugins see, and that log limits use; the machine's by default.
        secrets: The store of granted secrets; `None` for the environment (`EnvironmentSecrets`).
        transport: Makes what carries a plugin's HTTP requests; `None` for the network.
        progress: Where plugins' progress goes; by default the last of each is kept.
        max_batch_bytes: The largest batch or text that a plugin may make, in bytes.
        shared_bytes: How many bytes the plugins of a pipeline may share, all batches together, 1 to 2**32 - 1.
        wrap: A hook around every host function, for example for tracing. Given the names of a plugin and of its
            pipeline, it returns a callable that takes an interface's full name, a function's name and the function, and
            returns the function that the plugin gets. `None` for no hook.

    Raises:
        ConfigError: `max_batch_bytes` is below 1, or `shared_bytes` out of its range.
    """

    state_store: state.StateStore = field(default_factory=state.MemoryStateStore)
    metrics: metrics.MetricsSink = field(default_factory=metrics.MemoryMetrics)
    log_sink: Callable[[str], logging.LogSink] = logging.StandardLogSink
    clock: clock.Clock = field(default_factory=clock.SystemClock)
    secrets: secrets.SecretStore | None = None
    transport: Callable[[], Transport] | None = None
    progress: tasks.ProgressSink = field(default_factory=tasks.LatestProgress)
    max_batch_bytes: int = MAX_BATCH_BYTES
    shared_bytes: int = 512 * 2**20
    wrap: WrapFactory | None = None

    def __post_init__(self) -> None:
        if self.max_batch_bytes < 1:
            raise ConfigError(f"{self.max_batch_bytes!r} is not at least 1", where="max_batch_bytes")
        if not 1 <= self.shared_bytes < 2**32:
            raise ConfigError(f"{self.shared_bytes!r} is not in 1 to 2**32 - 1", where="shared_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """How calls are compared with a plugin's usual behaviour. Needs the extra `behaviour`.

    Args:
        behaviour: How plugins are watched: all of them, or some by their name.
        on_alert: Called with each `Alert` about unusual behaviour, in the thread that called the plugin.
        profiles: The folder for the profiles, `PIPELINE/PLUGIN.json`; `None` keeps them in memory.
    """

    behaviour: BehaviourSettings | Mapping[str, BehaviourSettings]
    on_alert: Callable[[Alert], None] | None = None
    profiles: str | os.PathLike[str] | None = None


class InstanceOptions(TypedDict, total=False):
    """What `Host.load` and `Host.instantiate` both take by keyword; `load` describes each."""

    name: str | None
    config: Mapping[str, Any] | None
    grants: Grants | None
    limits: Limits | None
    pipeline: str | AdmittedPipeline
    signature: bytes | None
    certificate: bytes | None
    isolation: Isolation


class LoadOptions(InstanceOptions, total=False):
    """The arguments of `Host.load` by keyword, without `kind`; `load` describes each."""

    pool: PoolSettings | None
