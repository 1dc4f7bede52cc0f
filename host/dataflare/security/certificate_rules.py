"""What a policy may require of certificates: which profile, whose, and how old.

```yaml
certificates:
  keys: ["ed25519:..."]         # who may certify: the lines of their .pub files
  oldest_suite: 1               # left out: only certificates of this host's own suite
require: {certificate: core}    # of every plugin
plugins:
  rates:
    require: {certificate: full}   # of this one; the higher profile counts
```
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field, StringConstraints

from dataflare.documents.models import StrictModel

__all__ = ["PROFILES", "SUITE", "CertificateProfile", "CertificateRule", "CertifierRule", "highest", "is_enough"]

SUITE: Final = 1
"""The version of the conformance suite. It rises when a duty or a case of an existing profile is added or sharpened."""

CertificateProfile: TypeAlias = Literal["core", "full", "certified"]
PROFILES: Final[tuple[CertificateProfile, ...]] = ("core", "full", "certified")
"""The profiles; each includes all requirements of the one before it."""

_KeyText = Annotated[str, StringConstraints(pattern=r"^ed25519:[A-Za-z0-9+/]{43}=$")]


class CertificateRule(StrictModel):
    """What is required of a plugin.

    Attributes:
        certificate: The least profile that its certificate must have: `core`, `full` or `certified`; left out, none.
    """

    certificate: CertificateProfile | None = None


class CertifierRule(StrictModel):
    """Whose certificates are accepted.

    Attributes:
        keys: Who may certify: the lines of their .pub files.
        oldest_suite: The oldest version of the suite whose certificates are accepted; left out, this host's own.
    """

    keys: Annotated[tuple[_KeyText, ...], Field(strict=False)] = ()
    oldest_suite: Annotated[int, Field(ge=1, le=SUITE)] = SUITE


def highest(*profiles: CertificateProfile | None) -> CertificateProfile | None:
    """Return the highest of some profiles; `None` if there is none."""
    return max((each for each in profiles if each is not None), key=PROFILES.index, default=None)


def is_enough(profile: CertificateProfile, needed: CertificateProfile) -> bool:
    """Whether a profile requires at least as much as another."""
    return PROFILES.index(profile) >= PROFILES.index(needed)
