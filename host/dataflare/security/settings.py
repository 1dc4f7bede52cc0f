"""What a host is told of who may do what."""

from __future__ import annotations

import os
from dataclasses import dataclass
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
    """Whose plugins a host loads, what they get, and who may ask for it. Nothing of it is needed.

    Args:
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

    Raises:
        ConfigError: `access` and `principal` are not given together.
    """

    policy: Policy | str | os.PathLike[str] | None = None
    trust: TrustPolicy | str | os.PathLike[str] | None = None
    audit: AuditLog | str | os.PathLike[str] | None = None
    access: Access | str | os.PathLike[str] | None = None
    principal: str | None = None
    revocations: Revocations | None = None

    def __post_init__(self) -> None:
        if (self.access is None) != (self.principal is None):
            raise ConfigError(
                "roles are nobody's without a principal"
                if self.principal is None
                else f"{self.principal!r} has no roles",
                where="principal" if self.principal is None else "access",
                hint="give `access` and `principal` together",
            )
