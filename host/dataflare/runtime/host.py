"""The host, which loads plugins and owns what they share."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final, Literal, Self, Unpack, get_args, overload

from dataflare.built_in_plugins import built_in_file
from dataflare.capabilities.capability_failure import CapabilityFailure
from dataflare.capabilities.config import PluginConfig
from dataflare.capabilities.metrics import MetricsSink
from dataflare.capabilities.secrets import EnvironmentSecrets
from dataflare.engine.abi.types import ComponentType
from dataflare.errors import ConfigError, UsageError
from dataflare.grants import Grants
from dataflare.limits import Limits
from dataflare.locks import Lock
from dataflare.runtime.arguments import ComponentFile, ComponentSource, check_arguments, default_name
from dataflare.runtime.destination import Destination
from dataflare.runtime.embedding import EmbeddedInstance
from dataflare.runtime.inspection import Inspection, inspect_shape
from dataflare.runtime.isolation.deadline import remaining_s as isolated_remaining_s
from dataflare.runtime.loaded import Loaded
from dataflare.runtime.loader import KINDS, Loader, Order
from dataflare.runtime.options import InstanceOptions, Isolation, LoadOptions, Services, Watching
from dataflare.runtime.plugin import Plugin
from dataflare.runtime.pool import PoolSettings
from dataflare.runtime.ports import Engine, HostFunctions
from dataflare.runtime.processor import Processor
from dataflare.runtime.source import Source
from dataflare.runtime.transformer import Transformer
from dataflare.runtime.validator import Validator
from dataflare.security.admission import Admission, AdmittedPipeline, PipelineIdentity
from dataflare.security.capability import Capability
from dataflare.security.enforcement import Revocations
from dataflare.security.pipelines import PipelineFile
from dataflare.security.policy import Policy
from dataflare.security.settings import Security
from dataflare.suggestions import close_matches
from dataflare.wit_types.types import Metadata

__all__ = ["Host"]

_NO_LIMITS_GIVEN: Final = Limits()


class Host:
    """Loads plugins and runs them, each within its grants and limits.

    Any thread may use it. Close it, or use it in a `with`; that closes every plugin that it loaded.

    Args:
        cache_dir: Where compiled components are kept; `None` for the user's cache directory.
        services: The implementations of capabilities: state, metrics, logs, secrets and so on. `None` keeps what
            plugins write in memory, logs with the standard library, and has no secrets.
        security: Policy, signatures, roles and audit log. With `None`, the caller decides what plugins get.
        watching: How calls are compared with a plugin's usual behaviour; `None` does not compare them.
        engine: The engine to use, which the caller closes; `None` makes one.
        flatten: How the engine that the host makes reaches plugins: `None` flattens each component that can be, and
            gives the others bridges; `True` refuses the others; `False` gives all of them bridges.

    Raises:
        ConfigError: Others can write to the folder of compiled components, or a file cannot be read or is not valid.
    """

    def __init__(
        self,
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        services: Services | None = None,
        security: Security | None = None,
        watching: Watching | None = None,
        engine: Engine | None = None,
        flatten: bool | None = None,
    ) -> None:
        self._closed = True  # until there is something to close
        given = services or Services()
        self._lock = Lock()
        with ExitStack() as undo:
            self._admission = Admission(security or Security())
            undo.callback(self._admission.close)
            self._owns_engine = engine is None
            self._engine = _new_engine(cache_dir, flatten) if engine is None else engine
            if self._owns_engine:
                undo.callback(self._engine.close)
            secrets = self._admission.secrets(given.secrets or EnvironmentSecrets())
            self._services = replace(given, secrets=secrets)
            self._protect_own_files(given, watching)
            self._loaded = Loaded(shared_bytes=given.shared_bytes)
            self._loader = Loader(
                self._engine,
                self._admission,
                self._services,
                watching,
                loaded=self._loaded,
                remaining_s=self._remaining_s,
            )
            undo.pop_all()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"{self!r} was never closed", ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        state = f"{len(self._loaded)} loaded" if not self._closed else "closed"
        return f"<{type(self).__name__}, {state}>"

    @property
    def metrics(self) -> MetricsSink:
        """Where plugins' numbers go."""
        return self._services.metrics

    @property
    def policy(self) -> Policy | None:
        """What plugins get; `None` if the caller of `load` decides."""
        return self._admission.policy

    @property
    def revocations(self) -> Revocations | None:
        """What was revoked from plugins; `None` if nothing can be."""
        return self._admission.revocations

    def set_policy(self, policy: Policy | str | os.PathLike[str]) -> None:
        """Replace the policy for plugins that are loaded later. Running plugins keep what they have: see `revoke`.

        Raises:
            PermissionDenied: The principal may not write policies.
            ConfigError: The file cannot be read or is wrong; the previous policy stays.
            UsageError: The host has no policy, so running plugins could not be bound to one.
        """
        self._admission.require("write", "policies")
        if self._admission.policy is None:
            raise UsageError(
                "the host has no policy that could be replaced", hint="Host(security=Security(policy=...))"
            )
        self._admission.replace_policy(policy if isinstance(policy, Policy) else Policy.read(policy))

    def revoke(self, plugin: str, capability: Capability | str | None = None) -> None:
        """Revoke a capability of a running plugin, in every pipeline, from the plugin's next call of the host on.

        Args:
            plugin: The name in its manifest or signature; without both, the name under which it was loaded.
            capability: What to revoke, such as `files` or `secrets:api-token`; `None` revokes everything that needs a
                grant.

        Raises:
            PermissionDenied: The principal may not revoke it.
            ConfigError: There is no such capability.
            UsageError: The host has neither policy nor audit log nor revocations.
        """
        self._admission.require("revoke", f"plugins/{plugin}")
        revocations = self._admission.revocations
        if revocations is None:
            raise UsageError("this host takes nothing back", hint="Host(security=Security(revocations=Revocations()))")
        if capability is None:
            revocations.revoke_all(plugin)
        else:
            revocations.revoke(plugin, capability)
        self._admission.record_change("revoke", f"revoked:{plugin} {capability or 'everything'}")

    def accept_behaviour(self, plugin: Plugin) -> None:
        """Accept a plugin's new behaviour: lift its throttle or quarantine, and learn a new profile.

        Raises:
            PermissionDenied: The principal may not lift quarantines.
            ConfigError: The profile's file cannot be removed.
            UsageError: The plugin is not watched.
        """
        self._admission.require("quarantine", f"plugins/{plugin.name}")
        watch = plugin.watch
        if watch is None:
            raise UsageError(f"plugin {plugin.name!r} is not watched", hint="Host(watching=Watching(behaviour=...))")
        self._admission.record_change("accept-behaviour", f"behaviour:{plugin.name}")
        watch.accept()

    def protect(self, path: str | os.PathLike[str], what: str) -> None:
        """Keep pipelines and plugins of this host from writing to a file, under any of its names.

        The host's own files are always protected: policy, trust, roles, audit log, state, compiled code.

        Args:
            path: The file; it need not exist yet.
            what: What it is, for errors, such as `a signing key`.
        """
        self._admission.protected.add(path, what)

    def connector_secret(self, name: str) -> str | None:
        """Find a secret for a connector.

        Raises:
            ConfigError: The store cannot be asked, or the secret cannot be used.
        """
        store = self._services.secrets
        assert store is not None
        try:
            return store.get(name)
        except CapabilityFailure as error:
            raise ConfigError(f"the secret {name!r} cannot be used: {error}", where="secrets") from error

    def admit_pipeline(self, name: str, file: PipelineFile) -> AdmittedPipeline:
        """Admit a pipeline's file to run. Policy and roles identify it by the file, not by the name in it.

        Args:
            name: The name in the file.
            file: The file.

        Returns:
            What `load` takes for its plugins, and what opens the files of its connectors; close it after the run.

        Raises:
            PermissionDenied: It has the name of another pipeline, or no role allows the principal to run it.
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
        pool: PoolSettings | None = None,
        **options: Unpack[InstanceOptions],
    ) -> Plugin:
        """Load a plugin. Whether it may be loaded is decided before any of its code is compiled or run.

        Args:
            component: The component's file, `builtin:NAME` for a plugin of this package, or its contents.
            kind: `source`, `destination`, `processor`, `transformer` or `validator`. Other kinds are refused, and type
                checkers and editors know the returned class. `None` accepts any kind.
            name: The plugin's name in logs, metrics, errors and for its state, `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`;
                `None` takes the file's.
            config: The plugin's configuration: what JSON can hold. The plugin checks it when it is started.
            grants: What the plugin may use. With a policy, grants narrow it. `None` means nothing, or all that the
                policy gives.
            limits: The ceilings of each of its instances. With a policy, the lower value of each applies.
            pipeline: The pipeline that it belongs to: the result of `admit_pipeline` for its file, or a name in the
                same form as a plugin's. With a name, the caller vouches that this is the pipeline of that name in
                policy and roles. Plugins of one pipeline may call each other and share batches, if that is granted;
                plugins of the same name share their state. A pipeline's file that neither policy nor roles know has its
                own state, whatever name is in it.
            pool: How many instances it has; only for processors, transformers and validators. Sources and destinations
                have one.
            signature: The component's signature, if one is needed; `None` takes the `.sig` file beside the component.
            certificate: Its certificate of conformance, if the policy requires one; `None` takes the `.cert` file
                beside the component.
            isolation: `process` runs each instance in its own process, which the kernel confines and which is killed if
                it exceeds its time; starting one takes about half a second. If the kernel lacks a part of the
                confinement, the plugin does not start; `process-best-effort` leaves that part out.

        Returns:
            A `Source`, `Destination`, `Processor`, `Transformer` or `Validator`, not started yet.

        Raises:
            NotAComponent: It is not a component.
            UnsupportedComponent: It has what the engine cannot carry.
            WorldMismatch: It fits none of the standard's worlds, or is of another kind.
            PermissionDenied: It needs what is not granted, the policy has no rule for it, or the principal may not run
                the pipeline.
            SignatureRefused: A signature is needed, and this one is missing or not accepted.
            CertificateRefused: A certificate is required, and this one is missing or not accepted.
            ManifestError: Its manifest cannot be used.
            ConfigError: The file cannot be read, an argument is wrong, or plugins could call each other in a circle.
            UsageError: The host is closed.
        """
        self._require_open()
        if kind is not None and kind not in KINDS:
            close = close_matches(str(kind), KINDS)
            hint = f"did you mean {close[0]!r}?" if close else "leave `kind` out to take any"
            raise ConfigError(f"{kind!r} is not one of {', '.join(KINDS)}", where="kind", hint=hint)
        return self._loader.load(self._order(component, **options), kind=kind, pool=pool)

    def instantiate(
        self,
        component: ComponentSource,
        *,
        fit: Callable[[ComponentType], ComponentType],
        imports: HostFunctions,
        **options: Unpack[InstanceOptions],
    ) -> EmbeddedInstance:
        """Make one instance of a component of any world, as the bindings of `dataflare bindgen` do.

        Policy, trust, audit, grants and limits apply as for `load`; behaviour is not watched.

        Args:
            component: The component's file, or its contents.
            fit: Given what the component imports and exports, returns the same with the Python classes of its types, or
                raises `WorldMismatch`. It is called before anything of the component is compiled.
            imports: The caller's own functions, by interface and by name in the WIT.
            name: As for `load`.
            config: What the interface `dataflare:host/config` gives it.
            grants: What it may use of the host's own interfaces.
            limits: The ceilings of the instance.
            pipeline: As for `load`; plugins cannot call it.
            signature: As for `load`.
            certificate: As for `load`.
            isolation: As for `load`.

        Raises:
            WorldMismatch: It does not fit.
            ConfigError: A function that it imports is not there, or an argument is wrong.
            PluginFault: It failed at its start.
            DataflareError: The errors of `load`.
        """
        self._require_open()
        return self._loader.instantiate(self._order(component, **options), fit=fit, imports=imports)

    def _order(
        self,
        component: ComponentSource,
        *,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        grants: Grants | None = None,
        limits: Limits | None = None,
        pipeline: str | AdmittedPipeline = "default",
        signature: bytes | None = None,
        certificate: bytes | None = None,
        isolation: Isolation = "none",
    ) -> Order:
        """Check the arguments and the roles, and read the component."""
        plugin = default_name(component) if name is None else name
        check_arguments(plugin, pipeline if isinstance(pipeline, str) else pipeline.name, config, grants, limits)
        if isolation not in get_args(Isolation):
            raise ConfigError(f"{isolation!r} is not one of {', '.join(get_args(Isolation))}", where="isolation")
        belongs_to = PipelineIdentity.vouched_for(pipeline) if isinstance(pipeline, str) else pipeline
        self._admission.require("run", belongs_to.resource)
        settings = PluginConfig(config)
        file = ComponentFile.read(
            component,
            signature=signature,
            signed=self._admission.needs_signatures,
            certificate=certificate,
            certified=self._admission.needs_certificates,
        )
        self._protect_component(component)
        return Order(
            file=file,
            name=plugin,
            pipeline=belongs_to,
            settings=settings,
            grants=grants,
            limits=limits,
            isolation=isolation,
        )

    def _remaining_s(self) -> float:
        return min(self._engine.remaining_s(), isolated_remaining_s())

    def cancel(self, pipeline: str = "default") -> None:
        """Ask the plugins of a pipeline to end. Plugins with the grant `tasks` can see it. Any thread may call this.

        Args:
            pipeline: The name that policy or roles have for its file, or else the name in it.

        It applies until the last of the plugins is closed. Does nothing if none is loaded.
        """
        self._admission.require("stop", f"pipelines/{pipeline}")
        self._loaded.cancel(pipeline)

    def inspect(self, component: ComponentSource, *, reached: bool = False) -> Inspection:
        """Describe a component. None of its code is compiled or run.

        Args:
            component: The component.
            reached: Whether to also find out how the engine reaches it (flattened or by bridges); for a large component
                that takes a second.

        Raises:
            NotAComponent: It is not a component.
            UnsupportedComponent: It has what the engine cannot carry.
            ConfigError: The file cannot be read.
            UsageError: The host is closed.
        """
        self._require_open()
        self._admission.require("read", f"plugins/{default_name(component)}")
        file = ComponentFile.read(component)
        shape = self._engine.shape(file.contents, name=file.name)
        why = self._engine.why_bridges(file.contents, name=file.name) if reached else None
        return inspect_shape(file.contents, shape, why)

    def metadata(self, component: ComponentSource, *, limits: Limits = _NO_LIMITS_GIVEN) -> Metadata:
        """Ask a plugin for its metadata, in an instance without any rights.

        Raises:
            NotAComponent: It is not a component.
            UnsupportedComponent: It has what the engine cannot carry.
            WorldMismatch: It fits none of the worlds, or its metadata names another kind.
            PluginFault: It trapped.
            PermissionDenied: It used a capability for it.
            ConfigError: The file cannot be read.
            UsageError: The host is closed.
        """
        self._require_open()
        name = default_name(component)
        self._admission.require("read", f"plugins/{name}")
        admission = self._admission
        signed, certified = admission.needs_signatures, admission.needs_certificates
        file = ComponentFile.read(component, signed=signed, certified=certified)
        return self._loader.metadata(file, name=name, limits=limits)

    def close(self) -> None:
        """Close all plugins, and the engine if the host made it; idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        with ExitStack() as rest:  # closes all of them, even if one raises
            if self._owns_engine:
                rest.callback(self._engine.close)
            rest.callback(self._admission.close)
            for each in self._loaded.end():
                rest.callback(each.close)

    def _protect_component(self, component: ComponentSource) -> None:
        if isinstance(component, str | os.PathLike):
            file = built_in_file(component) or component
            self.protect(file, "a plugin of this host")
            self.protect(f"{os.fspath(file)}.sig", "the signature of a plugin of this host")
            self.protect(f"{os.fspath(file)}.cert", "the certificate of a plugin of this host")

    def _protect_own_files(self, services: Services, watching: Watching | None) -> None:
        protected = self._admission.protected
        state = getattr(services.state_store, "path", None)
        if state is not None:
            protected.add_state(state, "the state of this host")
        trees = (
            (getattr(self._engine, "cache_dir", None), "the compiled code"),
            (getattr(services.secrets, "path", None), "the secrets"),
            (None if watching is None else watching.profiles, "the profiles"),
        )
        for tree, what in trees:
            if tree is not None:
                protected.add_tree(tree, f"{what} of this host")

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError("the host is closed", hint="make another")


def _new_engine(cache_dir: str | os.PathLike[str] | None, flatten: bool | None) -> Engine:
    # Imported here: wasmtime is slow to load, and a caller with its own engine does not need it.
    from dataflare.engine.engine import Engine as WasmtimeEngine

    return WasmtimeEngine(cache_dir=cache_dir, flatten=flatten)
