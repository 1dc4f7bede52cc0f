"""The host: loads plugins, and owns what they share."""

# Over 500 lines: the package's public face; half of it documents options and types `load` for each kind of plugin.

from __future__ import annotations

import functools
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, TypedDict, Unpack, get_args, overload

from dataflare.capabilities.clock import Clock, SystemClock
from dataflare.capabilities.config import PluginConfig
from dataflare.capabilities.http_transport import Transport
from dataflare.capabilities.logging import LogSink, StandardLogSink
from dataflare.capabilities.metrics import MemoryMetrics, MetricsSink
from dataflare.capabilities.secrets import SecretStore
from dataflare.capabilities.state import MemoryStateStore, StateStore
from dataflare.capabilities.tasks import LatestProgress, ProgressSink
from dataflare.data.batches import MAX_BATCH_BYTES
from dataflare.engine.abi.types import ComponentType
from dataflare.errors import ConfigError, UsageError, WorldMismatch
from dataflare.grants import Grants
from dataflare.interfaces import short_name
from dataflare.limits import Limits
from dataflare.locks import Lock
from dataflare.runtime.arguments import ComponentFile, ComponentSource, check_arguments, default_name
from dataflare.runtime.capabilities import Capabilities, PipelineServices, Services, Wrap, WrapFactory
from dataflare.runtime.destination import Destination
from dataflare.runtime.embedding import EmbeddedInstance
from dataflare.runtime.inspection import Inspection, inspect_shape
from dataflare.runtime.isolation.deadline import remaining_s as isolated_remaining_s
from dataflare.runtime.launch import read_metadata
from dataflare.runtime.namespace import Namespace
from dataflare.runtime.plugin import Plugin, PluginParts
from dataflare.runtime.pool import PoolSettings
from dataflare.runtime.ports import Component, Engine, HostFunctions
from dataflare.runtime.processor import Processor
from dataflare.runtime.results import Metadata
from dataflare.runtime.source import Source
from dataflare.runtime.transformer import Transformer
from dataflare.runtime.validator import Validator
from dataflare.runtime.worlds import check_grants, check_world
from dataflare.security.admission import Admission, AdmittedPipeline, Identity
from dataflare.security.audit import AuditLog
from dataflare.security.capability import Capability
from dataflare.security.enforcement import Auditor, Revocations
from dataflare.security.pipelines import PipelineFile, named_scopes
from dataflare.security.policy import Policy
from dataflare.user_files import as_path

if TYPE_CHECKING:
    from dataflare.runtime.behaviour import Watchers
    from dataflare.security.access import Access
    from dataflare.security.behaviour import Alert, BehaviourSettings
    from dataflare.security.trust import TrustPolicy

__all__ = ["Host", "LoadOptions"]

_log = logging.getLogger("dataflare.host")
_CLASSES: Final[Mapping[str, type[Plugin]]] = {
    each.kind: each for each in (Source, Destination, Processor, Transformer, Validator)
}
Isolation: TypeAlias = Literal["none", "process", "process-best-effort"]
"""Where a plugin's instances live: in the host's process, or each in one of its own."""

_STATEFUL: Final = frozenset({"source", "destination"})
_ONE_INSTANCE: Final = PoolSettings(maximum=1, idle_timeout_s=None)
_NO_LIMITS_GIVEN: Final = Limits()


class LoadOptions(TypedDict, total=False):
    """The arguments of `Host.load` by keyword, without `kind`; `load` says what they mean."""

    name: str | None
    config: Mapping[str, Any] | None
    grants: Grants | None
    limits: Limits | None
    namespace: str
    pool: PoolSettings | None
    signature: bytes | None
    isolation: Isolation
    pipeline: AdmittedPipeline | None


