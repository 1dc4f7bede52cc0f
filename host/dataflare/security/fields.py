"""Types of the fields that manifests, policies and trust files have in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from dataflare.documents.models import FrozenSet, Name, StrictModel
from dataflare.grants import Origin
from dataflare.limits import Limits
from dataflare.wit.model import WitError
from dataflare.wit.versions import Version

__all__ = [
    "Access",
    "Digest",
    "LimitValues",
    "Method",
    "Names",
    "OriginText",
    "VersionText",
    "default_limit",
]


def _origin(text: str) -> str:
    normal = str(Origin.parse(text))
    if normal != text:
        raise ValueError(f"write {normal!r}")
    return text


def _version(text: str) -> str:
    try:
        Version.parse(text)
    except WitError as error:
        raise ValueError(f"{text[:40]!r} is no version: write major.minor.patch, such as 1.0.0") from error
    return text


Names = FrozenSet[Name]
Method = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z-]{0,31}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
OriginText = Annotated[str, AfterValidator(_origin)]
VersionText = Annotated[str, StringConstraints(max_length=100), AfterValidator(_version)]
Access = Literal["read", "write"]
"""`write` includes reading."""


_Count = Annotated[int, Field(ge=1, lt=2**63)]


class LimitValues(StrictModel):
    """Ceilings as `dataflare.limits.Limits` has them; `None` where nothing is said."""

    memory_bytes: _Count | None = None
    call_timeout_ms: Annotated[int, Field(ge=1, le=3_600_000)] | None = None
    fuel: _Count | None = None
    table_elements: _Count | None = None
    instances: _Count | None = None
    memories: _Count | None = None
    handles: _Count | None = None
    host_bytes: _Count | None = None
    host_calls: _Count | None = None
    host_calls_per_s: _Count | None = None
    copied_bytes: _Count | None = None
    output_bytes: _Count | None = None
    output_rows: _Count | None = None
    log_events_per_s: _Count | None = None
    log_bytes_per_s: _Count | None = None
    log_dropped_events: _Count | None = None

    def given(self) -> dict[str, int]:
        """Those that are said, by name."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}


def default_limit(name: str, defaults: Limits | None = None) -> int | None:
    """The ceiling of `defaults`, by its name in `LimitValues`; `None`: there is no ceiling."""
    limits = defaults or Limits()
    if name == "call_timeout_ms":
        return None if limits.call_timeout_s is None else max(1, int(limits.call_timeout_s * 1000))
    value: int | None = getattr(limits, name)
    return value
