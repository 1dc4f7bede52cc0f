"""Loading of plugins: the component's type is read, its permissions are decided, and only then is it compiled."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from dataflare.capabilities.config import PluginConfig
from dataflare.engine.abi.types import ComponentType
from dataflare.errors import ConfigError, WorldMismatch
from dataflare.grants import Grants
from dataflare.interfaces import is_wasi
from dataflare.limits import Limits
from dataflare.runtime.arguments import ComponentFile
from dataflare.runtime.capabilities import Capabilities, PipelineServices
from dataflare.runtime.destination import Destination
from dataflare.runtime.embedding import EmbeddedInstance
from dataflare.runtime.launch import read_metadata
from dataflare.runtime.loaded import Loaded
from dataflare.runtime.options import Isolation, Services, Watching, Wrap
from dataflare.runtime.plugin import Plugin, PluginParts
from dataflare.runtime.pool import PoolSettings
from dataflare.runtime.ports import Component, Engine, HostFunctions
from dataflare.runtime.processor import Processor
from dataflare.runtime.source import Source
from dataflare.runtime.transformer import Transformer
from dataflare.runtime.validator import Validator
from dataflare.runtime.worlds import check_grants, check_world
from dataflare.security.admission import Admission, Identity, PipelineIdentity
from dataflare.security.enforcement import Auditor
from dataflare.shortages import told_shortages
from dataflare.wit_types.types import Metadata

__all__ = ["KINDS", "Loader", "Order"]

KINDS: Final[Mapping[str, type[Plugin]]] = {
    each.kind: each for each in (Source, Destination, Processor, Transformer, Validator)
}
"""The classes of plugins, by kind."""

_STATEFUL: Final = frozenset({"source", "destination"})
_ONE_INSTANCE: Final = PoolSettings(maximum=1, idle_timeout_s=None)
_log = logging.getLogger("dataflare.host")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A request to load a component; `Host.load` describes each part.

    Args:
        file: The component.
        name: The plugin's name.
        pipeline: The pipeline that it belongs to.
        settings: Its configuration.
        grants: What it may use; with a policy, they narrow it. `None` means nothing, or all that the policy gives.
        limits: The ceilings of each instance; with a policy, the lower value of each applies.
        isolation: Where its instances live.
    """

    file: ComponentFile
    name: str
    pipeline: PipelineIdentity
    settings: PluginConfig
    grants: Grants | None
    limits: Limits | None
    isolation: Isolation


@dataclass(frozen=True, slots=True, kw_only=True)
class _Permissions:
    """The decisions about a component that are made before its content is read."""

    identity: Identity
    grants: Grants
    limits: Limits
    audit: Auditor | None