class Host:
    """Loads plugins and runs them, each within its grants and limits.

    Any thread may use it. Close it, or use it in a `with`; that closes every plugin that it loaded.

    Args:
        cache_dir: Where compiled components are kept; `None` for the user's cache directory.
        state_store: Where plugins with the `state` grant keep their values; the caller closes it. `None` keeps them in
            memory.
        metrics: Where plugins' numbers go; `None` keeps them in memory.
        log_sink: Makes the sink of a plugin's log, given the plugin's name; `None` for the standard library's logging.
        clock: The time that plugins see; `None` for the machine's.
        secrets: Where granted secrets are; `None` for nowhere.
        transport: Makes what carries a plugin's HTTP requests; `None` for the network.
        progress: Where plugins' progress goes; `None` keeps the last of each.
        max_batch_bytes: What a batch or a text that a plugin makes may take, in bytes.
        wrap: Given a plugin's name and namespace, makes what every function of the host goes through before that plugin
            gets it, such as an audit: a callable of the interface's full name, the function's name and the function.
        engine: The engine to use, which the caller closes; `None` makes one.
        policy: What each plugin gets, or the file that says it; grants and limits given to `load` only narrow it.
            `None`: a plugin gets what `load` is given.
        trust: Whose signatures components need, or the file that says it; verified before anything of a component is
            compiled. `None`: none is needed.
        audit: Where every use of a capability, every refusal and every passed limit is written, secrets taken out; a
            file is closed with the host.
        access: Who may do what, or the file that says it; together with `principal`.
        principal: Who the host works for: asked for at each `load`, `inspect`, `cancel`, `revoke` and change of the
            policy. The host takes the caller's word for it.
        revocations: What is taken back from plugins while they run; `None` makes an empty one, where there is a policy
            or an audit log.
        behaviour: How plugins' calls are compared with what is usual of them: of all plugins, or of some by their name.
            `None`: they are not. Needs the extra `behaviour`.
        on_alert: Called with each `Alert` of a plugin that departs from what is usual, in the thread that called it.
        profiles: The folder where what is usual is kept, `NAMESPACE/PLUGIN.json`; `None` keeps it in memory.

    Raises:
        ConfigError: `max_batch_bytes` is below 1, others could write into the folder of compiled components, a file
            cannot be read or is wrong, `access` and `principal` are not given together, or `on_alert` or `profiles`
            without `behaviour`.
    """

    def __init__(
        self,
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        state_store: StateStore | None = None,
        metrics: MetricsSink | None = None,
        log_sink: Callable[[str], LogSink] | None = None,
        clock: Clock | None = None,
        secrets: SecretStore | None = None,
        transport: Callable[[], Transport] | None = None,
        progress: ProgressSink | None = None,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        wrap: WrapFactory | None = None,
        engine: Engine | None = None,
        policy: Policy | str | os.PathLike[str] | None = None,
        trust: TrustPolicy | str | os.PathLike[str] | None = None,
        audit: AuditLog | str | os.PathLike[str] | None = None,
        access: Access | str | os.PathLike[str] | None = None,
        principal: str | None = None,
        revocations: Revocations | None = None,
        behaviour: BehaviourSettings | Mapping[str, BehaviourSettings] | None = None,
        on_alert: Callable[[Alert], None] | None = None,
        profiles: str | os.PathLike[str] | None = None,
    ) -> None:
        self._closed = True  # until there is something to close
        if max_batch_bytes < 1:
            raise ConfigError(f"{max_batch_bytes!r} is not at least 1", where="max_batch_bytes")
        for given, where in ((on_alert, "on_alert"), (profiles, "profiles")):
            if given is not None and behaviour is None:
                raise ConfigError("nothing is watched without `behaviour`", where=where, hint="Host(behaviour=...)")
        self._admission = Admission(
            policy=policy, trust=trust, audit=audit, access=access, principal=principal, revocations=revocations
        )
        try:
            self._owns_engine = engine is None
            self._engine = _new_engine(cache_dir) if engine is None else engine
        except BaseException:
            self._admission.close()
            raise
        self._services = Services(
            state_store=MemoryStateStore() if state_store is None else state_store,
            metrics=MemoryMetrics() if metrics is None else metrics,
            log_sink=log_sink or StandardLogSink,
            clock=SystemClock() if clock is None else clock,
            secrets=self._admission.secrets(secrets),
            transport=transport,
            progress=LatestProgress() if progress is None else progress,
            max_batch_bytes=max_batch_bytes,
            wrap=wrap,
            remaining_s=self._remaining_s,
            write_refusal=self._admission.protected.reason,
        )
        self._protect_own_files(profiles, secrets)
        self._watchers = None if behaviour is None else self._new_watchers(behaviour, on_alert, profiles)
        self._lock = Lock()
        self._plugins: dict[int, Plugin] = {}
        self._embedded: set[EmbeddedInstance] = set()
        self._namespaces: dict[str, Namespace] = {}
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"{self!r} was never closed", ResourceWarning, stacklevel=2, source=self)

    @property
    def metrics(self) -> MetricsSink:
        """Where plugins' numbers go."""
        return self._services.metrics

    @property
    def policy(self) -> Policy | None:
        """What plugins get; `None` where that is up to who loads them."""
        return self._admission.policy

    @property
    def revocations(self) -> Revocations | None:
        """What was taken back from plugins; `None` where nothing can be."""
        return self._admission.revocations

    def set_policy(self, policy: Policy | str | os.PathLike[str]) -> None:
        """Put another policy in place for what is loaded from now on. What runs keeps what it has: see `revoke`.

        Raises:
            PermissionDenied: The principal may not write policies.
            ConfigError: The file cannot be read or is wrong; the policy before stays.
            UsageError: The host has none, so that plugins that run could not be held to it.
        """
        self._admission.require("write", "policies")
        if self._admission.policy is None:
            raise UsageError("the host has no policy that could be replaced", hint="Host(policy=...)")
        self._admission.replace_policy(policy if isinstance(policy, Policy) else Policy.read(policy))

    def revoke(self, plugin: str, capability: Capability | str | None = None) -> None:
        """Take a capability back from a plugin that runs, in every pipeline; its next call of the host finds it.

        Args:
            plugin: Its name: that of its manifest or signature, else the one that it was loaded under.
            capability: What is taken back, such as `files` or `secret:api-token`; `None` takes all that needs a grant.

        Raises:
            PermissionDenied: The principal may not revoke it.
            ConfigError: There is no such capability.
            UsageError: The host has neither policy nor audit log nor revocations.
        """
        self._admission.require("revoke", f"plugins/{plugin}")
        revocations = self._admission.revocations
        if revocations is None:
            raise UsageError("this host takes nothing back", hint="Host(revocations=Revocations())")
        if capability is None:
            revocations.revoke_all(plugin)
        else:
            revocations.revoke(plugin, capability)
        self._admission.record_change("revoke", f"revoked:{plugin} {capability or 'everything'}")

    def accept_behaviour(self, plugin: Plugin) -> None:
        """Take what a plugin does now for what is usual: lift its throttle or quarantine, and learn its profile anew.

        Raises:
            PermissionDenied: The principal may not lift quarantines.
            ConfigError: The profile's file cannot be removed.
            UsageError: The plugin is not watched.
        """
        self._admission.require("quarantine", f"plugins/{plugin.name}")
        watch = plugin._parts.watch
        if watch is None:
            raise UsageError(f"plugin {plugin.name!r} is not watched", hint="Host(behaviour=...)")
        self._admission.record_change("accept-behaviour", f"behaviour:{plugin.name}")
        watch.accept()

    def protect(self, path: str | os.PathLike[str], what: str) -> None:
        """Let no pipeline and no plugin of this host write to a file, by whatever name it gives it.

        The files of the host itself are protected as they are: policy, trust, roles, audit log, state, compiled code.

        Args:
            path: The file, which need not be there yet.
            what: What it is, for errors, such as `a signing key`.
        """
        self._admission.protected.add(path, what)

    def admit_pipeline(self, name: str, file: PipelineFile) -> AdmittedPipeline:
        """Let a pipeline's file run: what policy and roles say goes by the file, whatever it calls itself.

        Args:
            name: What the file calls itself.
            file: The file.

        Returns:
            What `load` takes for its plugins, and what opens the files of its connectors; close it after the run.

        Raises:
            PermissionDenied: It calls itself by the name of another, or no role allows the principal to run it.
            UsageError: The host is closed.
        """
        self._require_open()
        return self._admission.admit_pipeline(name, file)

    @overload
    def load(
        self, component: ComponentSource, *, kind: Literal["source"], **options: Unpack[LoadOptions]
    ) -> Source: ...
    @overload
    def load(
        self, component: ComponentSource, *, kind: Literal["destination"], **options: Unpack[LoadOptions]
    ) -> Destination: ...
    @overload
    def load(
        self, component: ComponentSource, *, kind: Literal["processor"], **options: Unpack[LoadOptions]
    ) -> Processor: ...
    @overload
    def load(
        self, component: ComponentSource, *, kind: Literal["transformer"], **options: Unpack[LoadOptions]
    ) -> Transformer: ...
    @overload
    def load(
        self, component: ComponentSource, *, kind: Literal["validator"], **options: Unpack[LoadOptions]
    ) -> Validator: ...
    @overload
    def load(
        self, component: ComponentSource, *, kind: str | None = None, **options: Unpack[LoadOptions]
    ) -> Plugin: ...
    def load(
        self,
        component: ComponentSource,
        *,
        kind: str | None = None,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        grants: Grants | None = None,
        limits: Limits | None = None,
        namespace: str = "default",
        pool: PoolSettings | None = None,
        signature: bytes | None = None,
        isolation: Isolation = "none",
        pipeline: AdmittedPipeline | None = None,
    ) -> Plugin:
        """Load a plugin. Whether it may be loaded is decided before any of its code is compiled or run.

        Args:
            component: The component's file, or its contents.
            kind: `source`, `destination`, `processor`, `transformer` or `validator`: another one is refused, and type
                checkers and editors know the class of what is returned. `None` takes any.
            name: The plugin's name in logs, metrics, errors and for its state, `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`;
                `None` takes the file's.
            config: The plugin's configuration: what JSON can hold. The plugin checks it when it is started.
            grants: What the plugin may use; with a policy, what it may use of that. `None`: nothing, or all that the
                policy gives.
            limits: The ceilings of each of its instances; with a policy, the lower ones hold.
            namespace: The pipeline that it belongs to, of the same form as a name. Its plugins may call each other and
                share batches, as far as is granted; those of one name share their state. A pipeline's file that
                neither policy nor roles know has state of its own, whatever it calls itself.
            pool: How many instances it has; only for processors, transformers and validators. Sources and destinations
                have one.
            signature: The component's signature, where one is needed; `None` takes the `.sig` file beside the
                component's.
            isolation: `process` puts each instance into a process of its own, which is confined by the kernel and
                killed where it does not keep to its time; starting one takes about half a second. Where the kernel
                lacks a part of that, the plugin does not start; `process-best-effort` leaves the part out.
            pipeline: What `admit_pipeline` returned for the pipeline's file. `None`: the caller vouches that this is
                the pipeline that `namespace` names, which then gets what the policy and roles say of that name.

        Returns:
            A `Source`, `Destination`, `Processor`, `Transformer` or `Validator`, not started yet.

        Raises:
            NotAComponent: It is no component.
            UnsupportedComponent: It has what the engine cannot carry.
            WorldMismatch: It is a plugin of no world of the standard, or not of this kind.
            PermissionDenied: It needs what is not granted, the policy has no rule for it, or the principal may not run
                the pipeline.
            SignatureRefused: A signature is needed, and this one is not good enough.
            ManifestError: Its manifest cannot be used.
            ConfigError: The file cannot be read, an argument is wrong, or plugins could call each other in a circle.
            UsageError: The host is closed.
        """
        self._require_open()
        if kind is not None and kind not in _CLASSES:
            raise ConfigError(f"{kind!r} is not one of {', '.join(_CLASSES)}", where="kind")
        plugin = default_name(component) if name is None else name
        check_arguments(plugin, namespace, config, grants, limits)
        _check_isolation(isolation)
        self._admission.require("run", f"pipelines/{namespace}" if pipeline is None else pipeline.resource)
        settings = PluginConfig(config)
        found = ComponentFile.read(component, signature=signature, signed=self._admission.needs_signatures)
        self._protect_component(component)
        with self._admission.recorded(found.contents, name=plugin, pipeline=namespace, function="load"):
            identity = self._admission.identify(found.contents, found.signature, name=plugin, file=found.name)
            granted_as = namespace if pipeline is None else pipeline.granted_as
            granted, ceilings = self._admission.settle(identity, grants=grants, limits=limits, pipeline=granted_as)
            auditor = self._admission.auditor(identity, namespace)
            scope = namespace if pipeline is None else pipeline.scope
            return self._load(
                found, identity, plugin, settings, granted, ceilings, scope, auditor, pool, isolation, kind
            )

    def _load(
        self,
        file: ComponentFile,
        identity: Identity,
        plugin: str,
        settings: PluginConfig,
        grants: Grants,
        limits: Limits,
        namespace: str,
        audit: Auditor | None,
        pool: PoolSettings | None,
        isolation: Isolation,
        wanted_kind: str | None,
    ) -> Plugin:
        admitted: list[tuple[str, PoolSettings, Namespace, Capabilities]] = []
        watch = None
        if self._watchers is not None:
            watch = self._watchers.watch(
                plugin,
                namespace,
                component=file.contents,
                version=identity.needs.version,
                audit=audit,
                call_timeout_s=limits.call_timeout_s,
            )
        undo = ExitStack()

        def admit(shape: ComponentType) -> None:
            kind = check_world(shape, component=file.name)
            if wanted_kind not in (None, kind):
                raise WorldMismatch(f"is a {kind}, not a {wanted_kind}", component=file.name, hint="leave `kind` out")
            self._admission.check_imports(identity, shape.imports)
            check_grants(shape, grants, plugin=plugin)
            chosen_pool = _pool_of(kind, pool)
            fellows, capabilities = self._provide(
                undo,
                shape,
                plugin=plugin,
                namespace=namespace,
                settings=settings,
                grants=grants,
                limits=limits,
                audit=audit,
                count=None if watch is None else watch.count,
            )
            admitted.append((kind, chosen_pool, fellows, capabilities))

        with undo:
            compiled = self._compile(file, plugin, limits, admit)
            kind, chosen_pool, fellows, capabilities = admitted[0]
            _log.debug("plugin %r: a %s from %s, may use %s", plugin, kind, file.name, _granted(grants))
            if isolation != "none":
                compiled = self._isolated(compiled, file.contents, best_effort=isolation == "process-best-effort")
            parts = PluginParts(
                name=plugin,
                component=compiled,
                capabilities=capabilities,
                config=settings.get_all(),
                limits=limits,
                pool=chosen_pool,
                max_batch_bytes=self._services.max_batch_bytes,
                on_close=functools.partial(self._forget, namespace),
                remaining_s=self._remaining_s,
                watch=watch,
                datasets=grants.datasets,
            )
            loaded = _CLASSES[kind](parts)
            # From here on it is the plugin that lets go of all this.
            undo.pop_all()
        with self._lock:
            if not self._closed:
                self._plugins[id(loaded)] = loaded
                fellows.add(loaded)
                return loaded
        loaded.close()
        raise UsageError("the host was closed in the meantime")

    def instantiate(
        self,
        component: ComponentSource,
        *,
        fit: Callable[[ComponentType], ComponentType],
        imports: HostFunctions,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        grants: Grants | None = None,
        limits: Limits | None = None,
        namespace: str = "default",
        signature: bytes | None = None,
        isolation: Isolation = "none",
    ) -> EmbeddedInstance:
        """Make one instance of a component for any world, as bindings do that `dataflare bindgen` writes.

        Policy, trust, audit, grants and limits hold as they do for `load`; behaviour is not watched.

        Args:
            component: The component's file, or its contents.
            fit: Given what the component imports and exports, returns the same with the Python classes of its types, or
                raises `WorldMismatch`. It is called before anything of the component is compiled.
            imports: The caller's own functions, by interface and by name in the WIT.
            name: As for `load`.
            config: What the interface `dataflare:host/config` gives it.
            grants: What it may use of the host's own interfaces.
            limits: The ceilings of the instance.
            namespace: As for `load`; plugins cannot call it.
            signature: As for `load`.
            isolation: As for `load`.

        Raises:
            WorldMismatch: It does not fit.
            ConfigError: A function that it imports is not there, or an argument is wrong.
            PluginFault: It failed at its start.
            DataflareError: The errors of `load`.
        """
        self._require_open()
        plugin = default_name(component) if name is None else name
        check_arguments(plugin, namespace, config, grants, limits)
        _check_isolation(isolation)
        self._admission.require("run", f"pipelines/{namespace}")
        settings = PluginConfig(config)
        file = ComponentFile.read(component, signature=signature, signed=self._admission.needs_signatures)
        self._protect_component(component)
        with (
            self._admission.recorded(file.contents, name=plugin, pipeline=namespace, function="instantiate"),
            ExitStack() as undo,
        ):
            identity = self._admission.identify(file.contents, file.signature, name=plugin, file=file.name)
            granted, ceilings = self._admission.settle(identity, grants=grants, limits=limits, pipeline=namespace)
            shapes: list[ComponentType] = []

            def admit(shape: ComponentType) -> None:
                shapes.append(fit(shape))
                self._admission.check_imports(identity, shape.imports)
                check_grants(shape, granted, plugin=plugin)

            compiled = self._compile(file, plugin, ceilings, admit)
            undo.callback(compiled.close)
            _, capabilities = self._provide(
                undo,
                compiled.shape,
                plugin=plugin,
                namespace=namespace,
                settings=settings,
                grants=granted,
                limits=ceilings,
                audit=self._admission.auditor(identity, namespace),
            )
            typed = compiled.with_types(shapes[0])
            if isolation != "none":
                typed = self._isolated(typed, file.contents, best_effort=isolation == "process-best-effort")
            made = EmbeddedInstance(
                typed,
                capabilities,
                imports,
                limits=ceilings,
                on_close=functools.partial(self._forget_embedded, namespace),
            )
            compiled.close()
            # From here on it is the instance that lets go of all this.
            undo.pop_all()
        with self._lock:
            if not self._closed:
                self._embedded.add(made)
                return made
        made.close()
        raise UsageError("the host was closed in the meantime")

    def _compile(
        self, file: ComponentFile, plugin: str, limits: Limits, admit: Callable[[ComponentType], None]
    ) -> Component:
        return self._engine.load(
            file.contents,
            name=plugin,
            file=file.name,
            fuel=limits.fuel is not None,
            timed=limits.call_timeout_s is not None,
            check=admit,
        )

    def _provide(
        self,
        undo: ExitStack,
        shape: ComponentType,
        *,
        plugin: str,
        namespace: str,
        settings: PluginConfig,
        grants: Grants,
        limits: Limits,
        audit: Auditor | None,
        count: Wrap | None = None,
    ) -> tuple[Namespace, Capabilities]:
        """Give a plugin its place in the namespace and its functions; `undo` takes both back."""
        fellows = self._enter(namespace, plugin, grants)
        undo.callback(self._leave, namespace, plugin, None)
        capabilities = Capabilities(
            self._services,
            PipelineServices(
                plugins=fellows.callable_plugins, shared=fellows.shared, cancellation=fellows.cancellation
            ),
            grants=grants,
            wanted=_wanted(shape),
            settings=settings,
            plugin=plugin,
            namespace=namespace,
            limits=limits,
            audit=audit,
            count=count,
        )
        undo.callback(capabilities.close)
        return fellows, capabilities

    def _forget_embedded(self, namespace: str, embedded: EmbeddedInstance) -> None:
        with self._lock:
            self._embedded.discard(embedded)
        self._leave(namespace, embedded.name, None)

    def _new_watchers(
        self,
        behaviour: BehaviourSettings | Mapping[str, BehaviourSettings],
        on_alert: Callable[[Alert], None] | None,
        profiles: str | os.PathLike[str] | None,
    ) -> Watchers:
        # Only here: river is an extra, and takes its time to load.
        from dataflare.runtime.behaviour import Watchers

        return Watchers(
            behaviour,
            on_alert=on_alert,
            profiles=None if profiles is None else as_path(profiles, where="profiles"),
            metrics=self._services.metrics,
            remaining_s=self._remaining_s,
        )

    def _remaining_s(self) -> float:
        return min(self._engine.remaining_s(), isolated_remaining_s())

    def _isolated(self, component: Component, binary: bytes, *, best_effort: bool) -> Component:
        # Only here: few hosts start processes.
        from dataflare.runtime.isolation.process import IsolatedComponent

        cache_dir = getattr(self._engine, "cache_dir", None)
        if cache_dir is None:
            raise ConfigError("needs an engine that keeps compiled components in a folder", where="isolation")
        return IsolatedComponent(
            component,
            binary,
            cache_dir=cache_dir,
            max_batch_bytes=self._services.max_batch_bytes,
            best_effort=best_effort,
        )

    def cancel(self, namespace: str = "default") -> None:
        """Ask the plugins of a namespace to end: those that were granted `tasks` can see it, from any thread.

        A pipeline's namespace is the name that policy or roles have for its file, or else its own. It holds until the
        last of the plugins is closed. Does nothing where none is loaded.
        """
        self._admission.require("stop", f"pipelines/{namespace}")
        with self._lock:
            found = [self._namespaces[each] for each in named_scopes(self._namespaces, namespace)]
        for each in found:
            each.cancellation.cancel()

    def inspect(self, component: ComponentSource) -> Inspection:
        """Describe a component. None of its code is compiled or run.

        Raises:
            NotAComponent: It is no component.
            UnsupportedComponent: It has what the engine cannot carry.
            ConfigError: The file cannot be read.
            UsageError: The host is closed.
        """
        self._require_open()
        self._admission.require("read", f"plugins/{default_name(component)}")
        file = ComponentFile.read(component)
        return inspect_shape(file.contents, self._engine.shape(file.contents, name=file.name))

    def metadata(self, component: ComponentSource, *, limits: Limits = _NO_LIMITS_GIVEN) -> Metadata:
        """Ask a plugin what it is, in an instance that may use nothing.

        Raises:
            NotAComponent: It is no component.
            UnsupportedComponent: It has what the engine cannot carry.
            WorldMismatch: It is a plugin of no world, or says that it is of another kind.
            PluginFault: It trapped.
            PermissionDenied: It used a capability for it.
            ConfigError: The file cannot be read.
            UsageError: The host is closed.
        """
        self._require_open()
        name = default_name(component)
        self._admission.require("read", f"plugins/{name}")
        file = ComponentFile.read(component, signed=self._admission.needs_signatures)
        with self._admission.recorded(file.contents, name=name, pipeline="", function="metadata"):
            self._admission.identify(file.contents, file.signature, name=name, file=file.name)
            compiled = self._engine.load(
                file.contents,
                name=name,
                file=file.name,
                fuel=limits.fuel is not None,
                timed=limits.call_timeout_s is not None,
                check=lambda shape: check_world(shape, component=file.name),
            )
            return read_metadata(compiled, kind=check_world(compiled.shape, component=file.name), limits=limits)

    def close(self) -> None:
        """Close all plugins, and the engine where it is the host's own; idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            plugins: list[Plugin | EmbeddedInstance] = [*self._plugins.values(), *self._embedded]
        with ExitStack() as rest:  # all of them, whatever one of them raises
            if self._owns_engine:
                rest.callback(self._engine.close)
            rest.callback(self._admission.close)
            for plugin in plugins:
                rest.callback(plugin.close)

    def _forget(self, namespace: str, plugin: Plugin) -> None:
        with self._lock:
            self._plugins.pop(id(plugin), None)
        self._leave(namespace, plugin.name, plugin)

    def _enter(self, namespace: str, plugin: str, grants: Grants) -> Namespace:
        with self._lock:
            found = self._namespaces.get(namespace) or Namespace()
            found.enter(plugin, grants)
            self._namespaces[namespace] = found
            return found

    def _leave(self, namespace: str, name: str, plugin: Plugin | None) -> None:
        with self._lock:
            found = self._namespaces[namespace]
            found.leave(name, plugin)
            if found.empty:
                del self._namespaces[namespace]

    def _protect_component(self, component: ComponentSource) -> None:
        if isinstance(component, str | os.PathLike):
            self.protect(component, "a plugin of this host")
            self.protect(f"{os.fspath(component)}.sig", "the signature of a plugin of this host")

    def _protect_own_files(self, profiles: str | os.PathLike[str] | None, secrets: SecretStore | None) -> None:
        protected = self._admission.protected
        state = getattr(self._services.state_store, "path", None)
        if state is not None:
            for suffix in ("", "-journal", "-wal", "-shm"):
                protected.add(f"{state}{suffix}", "the state of this host")
        trees = (
            (getattr(self._engine, "cache_dir", None), "the compiled code"),
            (getattr(secrets, "path", None), "the secrets"),
            (profiles, "the profiles"),
        )
        for tree, what in trees:
            if tree is not None:
                protected.add_tree(tree, f"{what} of this host")

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError("the host is closed", hint="make another")


def _new_engine(cache_dir: str | os.PathLike[str] | None) -> Engine:
    # Only here: loading wasmtime takes its time, and whoever brings an engine need not have it.
    from dataflare.engine.engine import Engine as WasmtimeEngine

    return WasmtimeEngine(cache_dir=cache_dir)


def _check_isolation(isolation: str) -> None:
    if isolation not in get_args(Isolation):
        raise ConfigError(f"{isolation!r} is none of {', '.join(get_args(Isolation))}", where="isolation")


def _wanted(shape: ComponentType) -> list[str]:
    return [short for short in map(short_name, shape.imports) if short is not None]


def _granted(grants: Grants) -> str:
    return ", ".join(sorted(grants.capabilities)) or "nothing"


def _pool_of(kind: str, pool: PoolSettings | None) -> PoolSettings:
    if kind not in _STATEFUL:
        return pool or PoolSettings()
    if pool is not None:
        raise ConfigError(f"a {kind} has one instance, which keeps its state", where="pool", hint="leave `pool` out")
    return _ONE_INSTANCE
