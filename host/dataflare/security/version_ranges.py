"""Ranges of versions, such as `>=1.2.0, <2.0.0`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dataflare.wit.model import WitError
from dataflare.wit.versions import Version

__all__ = ["VersionRange"]

_BOUND: Final = re.compile(r"(>=|<=|>|<|=)\s*(\S+)")


@dataclass(frozen=True, slots=True)
class VersionRange:
    """The versions that satisfy all bounds.

    It contains a pre-release only if a bound names a pre-release of the same version.
    """

    bounds: tuple[tuple[str, Version], ...]

    @classmethod
    def parse(cls, text: str) -> VersionRange:
        """Read bounds with `>=`, `>`, `<=`, `<` or `=`, separated by commas.

        Raises:
            ValueError: It is not a range.
        """
        bounds = []
        for part in text.split(","):
            match = _BOUND.fullmatch(part.strip())
            if match is None:
                raise ValueError(f"{part.strip()[:40]!r} is not a bound: write such as >=1.2.0, <2.0.0")
            try:
                bounds.append((match[1], Version.parse(match[2])))
            except WitError as error:
                raise ValueError(f"{match[2][:40]!r} is not a version: write major.minor.patch") from error
        return cls(tuple(bounds))

    def __contains__(self, version: Version) -> bool:
        if version.pre_release and not any(
            bound.pre_release
            and (bound.major, bound.minor, bound.patch) == (version.major, version.minor, version.patch)
            for _, bound in self.bounds
        ):
            return False
        return all(_keeps(version, sign, bound) for sign, bound in self.bounds)

    def __str__(self) -> str:
        return ", ".join(f"{sign}{version}" for sign, version in self.bounds)


def _keeps(version: Version, sign: str, bound: Version) -> bool:
    match sign:
        case "=":
            return version == bound
        case "<":
            return version < bound
        case "<=":
            return not bound < version
        case ">":
            return bound < version
        case _:
            return not version < bound