class Loader:
    """Loads for one host. Any thread may use it.

    Args:
        engine: Reads and compiles components.
        admission: Decides what may be loaded, and what it may do.
        services: The implementations of the capabilities.
        watching: How calls are compared with the usual behaviour; `None` for no comparison.
        loaded: The registry of what is loaded.
        remaining_s: Returns the seconds left for the plugin call that this thread is in.

    Raises:
        ConfigError: The folder of profiles has no usable path.
    """

    def __init__(
        self,
        engine: Engine,
        admission: Admission,
        services: Services,
        watching: Watching | None,
        *,
        loaded: Loaded,
        remaining_s: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._admission = admission
        self._services = services
        self._loaded = loaded
        self._remaining_s = remaining_s
        self._watchers = None
        if watching is not None:
            # Imported here: river is an extra, and slow to load.
            from dataflare.runtime.behaviour import Watchers

            self._watchers = Watchers(watching, metrics=services.metrics, remaining_s=remaining_s)

    def load(self, order: Order, *, kind: str | None, pool: PoolSettings | None) -> Plugin:
        """Load a plugin.

        Args:
            order: What is loaded, and how.
            kind: The required kind; `None` accepts any.
            pool: How many instances it has.

        Raises:
            DataflareError: As `Host.load`.
        """
        file, pipeline = order.file, order.pipeline
        with (
            self._admission.recorded(file.contents, name=order.name, pipeline=pipeline.name, function="load"),
            told_shortages(),
            ExitStack() as undo,
        ):
            permissions = self._permissions(order)
            watch = None
            if self._watchers is not None:
                watch = self._watchers.watch(
                    order.name,
                    pipeline.scope,
                    component=file.contents,
                    version=permissions.identity.needs.version,
                    audit=permissions.audit,
                    call_timeout_s=permissions.limits.call_timeout_s,
                )
            with self._engine.open(file.contents, **_engine_options(order, permissions.limits)) as found:
                own_kind = check_world(found.shape, component=file.name)
                if kind not in (None, own_kind):
                    raise WorldMismatch(f"is a {own_kind}, not a {kind}", component=file.name, hint="leave `kind` out")
                self._decide(order, permissions, found.shape)
                chosen_pool = _pool_of(own_kind, pool)
                capabilities = self._provide(
                    undo, order, permissions, found.shape, count=None if watch is None else watch.count
                )
                compiled = found.compile()
            may_use = ", ".join(sorted(permissions.grants.capabilities)) or "nothing"
            _log.debug("plugin %r: a %s from %s, may use %s", order.name, own_kind, file.name, may_use)
            parts = PluginParts(
                name=order.name,
                component=self._isolated(compiled, order),
                capabilities=capabilities,
                config=order.settings.get_all(),
                grants=permissions.grants,
                limits=permissions.limits,
                pool=chosen_pool,
                max_batch_bytes=self._services.max_batch_bytes,
                on_close=functools.partial(self._loaded.forget, pipeline.scope),
                remaining_s=self._remaining_s,
                watch=watch,
                datasets=permissions.grants.datasets,
            )
            plugin = KINDS[own_kind](parts)
            # From here on it is the plugin that lets go of all this.
            undo.pop_all()
        return self._loaded.keep(pipeline.scope, plugin)

    def instantiate(
        self, order: Order, *, fit: Callable[[ComponentType], ComponentType], imports: HostFunctions
    ) -> EmbeddedInstance:
        """Make one instance of a component of any world.

        Args:
            order: What is loaded, and how.
            fit: As for `Host.instantiate`.
            imports: The caller's own functions.

        Raises:
            DataflareError: As `Host.instantiate`.
        """
        file, pipeline = order.file, order.pipeline
        with (
            self._admission.recorded(file.contents, name=order.name, pipeline=pipeline.name, function="instantiate"),
            told_shortages(),
            ExitStack() as undo,
        ):
            permissions = self._permissions(order)
            options = {**_engine_options(order, permissions.limits), "hosted": frozenset(filter(is_wasi, imports))}
            with self._engine.open(file.contents, **options) as found:
                fitted = fit(found.shape)
                self._decide(order, permissions, found.shape)
                capabilities = self._provide(undo, order, permissions, found.shape)
                compiled = found.compile()
            undo.callback(compiled.close)
            made = EmbeddedInstance(
                self._isolated(compiled.with_types(fitted), order),
                capabilities,
                imports,
                limits=permissions.limits,
                on_close=functools.partial(self._loaded.forget, pipeline.scope),
            )
            compiled.close()
            # From here on it is the instance that lets go of all this.
            undo.pop_all()
        return self._loaded.keep(pipeline.scope, made)

    def metadata(self, file: ComponentFile, *, name: str, limits: Limits) -> Metadata:
        """Ask a plugin for its metadata, in an instance without any grants.

        Raises:
            DataflareError: As `Host.metadata`.
        """
        with self._admission.recorded(file.contents, name=name, pipeline="", function="metadata"):
            self._admission.identify(file.contents, file.signature, file.certificate, name=name, file=file.name)
            with self._engine.open(file.contents, name=name, file=file.name, **_counted(limits)) as found:
                kind = check_world(found.shape, component=file.name)
                compiled = found.compile()
            return read_metadata(compiled, kind=kind, limits=limits)

    def _permissions(self, order: Order) -> _Permissions:
        """Identify the component, and decide what it gets."""
        file = order.file
        identity = self._admission.identify(
            file.contents, file.signature, file.certificate, name=order.name, file=file.name
        )
        grants, limits = self._admission.resolve_permissions(
            identity, grants=order.grants, limits=order.limits, pipeline=order.pipeline.granted_as
        )
        audit = self._admission.auditor(identity, order.pipeline.name)
        return _Permissions(identity=identity, grants=grants, limits=limits, audit=audit)

    def _decide(self, order: Order, permissions: _Permissions, shape: ComponentType) -> None:
        """Refuse a component that imports something that it did not ask for or that is not granted."""
        self._admission.check_imports(permissions.identity, shape.imports)
        check_grants(shape, permissions.grants, plugin=order.name)

    def _provide(
        self,
        undo: ExitStack,
        order: Order,
        permissions: _Permissions,
        shape: ComponentType,
        *,
        count: Wrap | None = None,
    ) -> Capabilities:
        """Enter a plugin into its pipeline and make its host functions; `undo` reverts both."""
        scope = order.pipeline.scope
        fellows = self._loaded.enter(scope, order.name, permissions.grants)
        undo.callback(self._loaded.leave, scope, order.name)
        capabilities = Capabilities(
            self._services,
            PipelineServices(
                plugins=fellows.callable_plugins, shared=fellows.shared, cancellation=fellows.cancellation
            ),
            grants=permissions.grants,
            wanted=shape.imports,
            settings=order.settings,
            plugin=order.name,
            pipeline=scope,
            limits=permissions.limits,
            audit=permissions.audit,
            count=count,
            remaining_s=self._remaining_s,
            write_refusal=self._admission.protected.reason,
        )
        undo.callback(capabilities.close)
        return capabilities

    def _isolated(self, component: Component, order: Order) -> Component:
        """Return the component, with instances in separate processes if the order says so."""
        if order.isolation == "none":
            return component
        # Imported here: few hosts start processes.
        from dataflare.runtime.isolation.isolated_component import IsolatedComponent

        cache_dir = getattr(self._engine, "cache_dir", None)
        if cache_dir is None:
            raise ConfigError("needs an engine that keeps compiled components in a folder", where="isolation")
        return IsolatedComponent(
            component,
            order.file.contents,
            cache_dir=cache_dir,
            flatten=getattr(self._engine, "flatten", False),
            max_batch_bytes=self._services.max_batch_bytes,
            best_effort=order.isolation == "process-best-effort",
        )


def _engine_options(order: Order, limits: Limits) -> dict[str, Any]:
    return {"name": order.name, "file": order.file.name, **_counted(limits)}


def _counted(limits: Limits) -> dict[str, Any]:
    """Return what compiled code must count for these limits."""
    return {"fuel": limits.fuel is not None, "timed": limits.call_timeout_s is not None}


def _pool_of(kind: str, pool: PoolSettings | None) -> PoolSettings:
    if kind not in _STATEFUL:
        return pool or PoolSettings()
    if pool is not None:
        raise ConfigError(f"a {kind} has one instance, which keeps its state", where="pool", hint="leave `pool` out")
    return _ONE_INSTANCE
