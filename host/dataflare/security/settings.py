"""The security settings of a host."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dataflare.errors import ConfigError
from dataflare.security.audit import AuditLog
from dataflare.security.enforcement import Revocations
from dataflare.security.policy import Policy

if TYPE_CHECKING:
    from dataflare.security.access import Access
    from dataflare.security.trust import TrustPolicy

__all__ = ["Security"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """The rules of a host: whose plugins it loads, what they get, and who may load them. Everything is optional.

    Args:
        policy: The policy, or its file: what each plugin gets. Grants and limits passed to `load` can only narrow it.
            With `None` a plugin gets what is passed to `load`.
        trust: Whose signatures components need, or the trust file; verified before anything of a component is compiled.
            With `None` no signature is needed.
        audit: The log of every use of a capability, every refusal and every exceeded limit, without secrets; a file is
            closed with the host.
        access: Who may do what, or the roles file; together with `principal`.
        principal: Who the host works for; checked at each `load`, `inspect`, `cancel`, `revoke` and change of the
            policy. The host trusts the caller on this.
        revocations: What is revoked from running plugins; `None` makes an empty one if there is a policy or an audit
            log.
        protected: Further files that no plugin and no connector may write, with what each is, as for `Host.protect`.

    Raises:
        ConfigError: `access` and `principal` are not given together.
    """

    policy: Policy | str | os.PathLike[str] | None = None
    trust: TrustPolicy | str | os.PathLike[str] | None = None
    audit: AuditLog | str | os.PathLike[str] | None = None
    access: Access | str | os.PathLike[str] | None = None
    principal: str | None = None
    revocations: Revocations | None = None
    protected: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.access is None) != (self.principal is None):
            raise ConfigError(
                "roles are nobody's without a principal"
                if self.principal is None
                else f"{self.principal!r} has no roles",
                where="principal" if self.principal is None else "access",
                hint="give `access` and `principal` together",
            )
