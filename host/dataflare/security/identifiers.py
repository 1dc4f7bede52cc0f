"""Digests and versions, as manifests, policies and trust files write them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, StringConstraints

from dataflare.wit.model import WitError
from dataflare.wit.versions import Version

__all__ = ["Digest", "VersionText"]


def _version(text: str) -> str:
    try:
        Version.parse(text)
    except WitError as error:
        raise ValueError(f"{text[:40]!r} is not a version: write major.minor.patch, such as 1.0.0") from error
    return text


Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
VersionText = Annotated[str, StringConstraints(max_length=100), AfterValidator(_version)]
