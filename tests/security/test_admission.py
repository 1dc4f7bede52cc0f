"""Policy, trust, roles and audit together, without an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dataflare.errors import ConfigError, PermissionDenied
from dataflare.grants import Grants
from dataflare.limits import Limits
from dataflare.permissions.grant_keys import AsksModel
from dataflare.security.admission import Admission
from dataflare.security.audit import MemoryAuditLog, read_audit
from dataflare.security.capability import Capability, Needs
from dataflare.security.enforcement import Revocations
from dataflare.security.manifest import Manifest, embed
from dataflare.security.policy import Policy
from dataflare.security.settings import Security

BARE = b"\0asm\x0d\0\x01\0\x07\x01\0"
MANIFEST = Manifest(name="rates", version="1.2.0", kind="source", asks=AsksModel(state=True))  # type: ignore[call-arg]
POLICY = Policy.parse(
    "version: 1\nplugins: {rates: {grants: {state: true}, limits: {fuel: 1000, call_timeout: 500ms}}}"
)


def identify(admission: Admission, component: bytes = BARE, name: str = "alias") -> Any:
    return admission.identify(component, None, None, name=name, file="component")


def test_without_anything_a_component_is_not_looked_at() -> None:
    admission = Admission()
    identity = identify(admission, b"no component")
    assert (identity.name, identity.needs.digest) == ("alias", None)
    assert admission.auditor(identity, "n") is None and admission.revocations is None
    grants, limits = Grants(clock=True), Limits(fuel=7)
    assert admission.resolve_permissions(identity, grants=grants, limits=limits, pipeline="n") == (grants, limits)
    assert admission.resolve_permissions(identity, grants=None, limits=None, pipeline="n") == (Grants(), Limits())


def test_manifest_names_a_plugin_before_the_caller_does() -> None:
    admission = Admission(Security(policy=POLICY))
    assert identify(admission, embed(BARE, MANIFEST)).name == "rates"
    assert identify(admission).name == "alias"


def test_policy_gives_grants_and_limits() -> None:
    admission = Admission(Security(policy=POLICY))
    grants, limits = admission.resolve_permissions(
        identify(admission, embed(BARE, MANIFEST)), grants=None, limits=None, pipeline="nightly"
    )
    assert grants == Grants(state=True) and (limits.fuel, limits.call_timeout_s) == (1000, 0.5)
    assert limits.memory_bytes == Limits().memory_bytes


def test_limits_beside_a_policy_are_the_lower_ones() -> None:
    admission = Admission(Security(policy=POLICY))
    identity = identify(admission, embed(BARE, MANIFEST))
    given = Limits(fuel=50, call_timeout_s=30, host_calls=3)
    _, limits = admission.resolve_permissions(identity, grants=None, limits=given, pipeline="n")
    assert (limits.fuel, limits.call_timeout_s, limits.host_calls) == (50, 0.5, 3)


def test_plugin_without_a_manifest_has_the_rule_of_its_name() -> None:
    admission = Admission(Security(policy=POLICY))
    grants, _ = admission.resolve_permissions(identify(admission, name="rates"), grants=None, limits=None, pipeline="n")
    assert grants == Grants(state=True)
    with pytest.raises(PermissionDenied, match="no rule") as caught:
        admission.resolve_permissions(identify(admission), grants=None, limits=None, pipeline="n")
    assert "'alias'" in caught.value.hint


def test_imports_have_to_be_in_the_manifest() -> None:
    admission = Admission(Security(policy=POLICY))
    identity = identify(admission, embed(BARE, MANIFEST))
    free = ["dataflare:plugin/types@1.0.0", "dataflare:data/batches@1.0.0", "wasi:cli/environment@0.2.0"]
    admission.check_imports(identity, [*free, "dataflare:host/state@1.0.0"])
    with pytest.raises(PermissionDenied) as caught:
        admission.check_imports(identity, [*free, "dataflare:host/secrets@1.0.0"])
    assert caught.value.capability == "secrets"


def test_files_of_policy_and_audit_are_opened(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\n")
    admission = Admission(Security(policy=tmp_path / "policy.yaml", audit=str(tmp_path / "audit.jsonl")))
    with admission.recorded(BARE, name="p", pipeline="n", function="load"):
        pass
    with pytest.raises(ConfigError), admission.recorded(BARE, name="p", pipeline="n", function="load"):
        raise ConfigError("it is wrong")
    admission.close()
    admission.close()
    first, second = read_audit(tmp_path / "audit.jsonl").events
    assert (first.decision, second.decision, second.reason) == ("allow", "deny", "ConfigError: it is wrong")
    assert first.object.startswith("component:sha256:") and first.used() is None


def test_wrong_policy_leaves_no_log_open(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 2\n")
    with pytest.raises(ConfigError):
        Admission(Security(policy=tmp_path / "policy.yaml", audit=tmp_path / "audit.jsonl"))
    assert not (tmp_path / "audit.jsonl").exists()


def test_callers_own_log_stays_open() -> None:
    log = MemoryAuditLog()
    admission = Admission(Security(audit=log))
    admission.close()
    with admission.recorded(BARE, name="p", pipeline="n", function="load"):
        pass
    assert len(log.events) == 1


def test_secrets_that_were_read_are_kept_out_of_the_log() -> None:
    class Store:
        def get(self, name: str) -> str | None:
            return {"token": "hunter2-hunter2"}.get(name)

    log = MemoryAuditLog()
    admission = Admission(Security(audit=log))
    secrets = admission.secrets(Store())
    assert secrets is not None and secrets.get("token") == "hunter2-hunter2" and secrets.get("none") is None
    with pytest.raises(ConfigError), admission.recorded(BARE, name="p", pipeline="n", function="load"):
        raise ConfigError("hunter2-hunter2 is wrong")
    assert log.events[0].reason == "ConfigError: *** is wrong"
    assert admission.secrets(None) is None


def test_given_revocations_are_used() -> None:
    revocations = Revocations()
    admission = Admission(Security(revocations=revocations))
    auditor = admission.auditor(identify(admission), "n")
    assert auditor is not None
    wrapped = auditor.wrap("dataflare:host/clock@1.0.0", "now", lambda: 7)
    assert wrapped() == 7
    revocations.revoke("alias", Capability("clock"))
    with pytest.raises(PermissionDenied, match="was revoked"):
        wrapped()


def test_needs_say_who_a_plugin_is() -> None:
    admission = Admission(Security(policy=POLICY))
    needs = identify(admission, embed(BARE, MANIFEST)).needs
    assert isinstance(needs, Needs) and needs.version == "1.2.0" and needs.digest is not None
    assert Capability("state") in needs.capabilities
