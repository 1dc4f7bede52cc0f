"""Decides whether and by whom a component may be loaded, and what it gets: by policy, trust, roles and audit log."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol

from dataflare.errors import ConfigError, DataflareError, PermissionDenied
from dataflare.grants import Grants
from dataflare.limits import Limits
from dataflare.security import manifest as manifests
from dataflare.security.audit import AuditEvent, AuditLog, FileAuditLog, Redactor, utc_now
from dataflare.security.capability import Needs
from dataflare.security.connector_databases import ConnectorDatabases
from dataflare.security.connectors import CONNECTOR_PREFIX, ConnectorFiles
from dataflare.security.enforcement import Auditor, Revocations
from dataflare.security.manifest import Manifest, undeclared
from dataflare.security.narrowing import narrowed_grants, narrowed_limits
from dataflare.security.pipelines import PipelineFile, require_own_name
from dataflare.security.policy import Policy
from dataflare.security.protected import ProtectedFiles
from dataflare.security.review import check
from dataflare.security.settings import Security
from dataflare.user_files import as_path

if TYPE_CHECKING:
    from dataflare.security.access import Access
    from dataflare.security.trust import TrustPolicy, Verified

__all__ = ["Admission", "AdmittedPipeline", "Identity", "PipelineIdentity", "SecretLookup"]

_NO_SECURITY: Final = Security()
_NO_GRANTS: Final = Grants()
_NO_LIMITS: Final = Limits()
_MAX_REASON: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The identity of a component.

    Attributes:
        needs: Its name, version and digest, and what it asks for. The name is that of its signature or its manifest;
            without both, the name under which it is loaded.
        manifest: Its manifest; `None` if it has none.
        verified: Its verified signature; `None` if none was required.
    """

    needs: Needs
    manifest: Manifest | None = None
    verified: Verified | None = None

    @property
    def name(self) -> str:
        """The name under which policies, revocations and the audit log know it."""
        return self.needs.plugin


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineIdentity:
    """The identity of a pipeline: its name in the audit log, the policy, the roles and the state.

    Attributes:
        name: Its own name, as in the audit log.
        granted_as: The policy's name for it; empty if the policy does not know it.
        resource: The roles' name for it: `pipelines/NAME`, or `pipelines` if they do not know it.
        scope: The key of its state, its shared batches and the profiles of its plugins.
    """

    name: str
    granted_as: str
    resource: str
    scope: str

    @classmethod
    def vouched_for(cls, name: str) -> PipelineIdentity:
        """Make the identity of a pipeline whose name the calling program guarantees."""
        return cls(name=name, granted_as=name, resource=f"pipelines/{name}", scope=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmittedPipeline(PipelineIdentity):
    """A pipeline's file that is allowed to run. Close it after the run.

    Attributes:
        files: Opens the files of its connectors.
        databases: Finds the databases of its connectors.
    """

    files: ConnectorFiles
    databases: ConnectorDatabases

    def close(self) -> None:
        """Close its files; idempotent."""
        self.files.close()


class SecretLookup(Protocol):
    """Finds secrets by name."""

    def get(self, name: str) -> str | None: ...


class _LearningSecrets:
    """A store that registers each returned secret with the redactor."""

    def __init__(self, store: SecretLookup, redactor: Redactor) -> None:
        self._store = store
        self._redactor = redactor

    def get(self, name: str) -> str | None:
        secret = self._store.get(name)
        if secret is not None:
            self._redactor.add(secret)
        return secret


class Admission:
    """Makes the security decisions of one host. Any thread may use it. It must be closed.

    Args:
        settings: The rules.
        now: Returns the current time.

    Raises:
        ConfigError: A file cannot be read or is not valid.
    """

    def __init__(self, settings: Security = _NO_SECURITY, *, now: Callable[[], datetime] = utc_now) -> None:
        policy, trust, audit, access = settings.policy, settings.trust, settings.audit, settings.access
        self.policy = policy if policy is None or isinstance(policy, Policy) else Policy.read(policy)
        has_keys = trust is None or hasattr(trust, "verify")
        self._trust: TrustPolicy | None = trust if has_keys else _read_trust(trust)  # type: ignore[assignment,arg-type]
        has_roles = access is None or hasattr(access, "require")
        self._access: Access | None = access if has_roles else _read_access(access)  # type: ignore[assignment,arg-type]
        self._principal = settings.principal or ""
        self._now = now
        self.protected = ProtectedFiles()
        for each, what in ((self.policy, "the policy"), (self._trust, "the trust policy"), (self._access, "the roles")):
            file = getattr(each, "file", None)
            if file is not None:
                self.protected.add(file, f"{what} of this run")
        self._protect_pipelines(self.policy)
        self._protect_pipelines(self._access)
        for path, what in settings.protected.items():
            self.protected.add(path, what)
        self._redactor = Redactor()
        # Opened last, so that nothing stays open if something else fails.
        own_log = audit is not None and not hasattr(audit, "record")
        if own_log and (reason := self.protected.reason_of(as_path(audit, where="audit"))):  # type: ignore[arg-type]
            raise ConfigError(f"{audit} {reason}, and cannot be its audit log", where="audit")
        self._own_log = FileAuditLog(audit) if own_log else None  # type: ignore[arg-type]
        if self._own_log is not None:
            self.protected.add(self._own_log.path, "the audit log of this run")
        self._log: AuditLog | None = self._own_log or audit  # type: ignore[assignment]  # a path is `_own_log` by now
        watched = self._log is not None or self.policy is not None
        self.revocations = settings.revocations or (Revocations() if watched else None)

    @property
    def needs_signatures(self) -> bool:
        """Whether components must be signed."""
        return self._trust is not None

    @property
    def needs_certificates(self) -> bool:
        """Whether some or all components must be certified."""
        return self.policy is not None and self.policy.asks_for_certificates

    def close(self) -> None:
        """Close the log, if it was opened here; idempotent."""
        if self._own_log is not None:
            self._own_log.close()

    def secrets(self, store: SecretLookup | None) -> SecretLookup | None:
        """Wrap a store, so that its secrets are masked in the log."""
        return store if store is None or self._log is None else _LearningSecrets(store, self._redactor)

    def require(self, action: str, resource: str, *, of_some: bool = False) -> None:
        """Require a permission of the principal; without roles, everything is allowed.

        Args:
            action: The action, such as `run`.
            resource: The object, such as `pipelines/nightly`, or `pipelines` for all of them.
            of_some: Whether the permission for one object of the kind `resource` is enough.

        Raises:
            PermissionDenied: No role allows it.
        """
        if self._access is None:
            return
        try:
            self._access.require(self._principal, action, resource, of_some=of_some)
        except PermissionDenied as error:
            self._record("", "", "access", action, resource, "deny", error.message)
            raise

    def require_output(self, path: str | os.PathLike[str]) -> None:
        """Refuse to write a protected file, such as a policy or the audit log.

        Raises:
            PermissionDenied: The file is protected.
        """
        if reason := self.protected.reason_of(as_path(path, where="output")):
            self._record("", "", "access", "write", f"file:{os.fspath(path)}", "deny", reason)
            raise PermissionDenied(f"{os.fspath(path)} {reason}", capability="output", hint="name another file")

    def admit_pipeline(self, name: str, file: PipelineFile) -> AdmittedPipeline:
        """Admit a pipeline's file to run. Its grants depend on the file, not on the name in it.

        Args:
            name: The name in the file.
            file: The file.

        Raises:
            PermissionDenied: It has the name of another pipeline, or no role allows the principal to run it.
            ConfigError: A directory that is granted to connectors has no usable path.
        """
        policy, access = self.policy, self._access
        reason = f"is {file.path}"
        what = f"pipeline:{file.digest}"
        try:
            granted_as = role_name = ""
            if policy is not None:
                granted_as = role_name = policy.pipeline_of(file)
                require_own_name(policy.document.pipelines, name, granted_as, file, policy.source)
            if access is not None:
                role_name = access.pipeline_of(file) or granted_as
                require_own_name(access.pipelines, name, role_name, file, access.source)
        except PermissionDenied as error:
            self._record("", name, "host", "run", what, "deny", error.message)
            raise
        resource = f"pipelines/{role_name}" if role_name else "pipelines"
        self.require("run", resource)
        self.protected.add(file.path, "the pipeline's own file")
        self._record("", name, "host", "run", what, "allow", f"{reason} {self._by()}".strip())
        files = ConnectorFiles(
            None if policy is None else policy.connector_directories(granted_as),
            protected=self.protected,
            record=functools.partial(self._record_use, name, "files"),
            source="" if policy is None else policy.source,
        )
        databases = ConnectorDatabases(
            None if policy is None else policy.connector_databases(granted_as),
            files=files,
            record=functools.partial(self._record_use, name, "databases"),
            source="" if policy is None else policy.source,
        )
        return AdmittedPipeline(
            name=name,
            granted_as=granted_as,
            resource=resource,
            scope=file.scope(name, granted_as or role_name),
            files=files,
            databases=databases,
        )

    def replace_policy(self, policy: Policy) -> None:
        """Replace the policy."""
        self.record_change("set-policy", f"policy:{policy.source}")
        if policy.file is not None:
            self.protected.add(policy.file, "the policy of this run")
        self._protect_pipelines(policy)
        self.policy = policy

    def _protect_pipelines(self, document: Policy | Access | None) -> None:
        for each in getattr(document, "pipeline_files", ()):  # an embedder's own roles need not bind pipelines
            self.protected.add(each, "a pipeline that is known by its file")

    def identify(
        self, component: bytes, signature: bytes | None, certificate: bytes | None, *, name: str, file: str
    ) -> Identity:
        """Identify a component, and verify its signature and its certificate, before anything of it is compiled.

        Args:
            component: The component.
            signature: The contents of its `.sig` file; `None` if there is none.
            certificate: The contents of its `.cert` file; `None` if there is none.
            name: The name under which it is loaded.
            file: Its name in errors.

        Raises:
            SignatureRefused: A signature is required, and is missing or not accepted.
            CertificateRefused: A certificate is required, and is missing or not accepted.
            NotAComponent: Not a component, truncated or damaged.
            ManifestError: Its manifest cannot be used.
        """
        if self._trust is None and self.revocations is None:
            return Identity(needs=Needs(plugin=name))
        identity = self._identified(component, signature, name=name, file=file)
        needed = None if self.policy is None else self.policy.certificate_needed(identity.name)
        if needed is not None:
            assert self.policy is not None
            # Imported here, since cryptography is slow to load.
            from dataflare.security.certificates import verify_certificate

            certifiers = self.policy.document.certificates
            # A key that was stolen certifies no more than it signs.
            revoked = {} if self._trust is None else self._trust.document.revoked.keys
            verify_certificate(
                component, certificate, needed=needed, certifiers=certifiers, revoked=revoked, name=identity.name
            )
        return identity

    def _identified(self, component: bytes, signature: bytes | None, *, name: str, file: str) -> Identity:
        verified = None
        if self._trust is not None:
            verified = self._trust.verify(component, signature, now=self._now(), name=name)
        manifest = manifests.read(component, name=file)
        digest = verified.digest if verified else manifests.component_digest(component)
        if manifest is not None:
            return Identity(needs=manifest.needs(digest=digest), manifest=manifest, verified=verified)
        if verified is not None:
            name = verified.name
        needs = Needs(plugin=name, version=verified.version if verified else None, digest=digest)
        return Identity(needs=needs, verified=verified)

    def resolve_permissions(
        self, identity: Identity, *, grants: Grants | None, limits: Limits | None, pipeline: str
    ) -> tuple[Grants, Limits]:
        """Decide what a plugin gets in a pipeline.

        Args:
            identity: The plugin.
            grants: Grants of the pipeline or the caller, which only narrow the policy; `None` for all that it gives.
            limits: Limits, in the same way.
            pipeline: The policy's name for the pipeline; empty if the policy does not know it.

        Raises:
            PermissionDenied: The policy has no rule for the plugin, or gives less than the plugin or `grants` ask for.
        """
        policy = self.policy
        if policy is None:
            return grants or _NO_GRANTS, limits or _NO_LIMITS
        needs = identity.needs
        refusal = policy.refusal(needs)
        if refusal:
            raise PermissionDenied(refusal, plugin=needs.plugin, capability="policy", hint=_rule_hint(identity, policy))
        check(needs, policy, pipeline=pipeline).require()
        allowed = policy.grants_for(needs, pipeline)
        ceilings = policy.limits_for(needs, pipeline)
        return (
            allowed if grants is None else narrowed_grants(allowed, grants, plugin=needs.plugin, source=policy.source),
            ceilings if limits is None else narrowed_limits(ceilings, limits),
        )

    def check_imports(self, identity: Identity, imports: Iterable[str]) -> None:
        """Refuse a component that imports more than its manifest asks for; checked only if there is a policy.

        Raises:
            PermissionDenied: It imports more than its manifest asks for.
        """
        if self.policy is None or identity.manifest is None:
            return
        hidden = sorted(map(str, undeclared(identity.manifest, imports)))
        if hidden:
            raise PermissionDenied(
                f"it imports what its manifest does not ask for: {', '.join(hidden)}",
                plugin=identity.name,
                capability=hidden[0],
                hint="package it again with a manifest that asks for all that it imports",
            )

    def auditor(self, identity: Identity, pipeline: str) -> Auditor | None:
        """Make the auditor of the plugin's host functions; `None` if there is neither an audit log nor revocations."""
        if self.revocations is None:
            return None
        return Auditor(
            identity.name,
            pipeline=pipeline,
            log=self._log or _NO_LOG,
            revocations=self.revocations,
            redactor=self._redactor,
            now=self._now,
        )

    @contextlib.contextmanager
    def recorded(self, component: bytes, *, name: str, pipeline: str, function: str) -> Iterator[None]:
        """Write the outcome of the `with` block to the log: done, or refused by one of the package's errors."""
        if self._log is None:
            yield
            return
        digest = f"component:sha256:{sha256(component).hexdigest()}"
        try:
            yield
        except DataflareError as error:
            reason = f"{type(error).__name__}: {error.message}"
            self._record(name, pipeline, "host", function, digest, "deny", reason)
            raise
        self._record(name, pipeline, "host", function, digest, "allow", self._by())

    def record_change(self, function: str, what: str) -> None:
        """Write a change of a rule, such as a policy, to the log."""
        self._record("", "", "host", function, what, "allow", self._by())

    def _record_use(
        self, pipeline: str, kind: str, connector: str, function: str, what: str, decision: str, reason: str
    ) -> None:
        self._record(f"{CONNECTOR_PREFIX}{connector}", pipeline, kind, function, what, decision, reason)

    def _by(self) -> str:
        return f"by {self._principal!r}" if self._principal else ""

    def _record(
        self, plugin: str, pipeline: str, capability: str, function: str, what: str, decision: str, reason: str
    ) -> None:
        if self._log is None:
            return
        self._log.record(
            AuditEvent.model_validate(
                {
                    "when": self._now(),
                    "plugin": plugin[:300],
                    "pipeline": pipeline[:300],
                    "capability": capability,
                    "function": function,
                    "object": what[:300],
                    "decision": decision,
                    "reason": self._redactor.redact(reason)[:_MAX_REASON],
                }
            )
        )


class _NoLog:
    def record(self, event: AuditEvent) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing: there is no file to close."""


_NO_LOG: Final = _NoLog()


def _read_trust(path: str | os.PathLike[str]) -> TrustPolicy:
    # Imported here, since cryptography is slow to load.
    from dataflare.security.trust import TrustPolicy

    return TrustPolicy.read(path)


def _read_access(path: str | os.PathLike[str]) -> Access:
    # Imported here, since most runs have no roles.
    from dataflare.security.access import Access

    return Access.read(path)


def _rule_hint(identity: Identity, policy: Policy) -> str:
    if identity.name not in policy.document.plugins:
        return f"add a rule for {identity.name!r} to {policy.source}, or do not load it"
    return "take the version and component that the policy names, or change its pins after a review"
